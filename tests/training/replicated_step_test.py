"""Tests of runs on several replicas: they are those of one device."""

import contextlib
import pathlib
import sys
import tempfile
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import data
from tfbn import layers
from tfbn import schedules
from tfbn.layers import synchronization
from tfbn.recording import records
from tfbn.training import Trainer
from tfbn.training import batch_sources
from tfbn.training.objective import Objective
from tfbn.training.replicated_step import ReplicatedSteps

_SCRIPTS = str(pathlib.Path(__file__).parents[2] / "scripts")
sys.path.insert(0, _SCRIPTS)

from _ahead_of_time.replicas import Replica  # noqa: E402

# float32 steps whose sums are taken in another order.
ROUNDING = 2e-4
SIZE, STEPS = 60, 24


def _renorm(**options):
    rmax, dmax = schedules.ioffe_2017(total_steps=STEPS)
    return layers.BatchRenorm(rmax=rmax, dmax=dmax, **options)


def _model(norm, regularizer="l2", **options):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((4,)),
            # A bias before the norm has a gradient of nothing but rounding errors.
            keras.layers.Dense(
                8, use_bias=False, kernel_regularizer=regularizer, name="hidden"
            ),
            norm(name="norm", momentum=0.9, **options),
            keras.layers.Dense(3, name="logits"),
        ]
    )


class Problem:
    """What a trainer takes, on one device or on the two of a strategy."""

    def __init__(self, norm, optimizer, batch_size, *, folder, **options):
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(SIZE, 4)).astype("float32") * [1, 3, 0.1, 10] + 1.0
        self.y = rng.integers(3, size=SIZE)
        self.sampler = data.IIDBatches(SIZE, batch_size, seed=3)
        self._norm, self._optimizer = norm, optimizer
        self._folder, self._options = folder, options

    def trainer(self, num_replicas, batches=None, **options):
        strategy = testing_utils.two_cpus_strategy() if num_replicas == 2 else None
        with strategy.scope() if strategy else contextlib.nullcontext():
            model, optimizer = self._norm(), self._optimizer()
        return Trainer(
            model,
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            batches or data.ArrayBatches(self.x, self.y, self.sampler),
            strategy=strategy,
            **{
                "run_dir": tempfile.mkdtemp(dir=self._folder),
                "train_steps": STEPS,
                "log_freq": 4,
                "progress": False,
                **self._options,
                **options,
            },
        )


