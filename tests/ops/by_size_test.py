"""Tests of batch normalisation where only the running graph knows the size."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops
from tfbn.ops import cpu_kernels

EXACT = 2e-6  # float32 against float64: what tfbn promises
EPSILON = 1e-3
CHANNELS = 8
LEAST = cpu_kernels.MIN_ELEMENTS // CHANNELS  # rows that the kernels serve


def training_step(x, gamma, beta):
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        y, _ = ops.batch_norm(x, gamma, beta, axis=1, epsilon=EPSILON)
        loss = tf.reduce_sum(y * tf.cos(x))
    return y, tape.gradient(loss, [x, gamma, beta])


def inference(x, gamma, beta):
    mean, scale = tf.constant([0.25] * CHANNELS), tf.constant([2.0] * CHANNELS)
    return ops.normalize(x, mean, scale, gamma, beta, axis=1)


def operations_run(function, x, *weights):
    """The names of the operations that a run takes, in a graph for any size of `x`."""
    v1, metadata = tf.compat.v1, tf.compat.v1.RunMetadata()
    with tf.Graph().as_default(), v1.Session() as session:
        placeholder = v1.placeholder(tf.float32, [None, *x.shape[1:]])
        results = function(placeholder, *map(tf.constant, weights))
        session.run(
            tf.nest.flatten(results),
            {placeholder: x},
            options=v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE),
            run_metadata=metadata,
        )
    devices = metadata.step_stats.dev_stats
    return [node.node_name for device in devices for node in device.node_stats]


def of_any_size(function, dtype="float32"):
    """A graph of the function for inputs of any number of rows."""
    specs = [tf.TensorSpec([None, CHANNELS], dtype), *[tf.TensorSpec([CHANNELS])] * 2]
    return tf.function(function, input_signature=specs, autograph=False)


class BySizeTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(LEAST, CHANNELS)) * 3.0 + 5.0
        self.weights = rng.normal(size=(2, CHANNELS)).astype("float32")

    @parameterized.parameters(training_step, inference)
    def test_one_graph_runs_the_kernels_for_large_batches_alone(self, function):
        """They take a tenth of a millisecond, however small the batch."""
        for rows, runs in ((LEAST, True), (LEAST - 1, False), (3, False)):
            found = operations_run(function, self.x[:rows], *self.weights)
            self.assertEqual(any("FusedBatchNorm" in name for name in found), runs)

    @parameterized.parameters(0, 3, LEAST - 1, LEAST)
    def test_training(self, rows):
        x = self.x[:rows].astype("float32")
        y, gradients = of_any_size(training_step)(x, *self.weights)
        self.assertEqual(y.shape, x.shape)
        if not rows:
            return self.assertAllEqual(gradients[1:], np.zeros((2, CHANNELS)))
        wide = x.astype("float64")
        gamma, beta = self.weights.astype("float64")
        reference = testing_utils.Renorm(wide, EPSILON, gamma, beta)
        dx, *rest = reference.gradients(np.cos(wide))
        dx -= reference.output * np.sin(wide)  # the loss depends on x twice
        for actual, expected in zip(
            (y, *gradients), (reference.output, dx, *rest), strict=True
        ):
            self.assertLess(testing_utils.relative_error(actual, expected), EXACT)

    @parameterized.product(rows=(3, LEAST), dtype=("float32", "bfloat16"))
    def test_inference(self, rows, dtype):
        x = tf.cast(self.x[:rows], dtype)
        y = of_any_size(inference, dtype)(x, *self.weights)
        self.assertEqual(y.dtype, dtype)
        gamma, beta = self.weights.astype("float64")
        expected = gamma * (tf.cast(x, "float64").numpy() - 0.25) / 2.0 + beta
        error = testing_utils.relative_error(tf.cast(y, "float64"), expected)
        self.assertLess(error, EXACT + (2.0**-8 if dtype == "bfloat16" else 0.0))


if __name__ == "__main__":
    tf.test.main()
