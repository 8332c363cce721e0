"""Tests of tfbn.diagnostics.replication, against two live networks."""

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tests.testing_utils import cross_entropy
from tests.testing_utils import live_gradients
from tfbn import diagnostics
from tfbn.diagnostics import replication

# float32 gradients summed in another order.
RTOL = 1e-4


class ReplicationTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        keras.utils.set_random_seed(1)
        self.model, self.second = _convnet(), _convnet()
        rng = np.random.default_rng(0)
        self.batches = [
            (
                tf.constant(rng.normal(size=(6, 8, 8, 2)), tf.float32),
                tf.constant(rng.integers(0, 3, 6)),
            )
            for _ in range(2)
        ]
        self.before = diagnostics.snapshot(self.model)
        self.updated = [
            p + 0.1 * rng.normal(size=p.shape) for p in _weights(self.model)
        ]
        self.after = diagnostics.State(
            [tf.constant(p, tf.float32) for p in self.updated], self.before.buffers
        )
        self.meter = replication.ReplicationMeter(
            self.model, cross_entropy, self.second.trainable_variables
        )

    def test_equals_what_two_networks_give(self):
        weights, updated, others = (
            _weights(self.model),
            self.updated,
            _weights(self.second),
        )
        # conv1 has a bias, conv2 a bias and its normalisation's gamma and beta.
        kernels = [0, 2, 6]
        self.assertEqual([weights[i].ndim for i in kernels], [4, 4, 4])
        results = self.meter(self.before, self.after, *self.batches)
        self.assertEqual([r.name for r in results], ["conv1", "conv2", "conv3"])
        for i, result in zip(kernels, results, strict=True):
            g = _gradient(self.model, weights, self.batches[0], i)
            g_next = _gradient(self.model, updated, self.batches[1], i)
            right = _gradient(self.model, updated[:i] + weights[i:], self.batches[0], i)
            mixed = list(others)
            for k in kernels:
                mixed[k] = updated[k] if k <= i else weights[k]
            faulty = _gradient(self.second, mixed, self.batches[0], i)
            expected = [
                np.linalg.norm(right - g),
                _cosine(right, g),
                np.linalg.norm(faulty - g),
                _cosine(faulty, g),
                np.linalg.norm(g_next + g),
                np.linalg.norm(g_next - g),
            ]
            self.assertAllClose(result[1:], expected, rtol=RTOL, atol=1e-6)
        meter = replication.ReplicationMeter(
            self.model, cross_entropy, self.second.trainable_variables, layers=["conv2"]
        )
        (result,) = meter(self.before, self.after, *self.batches)
        self.assertAllClose(result[1:], results[1][1:], rtol=RTOL)

    def test_without_an_update_only_the_faulty_one_shifts(self):
        for result in self.meter(self.before, self.before, *self.batches):
            self.assertEqual(result.distance, 0.0)
            self.assertAllClose(result.cosine, 1.0, rtol=RTOL)
            self.assertLess(result.cosine_faulty, 0.99)

    def test_bad_arguments(self):
        others = self.second.trainable_variables
        with self.assertRaisesRegex(ValueError, "conv3'. Received: layers='logits'"):
            replication.ReplicationMeter(
                self.model, cross_entropy, others, layers=["logits"]
            )
        with self.assertRaisesRegex(ValueError, "must have the shapes"):
            replication.ReplicationMeter(self.model, cross_entropy, others[1:])
        mlp = tfbn.models.mlp(hidden_units=(3,), input_shape=(4,), name="dense_only")
        with self.assertRaisesRegex(ValueError, "Received: dense_only without any"):
            replication.ReplicationMeter(mlp, cross_entropy, mlp.trainable_variables)


def _convnet():
    return keras.Sequential(
        [
            keras.Input((8, 8, 2)),
            keras.layers.Conv2D(3, 3, activation="relu", name="conv1"),
            keras.layers.Conv2D(4, 3, name="conv2"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Conv2D(3, 3, activation="relu", name="conv3"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3, name="logits"),
        ]
    )


def _weights(model):
    return [v.numpy() for v in model.trainable_variables]


def _gradient(model, weights, batch, index):
    """The gradient of one variable at other weights."""
    return live_gradients(model, weights, *batch)[1][index]


def _cosine(a, b):
    return np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)


if __name__ == "__main__":
    tf.test.main()
