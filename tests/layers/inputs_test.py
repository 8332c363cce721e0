"""Tests of what layers take: unknown sizes, several axes, ragged rows, and a `training`
that is a tensor."""

import os

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.layers.every_layer import CLASSES
from tests.layers.every_layer import QUIET
from tests.layers.every_layer import SILENT
from tests.layers.every_layer import each

# float32 results of data of size 1 to 10: some units in the last place.
EXACT = 2e-6
# One of each class, without noise: what their training has to give is known.
EXAMPLES = {
    "BatchNorm": tfbn.BatchNorm,
    "BatchRenorm": QUIET["BatchRenorm/fixed"],
    "LpBatchNorm": tfbn.LpBatchNorm,
    "NoisyBatchNorm": lambda **kw: tfbn.NoisyBatchNorm(**SILENT, **kw),
}


def built(make, shape, **options):
    """`(layer, x, upstream)` with random weights and data."""
    rng = np.random.default_rng(0)
    layer = make(momentum=0.75, **options)
    layer.build(shape)
    testing_utils.set_random_state(layer, rng)
    x = rng.normal(2.0, 3.0, size=shape).astype("float32")
    return layer, x, rng.normal(size=shape).astype("float32")


class InputsTest(tf.test.TestCase, parameterized.TestCase):
    def assert_trains(self, layer, x, upstream, call, mask=None):
        """`call(x, upstream)` gives what TrainingCall says, and leaves its state."""
        expected = testing_utils.TrainingCall(layer, x.astype("float64"), mask)
        y, gradients = call(tf.constant(x), tf.constant(upstream))
        wanted = expected.gradients(upstream.astype("float64"))
        pairs = [*zip([y, *gradients], [expected.output, *wanted], strict=True)]
        state = testing_utils.state(layer)
        pairs += [
            (state[name], value)
            for name, value in expected.after().items()
            if name in state
        ]
        for actual, value in pairs:
            self.assertEqual(actual.shape, value.shape)
            self.assertLess(testing_utils.relative_error(actual, value), EXACT)


class UnknownSizesTest(InputsTest):
    @each(EXAMPLES)
    def test_channels_and_all(self, make):
        shape = (4, 5, 3)
        for unknown in ((2,), (0, 1, 2)):  # others: conformance_test.py
            layer, x, upstream = built(make, shape)
            spec = [None if i in unknown else n for i, n in enumerate(shape)]
            train = testing_utils.trainer(layer, mode="eager")
            call = tf.function(train, input_signature=[tf.TensorSpec(spec)] * 2)
            with self.subTest(unknown=unknown):
                self.assert_trains(layer, x, upstream, call)

    @parameterized.parameters("BatchRenorm", "LpBatchNorm")
    def test_under_xla(self, name):
        layer, x, upstream = built(EXAMPLES[name], (4, 5, 3))
        specs = [tf.TensorSpec([None] * 3)] * 2
        train = testing_utils.trainer(layer, mode="eager")
        call = tf.function(train, input_signature=specs, jit_compile=True)
        self.assert_trains(layer, x, upstream, call)

    @each(CLASSES)
    def test_inference(self, make):
        layer = make()
        x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
        layer.build(x.shape)
        call = tf.function(layer, input_signature=[tf.TensorSpec([None] * 3)])
        y = call(x)
        self.assertEqual(y.shape, x.shape)
        if isinstance(layer, tfbn.ActivationNoise):
            self.assertAllEqual(y, x)
        elif isinstance(layer, tfbn.LpBatchNorm):
            self.assertAllClose(y, x / (1.0 + layer.epsilon), EXACT)
        else:
            self.assertAllClose(y, x / np.sqrt(1.0 + layer.epsilon), EXACT)

    def test_of_a_generator(self):
        """`Dataset.from_generator` knows no size."""
        rows = np.float32([[1.0, 5.0], [3.0, 5.0]])
        dataset = tf.data.Dataset.from_generator(
            lambda: [rows] * 2, output_signature=tf.TensorSpec([None, None])
        )
        layer = tfbn.BatchNorm(momentum=0.0)
        layer.build((None, 2))
        list(dataset.map(lambda x: layer(x, training=True)))
        self.assertAllClose(layer.moving_mean, [2.0, 5.0])
        self.assertAllClose(layer.moving_variance, [1.0, 0.0])

    def test_other_numbers_of_channels_are_refused(self):
        layer = tfbn.BatchNorm()
        layer.build((None, 3))
        call = tf.function(layer, input_signature=[tf.TensorSpec([None, None])])
        with self.assertRaises(tf.errors.InvalidArgumentError):
            call(tf.ones((2, 4)))


