"""Tests of tfbn.training.replicas: slices, and what a strategy cannot train."""

import tempfile
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import layers
from tfbn.recording import records
from tfbn.training import Trainer
from tfbn.training import replicas


def _cross(y_true, y_pred):
    """A loss of pairs of examples, as in contrastive learning."""
    return tf.reduce_mean(tf.square(y_pred @ tf.transpose(y_pred)))


def _dense(**options):
    return [keras.layers.Dense(1, **options)]


def _trainer(model, **options):
    defaults = {
        "optimizer": "sgd",
        "loss": "mse",
        "batches": lambda step: (np.ones((4, 3), "float32"), np.ones((4, 1))),
        "run_dir": tempfile.gettempdir() + "/tfbn_replicas",
        "train_steps": 1,
        "progress": False,
    }
    return Trainer(model, **defaults | options)


class RefusalsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (_dense, {"loss": _cross}, r"a sum or a mean over .* Received: a loss of"),
        (
            _dense,
            {"batches": lambda step: (np.ones((1, 3)), np.ones((1, 1)))},
            r"at least the number of replicas\. Received: batches of 1 examples",
        ),
        (
            lambda: [layers.BatchNorm(name="norm")],
            {"diagnostics": {"ics": 1}},
            r"Received: diagnostics ics, norm with synchronized=False.*--synchronized",
        ),
        (_dense, {"jit_compile": True}, r'False or "auto".* jit_compile=True'),
        (
            _dense,
            {"optimizer": lambda: keras.optimizers.SGD(gradient_accumulation_steps=2)},
            r"Received: gradient_accumulation_steps=2.*Use a larger batch",
        ),
    )
    def test_on_several_replicas(self, make, options, message):
        strategy = testing_utils.two_cpus_strategy()
        with strategy.scope():
            model = keras.Sequential([keras.Input((3,)), *make(), *_dense()])
            if callable(options.get("optimizer")):
                options = options | {"optimizer": options["optimizer"]()}
        with self.assertRaisesRegex(ValueError, message):
            _trainer(model, strategy=strategy, **options)

    def test_losses_of_layers(self):
        strategy = testing_utils.two_cpus_strategy()
        with strategy.scope():
            layer = keras.layers.Dense(1, activity_regularizer="l2")
            model = keras.Sequential([keras.Input((3,)), layer])
        trainer = _trainer(model, strategy=strategy)
        with self.assertRaisesRegex(ValueError, "no add_loss and no activity reg"):
            trainer.train()

    @parameterized.parameters(
        (None, "batches of an unknown number of examples, strategy of 4 replicas"),
        (18, "batches of 18 examples, strategy of 4 replicas"),
    )
    def test_tpus_need_all_sizes(self, batch_size, received):
        tpus = mock.create_autospec(tf.distribute.TPUStrategy, instance=True)
        tpus.num_replicas_in_sync = 4
        replicas.check_strategy(tpus)
        replicas.check_batch_size(16, tpus)
        with self.assertRaisesRegex(ValueError, f"ArrayBatches.* {received}"):
            replicas.check_batch_size(batch_size, tpus)

    def test_strategies(self):
        strategy = testing_utils.two_cpus_strategy()
        model = keras.Sequential([keras.Input((3,)), *_dense()])
        with self.assertRaisesRegex(
            ValueError, r"within strategy\.scope\(\)\. Received"
        ):
            _trainer(model, strategy=strategy)
        with self.assertRaisesRegex(ValueError, "Received: strategy='mirrored'"):
            _trainer(model, strategy="mirrored")

    def test_other_statistics_than_before(self):
        model = keras.Sequential([keras.Input((3,)), layers.BatchNorm()])
        replicas.check_resumption(1, model, None)
        with self.assertRaisesRegex(
            ValueError, "of 2 parts of each .* the whole batch"
        ):
            replicas.check_resumption(2, model, None)
        strategy = testing_utils.two_cpus_strategy()
        replicas.check_resumption(2, model, strategy)
        model.layers[0].synchronized = True
        replicas.check_resumption(1, model, strategy)


class SlicesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((8, 2), (7, 3), (3, 3), (10, 4))
    def test_bounds(self, size, number):
        slices = [replicas.bounds(size, i, number) for i in range(number)]
        indices = [i for begin, end in slices for i in range(begin, end)]
        self.assertEqual(indices, list(range(size)))
        sizes = [end - begin for begin, end in slices]
        self.assertLessEqual(max(sizes) - min(sizes), 1)
        self.assertGreater(min(sizes), 0)

    @parameterized.parameters((8, 2, True), (8, 2, False), (7, 3, True), (10, 4, False))
    def test_among_zeros(self, size, number, known):
        """The sum is the whole, and one replica's NaN stays where it is."""
        whole = np.arange(2.0 * size).reshape(size, 1, 2) + 1.0
        whole[-1] = np.nan
        parts = []
        for replica in range(number):
            begin, end = replicas.bounds(size, replica, number)
            part = tf.constant(whole[begin:end])
            found = replicas.among_zeros(
                part, size if known else tf.constant(size), replica, number
            )
            expected = np.zeros_like(whole)
            expected[begin:end] = whole[begin:end]
            self.assertAllEqual(found, expected)
            parts.append(found)
        self.assertAllEqual(tf.add_n(parts), whole)


class WithinScopeTest(tf.test.TestCase):
    def test_losses_are_whole(self):
        """Within the scope Keras divides a loss by the number of replicas."""
        strategy = testing_utils.two_cpus_strategy()
        rng = np.random.default_rng(0)
        x, y = (rng.normal(size=(8, n)).astype("float32") for n in (3, 1))
        folder = self.get_temp_dir()
        with strategy.scope():
            model = keras.Sequential([keras.Input((3,)), *_dense()])
            _trainer(
                model,
                batches=lambda step: (x, y),
                validation_data=(x, y),
                diagnostics={"landscape": 1},
                run_dir=folder,
                log_freq=1,
                strategy=strategy,
            ).train()
        found = {r["kind"]: r["loss"] for r in records.read_records(folder)}
        # Both before the update, on the same batch.
        self.assertAllClose(found["landscape"], found["train"], rtol=1e-6)
        mean = np.mean(
            np.square(x @ model.layers[-1].kernel + model.layers[-1].bias - y)
        )
        self.assertAllClose(found["eval"], mean, rtol=1e-5)


class DriftingTest(tf.test.TestCase):
    def test_averages_of_keras(self):
        norms = [
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.BatchNormalization(synchronized=True),
            layers.BatchNorm(),
        ]
        model = keras.Sequential([keras.Input((3,)), *norms, *_dense()])
        found = [
            variable.path.partition("/")[2] for variable in replicas.drifting(model)
        ]
        self.assertEqual(found, ["norm/moving_mean", "norm/moving_variance"])


if __name__ == "__main__":
    tf.test.main()