def _compiled_part(model):
    """`(HLO, compiled HLO)` of a replica's part of a step, for batches of 16."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(SIZE, 4)).astype("float32"), rng.integers(3, size=SIZE)
    batches = data.ArrayBatches(x, y, data.IIDBatches(SIZE, 16, seed=0))
    source = batch_sources.source_of(batches)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    steps = ReplicatedSteps(
        model,
        keras.optimizers.SGD(0.1),
        Objective(model, loss, ["accuracy"], *source.spec),
        source,
        strategy=tf.distribute.OneDeviceStrategy("CPU:0"),
    )
    steps._number, steps._gathers_first = Replica.num_replicas_in_sync, True

    @tf.function(jit_compile=True, autograph=False)
    def part(x, y):
        with (
            mock.patch.object(tf.distribute, "get_replica_context", Replica),
            mock.patch.object(synchronization, "assign", _assign),
        ):
            losses, gradients, outputs, _ = steps._on_replica(x, y)
        return losses, gradients, outputs

    batch = [tf.constant(t) for t in batches(0)]
    stages = part.experimental_get_compiler_ir(*batch)
    return stages(stage="hlo"), stages(stage="optimized_hlo")


def _assign(variable, value, *, same):
    del same  # all of it is inside the program
    variable.assign(value)


class ReplicatedStepsTest(tf.test.TestCase, parameterized.TestCase):
    def test_two_replicas_are_one_device(self):
        problem = Problem(
            lambda: _model(layers.BatchNorm, synchronized=True),
            lambda: keras.optimizers.Adam(0.01),
            batch_size=9,  # slices of 4 and 5
            folder=self.get_temp_dir(),
            metrics=["accuracy"],
            diagnostics={"ics": 8},
        )
        validation = {"validation_data": (problem.x, problem.y), "validation_freq": 10}
        alone, both = (problem.trainer(number, **validation) for number in (1, 2))
        self.assertAllClose(alone.train(), both.train(), rtol=ROUNDING)
        self._assert_same_runs(alone, both)
        self._assert_mirrored(both)

    def test_metrics_of_batches_of_any_size(self):
        problem = Problem(
            lambda: _model(layers.BatchNorm, synchronized=True),
            lambda: keras.optimizers.SGD(0.1),
            batch_size=9,
            folder=self.get_temp_dir(),
            metrics=["accuracy"],
            train_steps=3,
            log_freq=1,
        )

        def batches(step):
            indices = problem.sampler.indices(step)[step:]  # of 9, 8 and 7
            return problem.x[indices], problem.y[indices]

        alone, both = (problem.trainer(number, batches) for number in (1, 2))
        alone.train()
        both.train()
        self._assert_same_runs(alone, both)

    def test_replicas_drop_other_elements(self):
        """The gradient of a weight is the mean of two inputs, each 0 or 2."""
        with testing_utils.two_cpus_strategy().scope():
            dropout = keras.layers.Dropout(0.5, seed=1)
            dense = keras.layers.Dense(1, kernel_initializer="zeros")
            model = keras.Sequential([keras.Input((64,)), dropout, dense])
            optimizer = keras.optimizers.SGD(1.0)
        trainer = Trainer(
            model,
            optimizer,
            lambda y, y_pred: y_pred[:, 0],
            data.ArrayBatches(
                np.ones((2, 64)), np.zeros((2, 1)), data.IIDBatches(2, 2, seed=0)
            ),
            strategy=testing_utils.two_cpus_strategy(),
            run_dir=self.get_temp_dir(),
            train_steps=1,
            progress=False,
        )
        trainer.train()
        self.assertAllEqual(np.unique(dense.kernel), [-2.0, -1.0, 0.0])
        self._assert_mirrored(trainer)

    def test_xla_compiles_the_part_of_a_tpu(self):
        """All sizes are known, and all communication is all-reduces."""
        program, compiled = _compiled_part(_model(_renorm, synchronized=True))
        # The loss, five gradients, the outputs, and of the layer one forward and one
        # backward. The compiler may combine those of the end of the step.
        self.assertEqual(program.count(" all-reduce("), 1 + 5 + 1 + 2)
        self.assertIn(" all-reduce(", compiled)
        self.assertIn(f"f32[{16 // 4},8]", compiled)  # four examples of sixteen
        self.assertNotIn("infeed", compiled)
        self.assertNotIn("custom-call", compiled)

    @pytest.mark.long
    def test_goes_on_with_another_number_of_replicas(self):
        problem = Problem(
            lambda: _model(_renorm, synchronized=True),
            # Clipped after the sum over the replicas: each of them would clip others.
            lambda: keras.optimizers.SGD(0.3, 0.9, global_clipnorm=0.2),
            batch_size=10,
            folder=self.get_temp_dir(),
            on_nonfinite="skip",
            checkpoint_freq=4,
        )

        def batches(last):
            def batch(step):
                if step > last:
                    raise KeyboardInterrupt
                indices = problem.sampler.indices(step)
                x = problem.x[indices]
                if step == 5:
                    x[-1] = np.inf  # of the second replica
                return x, problem.y[indices]

            return batch

        alone = problem.trainer(1, batches(STEPS))
        alone.train()
        run_dir = None
        for number, last in ((2, 9), (1, 17), (2, STEPS)):
            options = {"run_dir": run_dir} if run_dir else {}
            trainer = problem.trainer(number, batches(last), **options)
            run_dir = trainer.run_dir
            ends = last == STEPS
            with (
                contextlib.nullcontext()
                if ends
                else self.assertRaises(KeyboardInterrupt)
            ):
                trainer.train()
        self._assert_same_runs(alone, trainer)
        self._assert_mirrored(trainer)
        *_, last = records.read_records(run_dir, "train")
        self.assertEqual(last["skipped"], 1)

    def test_statistics_of_replicas_are_those_of_virtual_batches(self):
        folder = self.get_temp_dir()
        options = {"batch_size": 10, "folder": folder, "train_steps": 4}
        both, alone = (
            Problem(make, lambda: keras.optimizers.SGD(0.3), **options).trainer(number)
            for number, make in (
                (2, lambda: _model(layers.BatchNorm)),
                (1, lambda: _model(layers.BatchNorm, virtual_batch_size=5)),
            )
        )
        both.train()
        alone.train()
        self._assert_same_runs(alone, both)
        self._assert_mirrored(both)

    def _assert_same_runs(self, one, other):
        self.assertEqual(one.step, other.step)
        for a, b in zip(one.model.weights, other.model.weights, strict=True):
            self.assertAllClose(a.numpy(), b.numpy(), rtol=ROUNDING, atol=ROUNDING)
        runs = [list(records.read_records(t.run_dir)) for t in (one, other)]
        for a, b in zip(*runs, strict=True):
            for c, d in zip(*map(tf.nest.flatten, (a, b)), strict=True):
                if isinstance(c, str):
                    self.assertEqual(c, d)
                else:
                    self.assertAllClose(c, d, rtol=ROUNDING, atol=ROUNDING)

    def _assert_mirrored(self, trainer):
        for variable in [*trainer.model.variables, *trainer._parts.optimizer.variables]:
            copies = [copy.numpy() for copy in variable.value.values]
            self.assertLen(copies, 2)
            self.assertAllEqual(*copies)


if __name__ == "__main__":
    tf.test.main()
