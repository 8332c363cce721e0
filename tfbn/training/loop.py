"""The outer loop of a training run: steps up to the next event, and the event."""

import dataclasses
import signal

import tensorflow as tf

from tfbn.diagnostics import nonfinite as nonfinite_diagnostics
from tfbn.recording import watching
from tfbn.recording.cadence import Cadence
from tfbn.training import memory
from tfbn.training import nonfinite
from tfbn.training import processes
from tfbn.training import renorm_bounds
from tfbn.training import replicas
from tfbn.training.interruption import Interruption
from tfbn.training.metrics import StepMetrics
from tfbn.training.metrics import means
from tfbn.training.metrics import num_skipped
from tfbn.training.progress import Progress
from tfbn.training.run_directory import RunDirectory
from tfbn.training.run_parts import RunParts


@dataclasses.dataclass
class Position:
    """How far a run is.

    Attributes:
        step: int, optimizer steps made.
        metrics: those of the steps since the last training record.
    """

    step: int = 0
    metrics: StepMetrics = dataclasses.field(default_factory=StepMetrics)


class Loop:
    """The steps of a run that are left, and what is due between them.

    Args:
        parts: `RunParts`, what computes.
        position: `Position`, which the loop moves.
        results: `RunDirectory`, open.
        progress: `Progress`.
        interruption: `Interruption`, which ends the loop after a step.
    """

    def __init__(
        self,
        parts: RunParts,
        position: Position,
        results: RunDirectory,
        progress: Progress,
        interruption: Interruption,
    ):
        self._parts, self._at = parts, position
        self._model, self._options = parts.model, parts.options
        self._strategy, self._resumption = parts.strategy, parts.resumption
        self._diagnostics = parts.diagnostics
        self._results, self._progress = results, progress
        self._interruption = interruption
        self._log = Cadence(self._options.log_freq)
        self._evaluate_at = Cadence(self._options.validation_freq)

    def run(self) -> dict[str, float]:
        """Trains to the end, from the newest checkpoint; see `Trainer.train`.

        Returns:
            The last evaluation on the validation data.
        """
        progress = self._progress
        self._resume()
        self._diagnostics.announce(progress.note)
        progress.begin(self._at.step)
        while not self._done():
            with memory.one_line_errors(f"step {self._at.step}"):
                metrics = self._next_steps()
            self._record()
            progress.update(self._at.step, metrics)
            if self._evaluation_due():
                with progress.aside("evaluating"):
                    self._evaluate()
            with progress.aside():
                self._save_if_due()
        weights = self._model.trainable_variables
        self._parts.optimizer.finalize_variable_values(weights)
        self._results.save_model(self._model)
        progress.end_line()
        self._interruption.act(lambda: "The run is complete.")
        return self._results.last_evaluation()

    def _resume(self):
        processes.check_shared(self._parts.run_dir, self._strategy)
        values = self._resumption.restore(self._results)
        processes.check_same_step(values["step"] if values else 0, self._strategy)
        if values is None:
            return
        self._at.step = values["step"]
        replicas.check_resumption(values.get("parts", 1), self._model, self._strategy)
        self._at.metrics.take_values(values["metrics"])
        state = "is complete" if self._done() else f"resumes at step {self._at.step}"
        self._progress.note(f"The run {state} (of {self._options.train_steps}).")

    def _save_if_due(self):
        # The processes of a run stop at the same step.
        step, interruption = self._at.step, self._interruption
        signalled = processes.largest(interruption.signal or 0, self._strategy)
        if signalled and not interruption.signal:
            interruption.signal = signal.Signals(signalled)
        if self._resumption.due(step) or self._done() or interruption.signal:
            self._check_weights()
            values = {
                "step": step,
                "metrics": self._at.metrics.to_values(),
                "parts": replicas.parts_of_batch(self._model, self._strategy),
            }
            self._resumption.save(step, values, self._results)
        if interruption.signal:
            self._progress.end_line()
        interruption.act(
            lambda: (
                f"Saved at step {step}; start again with the same settings and "
                f"run_dir={self._parts.run_dir} to resume."
            )
        )

    def _next_steps(self):
        """Steps up to the next event; returns the means of their metrics."""
        due = self._diagnostics.due(self._at.step)
        if due:
            return self._measured_step(due)
        return self._advance(self._steps_to_next_event())

    def _advance(self, num_steps):
        """Makes `num_steps` steps; returns the means of their metrics."""
        metrics = self._parts.steps.run(self._at.step, num_steps)
        skipped = num_skipped(metrics)
        if skipped and self._options.on_nonfinite == "stop":
            self._stop(metrics)
        self._at.step += num_steps
        self._at.metrics.add(metrics)
        if skipped:
            self._check_weights()
        return means(metrics)

    def _stop(self, metrics):
        """Ends the run at the last one of the steps, which was not applied."""
        self._at.step += len(metrics["loss"]) - 1
        loss, batch = float(metrics["loss"][-1]), self._parts.source.at(self._at.step)
        found = nonfinite_diagnostics.first_nonfinite(
            self._model, self._parts.objective.loss, *batch
        )
        where = found._asdict() if found else {}
        self._results.measurement("not_finite", self._at.step, {"loss": loss, **where})
        raise nonfinite.of_step(self._at.step, loss, found, self._resumption.latest())

    def _check_weights(self):
        """Raises if an update has made a weight infinite or NaN."""
        if self._options.on_nonfinite == "ignore":
            return
        path = nonfinite_diagnostics.first_nonfinite_variable(self._model.weights)
        if path is not None:
            raise nonfinite.of_weights(self._at.step, path, self._resumption.latest())

    def _measured_step(self, due):
        """Makes one step, and the measurements of it."""
        begin = watching.StepBegin.of(self._at.step, self._model, self._parts.optimizer)
        metrics = self._advance(1)
        first = "" if all(watch.seconds for watch in due) else "compiling and "
        names = ", ".join(watch.name for watch in due)
        with self._progress.aside(f"{first}measuring {names}"):
            self._diagnostics.measure(due, begin, self._results.measurement)
        return metrics

    def _steps_to_next_event(self):
        cadences = [self._log, self._evaluate_at, self._resumption.cadence]
        cadences += [watch.cadence for watch in self._diagnostics.watches]
        following = [cadence.next(self._at.step) for cadence in cadences]
        following.append(self._options.train_steps)
        most = self._parts.source.most_steps or self._options.steps_per_execution
        return min(most, *(n - self._at.step for n in following if n is not None))

    def _record(self):
        if not (self._log.due(self._at.step) or self._done()):
            return
        values = self._at.metrics.take_means()
        values["learning_rate"] = float(
            tf.convert_to_tensor(self._parts.optimizer.learning_rate)
        )
        values.update(renorm_bounds.at_present(self._model))
        if self._options.on_nonfinite == "skip":
            values["skipped"] = self._at.metrics.num_skipped
        self._results.train(self._at.step, values)

    def _evaluation_due(self):
        return self._evaluate_at.due(self._at.step) or self._done()

    def _evaluate(self):
        with memory.one_line_errors("the evaluation", "validation batch"):
            values = self._parts.evaluation()
        if values:
            self._results.evaluation(self._at.step, values)
        for kind, evaluate in self._parts.evaluations.items():
            with memory.one_line_errors(f"the evaluation {kind}"):
                measured = evaluate()
            self._results.measurement(kind, self._at.step, measured)

    def _done(self):
        return self._at.step >= self._options.train_steps