class SeveralAxesTest(InputsTest):
    @parameterized.product(
        name=("BatchNorm", "BatchRenorm/two_sets", "LpBatchNorm/2"),
        axis=((1, 3), (-1, -2), (2, 3), (1, 2)),
    )
    def test_training(self, name, axis):
        """Between the axes there is another, or they are the last, or neither."""
        layer, x, upstream = built(QUIET[name], (8, 3, 2, 4), axis=axis)
        train = testing_utils.trainer(layer, mode="eager")
        self.assert_trains(layer, x, upstream, train)

    def test_masks_and_virtual_batches_of_unknown_sizes(self):
        options = {"axis": (1, 3), "virtual_batch_size": 2}
        layer, x, upstream = built(tfbn.BatchNorm, (8, 3, 2, 4), **options)
        mask = np.random.default_rng(1).uniform(size=(8, 3, 2)) < 0.7
        train = testing_utils.trainer(layer, mask, mode="eager")
        specs = [tf.TensorSpec([None] * 4)] * 2
        call = tf.function(train, input_signature=specs)
        # What is masked is normalised too, without any exactness.
        upstream = np.where(mask[..., None], upstream, 0.0).astype("float32")
        expected = testing_utils.TrainingCall(layer, x.astype("float64"), mask)
        _, gradients = call(tf.constant(x), tf.constant(upstream))
        for one, other in zip(gradients, expected.gradients(upstream), strict=True):
            self.assertLess(testing_utils.relative_error(one, other), EXACT)

    def test_weights_have_the_rank_of_the_inputs(self):
        """As in tf_keras."""
        layer = tfbn.BatchRenorm(axis=[1, 3])
        layer.build((None, 3, 2, 4))
        for weight in layer.weights:
            self.assertIn(weight.shape, ((1, 3, 1, 4), ()))
        self.assertEqual(layer.get_config()["axis"], [1, 3])

    def test_inference_and_saving(self):
        layer = tfbn.NoisyBatchNorm(axis=[1, 3], seed=0)
        model = keras.Sequential([keras.Input((3, 2, 4)), layer])
        testing_utils.set_random_state(layer, np.random.default_rng(0))
        path = os.path.join(self.get_temp_dir(), "model.keras")
        model.save(path)
        loaded = keras.models.load_model(path)
        x = np.random.default_rng(1).normal(size=(5, 3, 2, 4)).astype("float32")
        gamma, beta, mean, variance = (np.float64(w) for w in layer.get_weights()[:4])
        expected = gamma * (x - mean) / np.sqrt(variance + layer.epsilon) + beta
        for tested in (model, loaded):
            self.assertAllClose(tested(x), expected, EXACT, EXACT)

    def test_noise_of_a_channel_is_that_of_both_axes(self):
        """With noise that is constant along a channel."""
        layer = tfbn.ActivationNoise(
            axis=(1, 2),
            mean_range=1.0,
            stddev_max=1.0,
            mean_jitter=0.0,
            stddev_jitter=0.0,
            seed=0,
        )
        noise = layer(tf.zeros((5, 3, 2)), training=True)
        self.assertAllEqual(noise, tf.broadcast_to(noise[:1], noise.shape))
        self.assertLen(set(noise[0].numpy().ravel()), 6)


class RaggedTest(InputsTest):
    ROWS = ([[1.0, 2.0], [3.0, 4.0], [5.0, 7.0]], [[2.0, 2.0]])

    @parameterized.parameters("eager", "graph")
    def test_statistics_of_the_elements_that_there_are(self, mode):
        x = tf.ragged.constant(self.ROWS, ragged_rank=1)
        layer = tfbn.BatchNorm(momentum=0.0)
        layer.build((None, None, 2))
        call = testing_utils.in_mode(lambda x: layer(x, training=True), mode)
        y = call(x)
        self.assertAllClose(layer.moving_mean, [2.75, 3.75])
        self.assertAllClose(layer.moving_variance, [2.1875, 4.1875])
        self.assertAllEqual(y.row_lengths(), [3, 1])
        expected = (np.array([1.0, 2.0]) - [2.75, 3.75]) / np.sqrt([2.1885, 4.1885])
        self.assertAllClose(y[0][0], expected)
        self.assertAllClose(layer(x).flat_values, y.flat_values)

    @each(CLASSES)
    def test_each_layer(self, make):
        x = tf.ragged.constant(self.ROWS, ragged_rank=1)
        layer = make()
        for training in (True, False):
            y = layer(x, training=training)
            self.assertAllEqual(y.row_lengths(), [3, 1])

    def test_refused(self):
        x = tf.ragged.constant(self.ROWS, ragged_rank=1)
        layer = tfbn.BatchNorm(virtual_batch_size=1)
        with self.assertRaisesRegex(ValueError, "neither a mask nor virtual batches"):
            layer(x, training=True)
        layer = tfbn.BatchNorm(axis=1)
        layer.build((None, 2, 2))
        with self.assertRaisesRegex(ValueError, "inside the rows.*Received: axis 1"):
            layer.call(x, training=True)


class TrainingAsATensorTest(InputsTest):
    @each(EXAMPLES)
    def test_one_graph_does_both(self, make):
        layer, x, upstream = built(make, (6, 3))
        call, traces = testing_utils.count_traces(
            lambda x, training: layer(x, training=training)
        )
        before = testing_utils.state(layer)
        inferred = call(tf.constant(x), tf.constant(False))
        testing_utils.assert_same_state(testing_utils.state(layer), before)
        self.assertAllClose(inferred, layer(x, training=False), EXACT, EXACT)
        expected = testing_utils.TrainingCall(layer, x.astype("float64"))
        y = call(tf.constant(x), tf.constant(True))
        self.assertLess(testing_utils.relative_error(y, expected.output), EXACT)
        self.assertAllClose(layer.moving_mean, expected.after()["moving_mean"])
        self.assertLen(traces, 1)

    def test_gradients(self):
        layer, x, upstream = built(tfbn.BatchNorm, (6, 3))

        @tf.function
        def call(x, upstream, training):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=training)
            return tape.gradient(y, x, upstream)

        expected = testing_utils.TrainingCall(layer, x.astype("float64"))
        gradient = call(tf.constant(x), tf.constant(upstream), tf.constant(True))
        wanted = expected.gradients(upstream.astype("float64"))[0]
        self.assertLess(testing_utils.relative_error(gradient, wanted), EXACT)

    def test_noise(self):
        layer = tfbn.ActivationNoise(seed=0)
        call = tf.function(lambda x, training: layer(x, training=training))
        x = tf.ones((4, 3))
        self.assertAllEqual(call(x, tf.constant(False)), x)
        self.assertNotAllClose(call(x, tf.constant(True)), x)


if __name__ == "__main__":
    tf.test.main()
