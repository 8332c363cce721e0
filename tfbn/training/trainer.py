"""The outer loop of a training run."""

import os
import signal
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfbn import _compat
from tfbn.diagnostics import nonfinite as nonfinite_diagnostics
from tfbn.diagnostics.arguments import check_model
from tfbn.recording import watching
from tfbn.recording.cadence import Cadence
from tfbn.training import arguments
from tfbn.training import batch_sources
from tfbn.training import memory
from tfbn.training import nonfinite
from tfbn.training import processes
from tfbn.training import renorm_bounds
from tfbn.training import replicas
from tfbn.training import run_directory
from tfbn.training.evaluation import Evaluation
from tfbn.training.interruption import Interruption
from tfbn.training.metrics import StepMetrics
from tfbn.training.metrics import means
from tfbn.training.metrics import num_skipped
from tfbn.training.objective import Objective
from tfbn.training.progress import Progress
from tfbn.training.replicated_step import ReplicatedSteps
from tfbn.training.resumption import Resumption
from tfbn.training.run_diagnostics import RunDiagnostics
from tfbn.training.step import Steps

# The first lines of flags.cfg.
_REPEAT = "Repeat this run: python scripts/train.py --flagfile=THIS_FILE"
_OPTIONS = "The options of tfbn.training.Trainer in this run"


