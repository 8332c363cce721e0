"""The outer loop of a training run."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import nonfinite as nonfinite_diagnostics
from tfbn.diagnostics.diagnostic import TrainingStep
from tfbn.diagnostics.loss_function import snapshot
from tfbn.experiment import builders
from tfbn.experiment.config import TrainConfig
from tfbn.experiment.task import task_of
from tfbn.layers import BatchRenorm
from tfbn.recording import watching
from tfbn.recording.cadence import Cadence
from tfbn.training import memory
from tfbn.training import nonfinite
from tfbn.training import run_directory
from tfbn.training import training_mode
from tfbn.training.interruption import Interruption
from tfbn.training.metrics import StepMetrics
from tfbn.training.metrics import means
from tfbn.training.metrics import num_skipped
from tfbn.training.progress import Progress
from tfbn.training.resumption import Resumption
from tfbn.training.step import Steps


class Trainer:
    """Trains what a `TrainConfig` names, and records what it measures.

    A run is a function of its config: batches depend on (seed, step) alone, and with
    `deterministic=True` two runs of one config agree in every bit. Measuring does not
    change a run, and neither does ending the process at any moment: `train` of another
    trainer with the same run_dir goes on from the last checkpoint.

    Constructing a trainer sets Keras's global random seed and, with
    `deterministic=True`, TensorFlow's deterministic kernels for the whole process. It
    writes nothing to disk.

    Args:
        config: `TrainConfig`.
        dataset: the `tfbn.data.Dataset` that the config names, where it is loaded
            already. Default: it is loaded.

    Attributes:
        config: the `TrainConfig`.
        model: the built Keras model.
        run_dir: str, the folder of the results, made by `train`.
        step: int, optimizer steps made.

    Raises:
        ValueError: if `config` is none, the run directory cannot be used, the data
            cannot be loaded, or a batch size does not fit the data.
        MemoryError: if the network, or a step on a CPU, is sure not to fit.
    """

    def __init__(self, config, *, dataset=None):
        if not isinstance(config, TrainConfig):
            raise ValueError(
                "config must be a TrainConfig. Received: "
                f"config={validation.shown(config)}."
            )
        self.config = config
        self.run_dir = run_directory.choose(config)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.seed)
        if dataset is None:
            dataset = builders.build_dataset(config)
        self._batches = builders.build_batches(config, dataset)
        self._task = task_of(dataset)
        jit_compile = _jit_compile(config.jit_compile)
        self._optimizer = builders.build_optimizer(config)
        with _memory_told("the network", "--width"), _dtype_policy(config.dtype_policy):
            self.model = builders.build_model(config, dataset)
            self._watches = builders.build_watches(
                config, self.model, self._task.loss, dataset, jit_compile=jit_compile
            )
        memory.check_step(self.model, config.batch_size)
        self._steps = Steps(
            self.model,
            self._optimizer,
            self._task,
            dataset,
            jit_compile=jit_compile,
            on_nonfinite=config.on_nonfinite,
        )
        self._in_training_mode = training_mode.evaluation(
            config, self.model, self._task, dataset
        )
        self._log = Cadence(config.log_every)
        self._evaluate_at = Cadence(config.eval_every)
        self._metrics = StepMetrics()
        self._resumption = Resumption(
            config, self.run_dir, self.model, self._optimizer, self._watches
        )
        self.step = 0

    def train(self):
        """Runs to the end; returns the last evaluation, a dict of floats.

        Goes on from the newest good checkpoint in the run directory, if there is one.
        While it runs, SIGINT (Ctrl-C) and SIGTERM wait for the end of the step, and
        for a checkpoint.

        Raises:
            ValueError: if another process uses the run directory, or none of the
                checkpoints in it can be used.
            OSError: if the run directory cannot be written, as on a full disk.
            NonFiniteError: as on_nonfinite has it.
            MemoryError: if a step or an evaluation does not fit into memory.
            KeyboardInterrupt: after SIGINT.
            SystemExit: with status 143 after SIGTERM.
        """
        config = self.config
        progress = Progress(
            config.train_steps, config.batch_size, enabled=config.progress
        )
        with (
            run_directory.RunDirectory(self.run_dir, config) as results,
            Interruption() as interruption,
        ):
            self._resume(results, progress)
            self._announce(progress)
            while not self._done():
                with _memory_told(f"step {self.step}", "--batch_size"):
                    metrics = self._next_steps(results, progress)
                self._record(results)
                progress.update(self.step, metrics)
                with progress.aside():
                    if self._evaluation_due():
                        self._evaluate(results)
                    self._save_if_due(results, interruption)
            results.save_model(self.model)
            interruption.act(lambda: "The run is complete.")
            evaluation = results.last_evaluation()
        self._sum_up(progress)
        return evaluation

    def _resume(self, results, progress):
        """Takes up the run where its directory has it."""
        values = self._resumption.restore(results)
        if values is None:
            return
        self.step = values["step"]
        self._metrics.take_values(values["metrics"])
        going_on = "is complete" if self._done() else f"goes on from step {self.step}"
        progress.note(f"The run {going_on} (of {self.config.train_steps}).")

    def _save_if_due(self, results, interruption):
        if self._resumption.due(self.step) or self._done() or interruption.signal:
            self._check_weights()
            values = {"step": self.step, "metrics": self._metrics.to_values()}
            self._resumption.save(self.step, values, results)
        interruption.act(
            lambda: (
                f"Saved at step {self.step}; the same flags with --run_dir="
                f"{self.run_dir} go on from there."
            )
        )

    def _sum_up(self, progress):
        for watch in self._watches:
            progress.note(watching.summed_up(watch))
        if skipped := self._metrics.num_skipped:
            progress.note(f"Skipped {skipped} steps: loss or gradients not finite.")

    def _announce(self, progress):
        num_bytes = sum(
            int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size
            for v in self.model.trainable_variables
        )
        for watch in self._watches:
            progress.note(watching.announced(watch, num_bytes))

    def _next_steps(self, results, progress):
        """Steps up to the next event; returns the means of their metrics."""
        due = [w for w in self._watches if w.cadence.due(self.step)]
        if due:
            return self._measured_step(due, results, progress)
        return self._advance(self._steps_to_next_event(), results)

    def _advance(self, num_steps, results):
        """Makes `num_steps` steps; returns the means of their metrics."""
        steps = range(self.step, self.step + num_steps)
        metrics = self._steps.run(np.stack([self._batches.indices(i) for i in steps]))
        skipped = num_skipped(metrics)
        if skipped and self.config.on_nonfinite == "stop":
            self._stop(metrics, results)
        self.step += num_steps
        self._metrics.add(metrics)
        if skipped:
            self._check_weights()
        return means(metrics)

    def _stop(self, metrics, results):
        """Ends the run at the last one of the steps, which was not made."""
        self.step += len(metrics["loss"]) - 1
        loss = float(metrics["loss"][-1])
        found = nonfinite_diagnostics.first_nonfinite(
            self.model, self._task.loss, *self._batch(self.step)
        )
        where = found._asdict() if found else {}
        results.measurement("not_finite", self.step, {"loss": loss, **where})
        raise nonfinite.of_step(self.step, loss, found, self._resumption.latest())

    def _check_weights(self):
        """Raises if an update has taken the weights out of the range of floats."""
        if self.config.on_nonfinite == "ignore":
            return
        path = nonfinite_diagnostics.first_nonfinite_variable(self.model.weights)
        if path is not None:
            raise nonfinite.of_weights(self.step, path, self._resumption.latest())

    def _measured_step(self, watches, results, progress):
        """Makes one step, and the measurements of it."""
        step, before = self.step, snapshot(self.model)
        learning_rate = float(self._optimizer.learning_rate)
        metrics = self._advance(1, results)
        with progress.aside():
            measured = TrainingStep(
                step=step,
                before=before,
                after=snapshot(self.model),
                batch=self._batch(step),
                next_batch=self._batch(step + 1),
                probe=self._batch(0),
                learning_rate=learning_rate,
            )
            for watch in watches:
                watch.measure(measured, results.measurement)
        return metrics

    def _batch(self, step):
        return self._steps.batch(self._batches.indices(step))

    def _steps_to_next_event(self):
        cadences = [self._log, self._evaluate_at, self._resumption]
        cadences += [w.cadence for w in self._watches]
        following = [cadence.next(self.step) for cadence in cadences]
        return min(
            self.config.steps_per_execution,
            self.config.train_steps - self.step,
            *(step - self.step for step in following if step is not None),
        )

    def _record(self, results):
        if not (self._log.due(self.step) or self._done()):
            return
        values = self._metrics.take_means()
        values["learning_rate"] = float(self._optimizer.learning_rate)
        values.update(self._renorm_bounds())
        if self.config.on_nonfinite == "skip":
            values["skipped"] = self._metrics.num_skipped
        results.train(self.step, values)

    def _renorm_bounds(self):
        """The bounds that the model's first BatchRenorm has now, or nothing."""
        for layer in self.model.layers:
            if isinstance(layer, BatchRenorm):
                rmax, dmax = layer.bounds()
                return {"rmax": float(rmax), "dmax": float(dmax)}
        return {}

    def _evaluation_due(self):
        return self._evaluate_at.due(self.step) or self._done()

    def _evaluate(self, results):
        with _memory_told("the evaluation", "--eval_batch_size"):
            evaluation = self._steps.evaluate(self.config.eval_batch_size)
        results.evaluation(self.step, evaluation)
        if self._in_training_mode is not None:
            with _memory_told(
                "the evaluation in training mode", "--training_mode_batch_size"
            ):
                evaluation = self._in_training_mode()
            results.measurement("eval_training_mode", self.step, evaluation)

    def _done(self):
        return self.step >= self.config.train_steps


@contextlib.contextmanager
def _memory_told(what, flag):
    """Makes one line of TensorFlow's pages on memory that cannot be had."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(
            f"{what} does not fit into memory. Lower {flag}, or take another network "
            "or half precision (--dtype_policy)."
        ) from error


def _jit_compile(option):
    """XLA or not; "auto" means accelerators: on a CPU it slows convolutions down."""
    if option == "auto":
        return bool(tf.config.list_physical_devices("GPU")) or bool(
            tf.config.list_physical_devices("TPU")
        )
    return option == "on"


@contextlib.contextmanager
def _dtype_policy(name):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
