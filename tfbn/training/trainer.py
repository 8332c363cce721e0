"""The outer loop of a training run."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

from tfbn.diagnostics.instruments import Moment
from tfbn.diagnostics.loss_function import snapshot
from tfbn.layers import BatchRenorm
from tfbn.training import builders
from tfbn.training import run_directory
from tfbn.training import watching
from tfbn.training.cadence import Cadence
from tfbn.training.progress import Progress
from tfbn.training.step import Steps
from tfbn.training.task import task_of


class Trainer:
    """Trains what a `TrainConfig` names, and records what it measures.

    A run is a function of its config: batches depend on (seed, step) alone, and with
    `deterministic=True` two runs of one config agree in every bit. Measuring does not
    change a run.

    Constructing a trainer sets Keras's global random seed and, with
    `deterministic=True`, TensorFlow's deterministic kernels for the whole process. It
    writes nothing to disk.

    Args:
        config: `TrainConfig`.

    Attributes:
        config: the `TrainConfig`.
        model: the built Keras model.
        run_dir: str, the folder of the results, made by `train`.
        step: int, optimizer steps made.

    Raises:
        ValueError: if the run directory cannot be used, the data cannot be loaded, or
            a batch size does not fit the data.
    """

    def __init__(self, config):
        self.config = config
        self.run_dir = run_directory.choose(config)
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        keras.utils.set_random_seed(config.seed)
        dataset = builders.build_dataset(config)
        self._batches = builders.build_batches(config, dataset)
        self._task = task_of(dataset)
        jit_compile = _jit_compile(config.jit_compile)
        self._optimizer = builders.build_optimizer(config)
        with _dtype_policy(config.dtype_policy):
            self.model = builders.build_model(config, dataset)
            self._watches = watching.watches(
                config, self.model, self._task.loss, dataset, jit_compile=jit_compile
            )
        self._steps = Steps(
            self.model, self._optimizer, self._task, dataset, jit_compile=jit_compile
        )
        self._log = Cadence(config.log_every)
        self._evaluate_at = Cadence(config.eval_every)
        self._since_record = []
        self.step = 0

    def train(self):
        """Runs to the end; returns the last evaluation, a dict of floats."""
        config = self.config
        progress = Progress(
            config.train_steps, config.batch_size, enabled=config.progress
        )
        self._announce(progress)
        with run_directory.RunDirectory(self.run_dir, config) as results:
            while self.step < config.train_steps:
                due = [w for w in self._watches if w.cadence.due(self.step)]
                if due:
                    metrics = self._measured_step(due, results, progress)
                else:
                    metrics = self._advance(self._steps_to_next_event())
                self._record(results)
                progress.update(self.step, metrics)
                if self._evaluation_due():
                    with progress.aside():
                        evaluation = self._evaluate(results)
            results.save_model(self.model)
        for watch in self._watches:
            progress.note(watching.summed_up(watch))
        return evaluation

    def _announce(self, progress):
        num_parameters = sum(
            int(np.prod(v.shape)) for v in self.model.trainable_variables
        )
        for watch in self._watches:
            progress.note(watching.announced(watch, num_parameters))

    def _advance(self, num_steps):
        """Makes `num_steps` steps; returns the means of their metrics."""
        steps = range(self.step, self.step + num_steps)
        metrics = self._steps.run(np.stack([self._batches.indices(i) for i in steps]))
        self.step += num_steps
        self._since_record.append(metrics)
        return _means([metrics])

    def _measured_step(self, watches, results, progress):
        """Makes one step, and the measurements of it."""
        step, before = self.step, snapshot(self.model)
        learning_rate = float(self._optimizer.learning_rate)
        metrics = self._advance(1)
        with progress.aside():
            moment = Moment(
                step=step,
                before=before,
                after=snapshot(self.model),
                batch=self._batch(step),
                next_batch=self._batch(step + 1),
                probe=self._batch(0),
                learning_rate=learning_rate,
            )
            for watch in watches:
                watch.measure(moment, results.measurement)
        return metrics

    def _batch(self, step):
        return self._steps.batch(self._batches.indices(step))

    def _steps_to_next_event(self):
        cadences = [self._log, self._evaluate_at, *(w.cadence for w in self._watches)]
        following = [cadence.next(self.step) for cadence in cadences]
        return min(
            self.config.steps_per_execution,
            self.config.train_steps - self.step,
            *(step - self.step for step in following if step is not None),
        )

    def _record(self, results):
        if not (self._log.due(self.step) or self._done()):
            return
        values = _means(self._since_record)
        values["learning_rate"] = float(self._optimizer.learning_rate)
        values.update(self._renorm_bounds())
        results.train(self.step, values)
        self._since_record = []

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
        evaluation = self._steps.evaluate(self.config.eval_batch_size)
        results.evaluation(self.step, evaluation)
        return evaluation

    def _done(self):
        return self.step >= self.config.train_steps


def _means(metrics):
    """The mean of each name over a list of dicts of arrays."""
    return {
        name: float(np.mean(np.concatenate([m[name] for m in metrics])))
        for name in metrics[0]
    }


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