class Trainer:
    """Trains a Keras model with records, diagnostics and exact resumption.

    Measuring does not change a run, and neither does ending its process at any moment:
    another trainer made the same way, with the same `run_dir`, resumes from the newest
    checkpoint and ends with the same numbers; to the bit where TensorFlow's kernels are
    deterministic (`tf.config.experimental.enable_op_determinism()`).

    Batches come in one of three forms:

    * `tfbn.data.ArrayBatches`, arrays in memory and a sampler: gathered on the device,
      `steps_per_execution` steps in one call. Resumption is exact.
    * a function `batches(step) -> (x, y)` of arrays, tensors or structures of them; it
      must return the same batch whenever it is called with the same step. Each step is
      a call of its own. Resumption is exact.
    * a `tf.data.Dataset` of batches `(x, y)` for all of `train_steps`, so usually one
      that ends in `.repeat()`. Each step is a call of its own. Checkpoints hold the
      iterator with its shuffle buffers and its prefetched batches. Resumption is
      exact for the same pipeline on the same files if the pipeline is deterministic
      (`map(..., deterministic=False)` is not) and `shuffle` has a seed. Without a
      seed it is exact only to the end of the current pass over the data: TensorFlow
      then draws another order than the uninterrupted run would have had.
      Pipelines whose iterators cannot be saved are refused: Python functions
      (`from_generator`, `py_function`) and stateful operations, such as random ones
      without `tf.random.stateless_*`, unless the dataset's option
      `experimental_external_state_policy` ignores those; their state is lost then.
      Diagnostics that need the batch of the next step cannot be measured.

    Constructing a trainer writes nothing to disk.

    Example:
        >>> import tempfile
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(8), tfbn.BatchNorm(),
        ...      keras.layers.Dense(1)]
        ... )
        >>> x, y = np.random.normal(size=(64, 4)), np.random.normal(size=(64, 1))
        >>> batches = tfbn.data.ArrayBatches(x, y, tfbn.data.IIDBatches(64, 16, seed=0))
        >>> trainer = tfbn.training.Trainer(
        ...     model, "adam", "mse", batches, run_dir=tempfile.mkdtemp(),
        ...     train_steps=20, validation_data=(x, y), diagnostics={"ics": 10},
        ...     progress=False,
        ... )
        >>> sorted(trainer.train())
        ['loss']

    Args:
        model: a built Keras model: functional, sequential or subclassed, with any
            number of inputs and outputs. It need not be compiled, and its own
            `train_step` and `compute_loss` are not used.
        optimizer: as `keras.Model.compile` takes it.
        loss: as `keras.Model.compile` takes it. The penalties of regularizers and of
            `add_loss` are added to it in training. With `reduction="sum"` an evaluation
            adds it up; otherwise it averages over the examples.
        batches: see above.
        run_dir: folder of the results, made by `train`: `flags.cfg` (the settings),
            `records.jsonl`, TensorBoard events, `checkpoints/` and `model.keras`. A
            folder with a run of the same settings is resumed.
        train_steps: int > 0, optimizer steps.
        metrics: as `keras.Model.compile` takes them. Training records hold the mean of
            their values on single batches.
        loss_weights: as `keras.Model.compile` takes them.
        validation_data: `(x, y)` arrays or structures of arrays, `tfbn.data.Arrays`, or
            a finite `tf.data.Dataset` of batches. Default: no evaluation.
        validation_batch_size: int > 0, examples in an evaluation batch of arrays.
        validation_freq: int >= 0, steps between evaluations; 0: only at the end.
        evaluations: mapping from a kind of record to a function without arguments that
            returns a dict of floats: further evaluations at the same steps.
        steps_per_execution: int > 0, most steps in one call of the compiled loop.
        jit_compile: bool or "auto": whether XLA compiles the step. "auto" means on
            accelerators; on a CPU it makes convolutions several times slower.
        on_nonfinite: "stop" the run at a step whose loss or gradients are not finite,
            with the layer where that shows first; "skip" such steps and count them; or
            "ignore" them.
        diagnostics: mapping from the name of a diagnostic to the steps between its
            measurements, or a sequence of `tfbn.recording.watching.Watch`.
        log_freq: int > 0, steps between training records.
        checkpoint_freq: int >= 0, steps between checkpoints; 0: by the clock alone.
        checkpoint_minutes: float >= 0, minutes after which there is one in any case; 0:
            never.
        max_to_keep: int > 0, newest checkpoints to keep.
        settings: sequence of `tfbn.training.Setting`, what the run depends on, for
            `flags.cfg`. Default: the options of the trainer itself.
        progress: bool, whether to print the progress.
        strategy: `tf.distribute.Strategy` of synchronous replicas, within whose scope
            model and optimizer were made, or None. Each replica computes its slice of
            every batch; see `docs/distributed.md`.

    Attributes:
        model: the model.
        run_dir: str.
        step: int, optimizer steps made.
        is_chief: bool, whether this process writes the results; of several processes
            of a strategy one does.

    Raises:
        ValueError: if an argument breaks its rule, batches, loss, metrics and model do
            not fit together, or the run directory cannot be used.
        MemoryError: if a step certainly does not fit into the memory of a CPU.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Any,
        loss: Any,
        batches: Any,
        *,
        run_dir: str,
        train_steps: int,
        metrics: Any = (),
        loss_weights: Any = None,
        validation_data: Any = None,
        validation_batch_size: int = 1000,
        validation_freq: int = 1000,
        evaluations: Mapping[str, Callable[[], Mapping[str, float]]] | None = None,
        steps_per_execution: int = 10,
        jit_compile: bool | str = "auto",
        on_nonfinite: str = "stop",
        diagnostics: Mapping[str, int] | Sequence[watching.Watch] = (),
        log_freq: int = 10,
        checkpoint_freq: int = 1000,
        checkpoint_minutes: float = 10.0,
        max_to_keep: int = 3,
        settings: Sequence[run_directory.Setting] = (),
        progress: bool = True,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self._options = options = arguments.TrainerOptions(
            train_steps=train_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            on_nonfinite=on_nonfinite,
            log_freq=log_freq,
            checkpoint_freq=checkpoint_freq,
            checkpoint_minutes=checkpoint_minutes,
            max_to_keep=max_to_keep,
            progress=progress,
        )
        check_model(model)
        replicas.check_strategy(strategy)
        replicas.check_model(model, strategy)
        replicas.check_jit_compile(jit_compile, strategy)
        self._strategy = strategy
        self.is_chief = processes.is_chief(strategy)
        self.model = model
        self.run_dir: str = os.fspath(run_dir)
        self.step = 0
        self._source = source = batch_sources.source_of(batches)
        self._objective = objective = Objective(
            model, loss, metrics, *source.spec, loss_weights=loss_weights
        )
        uses_xla = arguments.uses_xla(jit_compile)
        replicas.check_batch_size(source.batch_size, strategy)
        self._diagnostics = RunDiagnostics(
            diagnostics, model, objective.loss, source, jit_compile=uses_xla
        )
        replicas.check_diagnostics(list(self._diagnostics.every()), model, strategy)
        self._settings = settings or options.settings(self._diagnostics.every())
        self._header = _REPEAT if settings else _OPTIONS
        if self.is_chief:
            run_directory.check(self.run_dir, self._settings)
        _check_steps(model, source.batch_size, train_steps, strategy)
        self._optimizer = optimizer = arguments.made_optimizer(
            optimizer, model, strategy
        )
        self._steps = _steps(
            model, optimizer, objective, source, options, strategy=strategy
        )
        self._evaluations = dict(evaluations or {})
        self._evaluation = Evaluation(
            model, objective, validation_data, validation_batch_size
        )
        self._log = Cadence(log_freq)
        self._evaluate_at = Cadence(validation_freq)
        self._metrics = StepMetrics()
        watches = self._diagnostics.watches
        self._resumption = Resumption(
            self.run_dir,
            options,
            model,
            optimizer,
            watches,
            writes=self.is_chief,
            **source.trackables,
        )

    def train(self) -> dict[str, float]:
        """Trains to the end, from the newest good checkpoint in the run directory.

        SIGINT (Ctrl-C) and SIGTERM wait until the step is made and saved.

        Returns:
            The last evaluation on the validation data; empty without such data.

        Raises:
            ValueError: if another process uses the run directory, none of the
                checkpoints in it can be used, or a dataset ends too early.
            OSError: if the run directory cannot be written, as on a full disk.
            NonFiniteError: as `on_nonfinite` says.
            MemoryError: if a step or an evaluation does not fit into memory.
            ConnectionError: if another process of the run has ended.
            KeyboardInterrupt: after SIGINT.
            SystemExit: with status 143 after SIGTERM.
        """
        progress = Progress(
            self._options.train_steps,
            self._source.batch_size,
            enabled=self._options.progress and self.is_chief,
        )
        with (
            progress,
            # Called within it or not, a run is the same; steps enter it themselves.
            _compat.outside_strategy(),
            self._results() as results,
            Interruption() as interruption,
            processes.one_line_errors(self._strategy),
        ):
            self._resume(results, progress)
            self._diagnostics.announce(progress.note)
            progress.begin(self.step)
            while not self._done():
                with memory.one_line_errors(f"step {self.step}"):
                    metrics = self._next_steps(results, progress)
                self._record(results)
                progress.update(self.step, metrics)
                if self._evaluation_due():
                    with progress.aside("evaluating"):
                        self._evaluate(results)
                with progress.aside():
                    self._save_if_due(results, interruption, progress)
            self._optimizer.finalize_variable_values(self.model.trainable_variables)
            results.save_model(self.model)
            progress.end_line()
            interruption.act(lambda: "The run is complete.")
            evaluation = results.last_evaluation()
        self._diagnostics.sum_up(progress.note)
        if skipped := self._metrics.num_skipped:
            progress.note(f"Skipped {skipped} steps: loss or gradients not finite.")
        return evaluation

    def wait_for_others(self) -> None:
        """Waits until all processes of the run have come here; one alone does not.

        A process that ends while another still works is taken for one that has failed.
        """
        with processes.one_line_errors(self._strategy):
            processes.largest(0, self._strategy)

    def _results(self):
        if not self.is_chief:
            return run_directory.Onlooker(self.run_dir)
        return run_directory.RunDirectory(
            self.run_dir, self._settings, header=self._header
        )

    def _resume(self, results, progress):
        processes.check_shared(self.run_dir, self._strategy)
        values = self._resumption.restore(results)
        processes.check_same_step(values["step"] if values else 0, self._strategy)
        if values is None:
            return
        self.step = values["step"]
        replicas.check_resumption(values.get("parts", 1), self.model, self._strategy)
        self._metrics.take_values(values["metrics"])
        state = "is complete" if self._done() else f"resumes at step {self.step}"
        progress.note(f"The run {state} (of {self._options.train_steps}).")

    def _save_if_due(self, results, interruption, progress):
        # The processes of a run stop at the same step.
        signalled = processes.largest(interruption.signal or 0, self._strategy)
        if signalled and not interruption.signal:
            interruption.signal = signal.Signals(signalled)
        if self._resumption.due(self.step) or self._done() or interruption.signal:
            self._check_weights()
            values = {
                "step": self.step,
                "metrics": self._metrics.to_values(),
                "parts": replicas.parts_of_batch(self.model, self._strategy),
            }
            self._resumption.save(self.step, values, results)
        if interruption.signal:
            progress.end_line()
        interruption.act(
            lambda: (
                f"Saved at step {self.step}; start again with the same settings and "
                f"run_dir={self.run_dir} to resume."
            )
        )

    def _next_steps(self, results, progress):
        """Steps up to the next event; returns the means of their metrics."""
        due = self._diagnostics.due(self.step)
        if due:
            return self._measured_step(due, results, progress)
        return self._advance(self._steps_to_next_event(), results)

    def _advance(self, num_steps, results):
        """Makes `num_steps` steps; returns the means of their metrics."""
        metrics = self._steps.run(self.step, num_steps)
        skipped = num_skipped(metrics)
        if skipped and self._options.on_nonfinite == "stop":
            self._stop(metrics, results)
        self.step += num_steps
        self._metrics.add(metrics)
        if skipped:
            self._check_weights()
        return means(metrics)

    def _stop(self, metrics, results):
        """Ends the run at the last one of the steps, which was not applied."""
        self.step += len(metrics["loss"]) - 1
        loss = float(metrics["loss"][-1])
        found = nonfinite_diagnostics.first_nonfinite(
            self.model, self._objective.loss, *self._source.at(self.step)
        )
        where = found._asdict() if found else {}
        results.measurement("not_finite", self.step, {"loss": loss, **where})
        raise nonfinite.of_step(self.step, loss, found, self._resumption.latest())

    def _check_weights(self):
        """Raises if an update has made a weight infinite or NaN."""
        if self._options.on_nonfinite == "ignore":
            return
        path = nonfinite_diagnostics.first_nonfinite_variable(self.model.weights)
        if path is not None:
            raise nonfinite.of_weights(self.step, path, self._resumption.latest())

    def _measured_step(self, due, results, progress):
        """Makes one step, and the measurements of it."""
        begin = watching.StepBegin.of(self.step, self.model, self._optimizer)
        metrics = self._advance(1, results)
        first = "" if all(watch.seconds for watch in due) else "compiling and "
        names = ", ".join(watch.name for watch in due)
        with progress.aside(f"{first}measuring {names}"):
            self._diagnostics.measure(due, begin, results.measurement)
        return metrics

    def _steps_to_next_event(self):
        cadences = [self._log, self._evaluate_at, self._resumption.cadence]
        cadences += [watch.cadence for watch in self._diagnostics.watches]
        following = [cadence.next(self.step) for cadence in cadences]
        events = [step for step in following if step is not None]
        most = self._source.most_steps or self._options.steps_per_execution
        return min(most, *(n - self.step for n in [self._options.train_steps, *events]))

    def _record(self, results):
        if not (self._log.due(self.step) or self._done()):
            return
        values = self._metrics.take_means()
        values["learning_rate"] = float(
            tf.convert_to_tensor(self._optimizer.learning_rate)
        )
        values.update(renorm_bounds.at_present(self.model))
        if self._options.on_nonfinite == "skip":
            values["skipped"] = self._metrics.num_skipped
        results.train(self.step, values)

    def _evaluation_due(self):
        return self._evaluate_at.due(self.step) or self._done()

    def _evaluate(self, results):
        with memory.one_line_errors("the evaluation", "validation batch"):
            values = self._evaluation()
        if values:
            results.evaluation(self.step, values)
        for kind, evaluate in self._evaluations.items():
            with memory.one_line_errors(f"the evaluation {kind}"):
                measured = evaluate()
            results.measurement(kind, self.step, measured)

    def _done(self):
        return self.step >= self._options.train_steps


def _check_steps(model, batch_size, train_steps, strategy):
    """Says what can be told of the steps before the first one."""
    renorm_bounds.warn_if_plain(model, train_steps)
    if batch_size is not None:
        memory.check_step(model, replicas.local_share(batch_size, strategy))


def _steps(model, optimizer, objective, source, options, *, strategy):
    """The compiled inner loop, on one device or on the replicas of a strategy."""
    parts = model, optimizer, objective, source
    if strategy is not None:
        return ReplicatedSteps(
            *parts, strategy=strategy, on_nonfinite=options.on_nonfinite
        )
    return Steps(
        *parts,
        jit_compile=arguments.uses_xla(options.jit_compile),
        on_nonfinite=options.on_nonfinite,
    )
