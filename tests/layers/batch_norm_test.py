"""Tests of BatchNorm against NumPy and against keras.layers.BatchNormalization."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils

# float32 against float64: the exactness that tfbn promises.
EXACT = 2e-6
# Against Keras's layer, which has rounding errors of its own, over many steps.
KERAS = 1e-5
# Keras divides masked sums by count + 1e-7.
KERAS_MASKED = 2e-5

SHAPES = (
    {"testcase_name": "2d", "shape": (12, 4), "axis": -1},
    {"testcase_name": "3d_first", "shape": (4, 3, 5), "axis": 1},
    {"testcase_name": "4d", "shape": (3, 4, 5, 4), "axis": -1},
    {"testcase_name": "4d_middle", "shape": (3, 4, 4, 5), "axis": 2},
    {"testcase_name": "5d_first", "shape": (2, 3, 2, 2, 3), "axis": 1},
)


class AgainstNumPyTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*SHAPES)
    def test_output_gradients_and_averages(self, shape, axis):
        rng = np.random.default_rng(0)
        layer = tfbn.BatchNorm(axis=axis, momentum=0.7, epsilon=0.01)
        layer.build(shape)
        testing_utils.set_random_state(layer, rng)
        before = testing_utils.state(layer)
        x = testing_utils.random_batch(rng, shape, axis)
        upstream = rng.normal(size=shape)
        reference = testing_utils.Renorm(
            testing_utils.channels_last(x, axis),
            0.01,
            before["gamma"].astype("float64"),
            before["beta"].astype("float64"),
        )
        y, gradients = testing_utils.train_call(layer, x, upstream)
        dx, *rest = reference.gradients(testing_utils.channels_last(upstream, axis))
        expected = (
            testing_utils.like(reference.output, shape, axis),
            testing_utils.like(dx, shape, axis),
            *rest,
            0.7 * before["moving_mean"] + 0.3 * reference.mean,
            0.7 * before["moving_variance"] + 0.3 * reference.variance,
        )
        averages = layer.moving_mean, layer.moving_variance
        for value, wanted in zip((y, *gradients, *averages), expected, strict=True):
            self.assertLess(testing_utils.relative_error(value, wanted), EXACT)

    @parameterized.named_parameters(*SHAPES)
    def test_inference(self, shape, axis):
        rng = np.random.default_rng(1)
        layer = tfbn.BatchNorm(axis=axis, epsilon=0.01)
        layer.build(shape)
        testing_utils.set_random_state(layer, rng)
        before = testing_utils.state(layer)
        x = testing_utils.random_batch(rng, shape, axis)
        y = layer(x)
        expected = testing_utils.channels_last(x, axis) - before["moving_mean"]
        expected /= np.sqrt(before["moving_variance"].astype("float64") + 0.01)
        expected = expected * before["gamma"] + before["beta"]
        expected = testing_utils.like(expected, shape, axis)
        self.assertLess(testing_utils.relative_error(y, expected), EXACT)
        testing_utils.assert_same_state(testing_utils.state(layer), before)

    @parameterized.product(center=(True, False), scale=(True, False))
    def test_without_gamma_or_beta(self, center, scale):
        layer = tfbn.BatchNorm(center=center, scale=scale)
        x = testing_utils.random_batch(np.random.default_rng(2), (9, 3))
        y = layer(x, training=True)
        names = [w.name for w in layer.trainable_weights]
        self.assertEqual(names, ["gamma"] * scale + ["beta"] * center)
        expected = testing_utils.Renorm(testing_utils.channels_last(x), 1e-3).output
        self.assertLess(testing_utils.relative_error(y, expected), EXACT)

    def test_momentum_0_makes_inference_equal_to_training(self):
        layer = tfbn.BatchNorm(momentum=0.0)
        x = testing_utils.random_batch(np.random.default_rng(3), (9, 3))
        y = layer(x, training=True)
        self.assertLess(testing_utils.relative_error(layer(x), y), EXACT)

    def test_the_scale_of_the_input_is_irrelevant(self):
        layer = tfbn.BatchNorm(epsilon=1e-12)
        x = testing_utils.random_batch(np.random.default_rng(4), (9, 3))
        y = layer(x, training=True)
        scaled = layer(64.0 * x, training=True)
        self.assertLess(testing_utils.relative_error(scaled, y), EXACT)

    def test_a_batch_of_one_gives_beta(self):
        layer = tfbn.BatchNorm(beta_initializer=keras.initializers.Constant(0.5))
        y = layer(tf.constant([[3.0, -1e6]]), training=True)
        self.assertAllEqual(y, [[0.5, 0.5]])


class AgainstKerasTest(tf.test.TestCase, parameterized.TestCase):
    def assert_same_training(self, shape, axis, mask=None, tolerance=KERAS):
        rng = np.random.default_rng(0)
        options = {"axis": axis, "momentum": 0.9, "epsilon": 1e-3}
        layers = tfbn.BatchNorm(**options), keras.layers.BatchNormalization(**options)
        for layer in layers:
            layer.build(shape)
            testing_utils.set_random_state(layer, np.random.default_rng(1))
        calls = [testing_utils.trainer(layer, mask) for layer in layers]
        for _ in range(20):
            x = testing_utils.random_batch(rng, shape, axis) * rng.uniform(0.5, 2.0)
            x = x.astype("float32")
            upstream = rng.normal(size=shape).astype("float32")
            ours, theirs = (
                tf.nest.flatten(call(tf.constant(x), tf.constant(upstream)))
                for call in calls
            )
            for a, b in zip(ours, theirs, strict=True):
                self.assertLess(testing_utils.relative_error(a, b), tolerance)
            for a, b in zip(*(layer.get_weights() for layer in layers), strict=True):
                self.assertLess(testing_utils.relative_error(a, b), tolerance)
        ours, theirs = (layer(x) for layer in layers)
        self.assertLess(testing_utils.relative_error(ours, theirs), tolerance)

    @parameterized.named_parameters(*SHAPES)
    def test_20_steps(self, shape, axis):
        self.assert_same_training(shape, axis)

    def test_20_steps_with_a_mask(self):
        mask = np.random.default_rng(5).uniform(size=(6, 5)) < 0.6
        self.assert_same_training((6, 5, 3), -1, mask, KERAS_MASKED)

    def test_is_one(self):
        self.assertIsInstance(tfbn.BatchNorm(), keras.layers.BatchNormalization)

    def test_the_order_of_the_weights(self):
        layers = tfbn.BatchNorm(), keras.layers.BatchNormalization()
        for layer in layers:
            layer.build((None, 3))
        ours, theirs = ([w.name for w in layer.weights] for layer in layers)
        self.assertEqual(ours, theirs)

    def test_made_from_the_config_of_keras(self):
        config = keras.layers.BatchNormalization(
            axis=1, momentum=0.5, epsilon=0.1, gamma_initializer="zeros", name="norm"
        ).get_config()
        layer = tfbn.BatchNorm.from_config(config)
        self.assertEqual(
            (layer.axis, layer.momentum, layer.epsilon, layer.name),
            (1, 0.5, 0.1, "norm"),
        )
        self.assertIsInstance(layer.gamma_initializer, keras.initializers.Zeros)

    def test_weights_of_keras_fit(self):
        theirs = keras.layers.BatchNormalization()
        theirs.build((None, 3))
        testing_utils.set_random_state(theirs, np.random.default_rng(0))
        ours = tfbn.BatchNorm()
        ours.build((None, 3))
        ours.set_weights(theirs.get_weights())
        x = testing_utils.random_batch(np.random.default_rng(1), (5, 3))
        self.assertLess(testing_utils.relative_error(ours(x), theirs(x)), KERAS)


class MaskTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("examples", (6, 5, 3), -1, (6,)),
        ("elements", (6, 5, 3), -1, (6, 5)),
        ("channels_first", (6, 3, 5), 1, (6, 5)),
    )
    def test_statistics_are_those_of_what_is_left(self, shape, axis, mask_shape):
        rng = np.random.default_rng(0)
        x = testing_utils.random_batch(rng, shape, axis)
        mask = rng.uniform(size=mask_shape) < 0.5
        # To [batch, time, channels], where a mask of either rank selects rows.
        kept = np.moveaxis(x, axis, -1)[mask].reshape(-1, 3)
        layer = tfbn.BatchNorm(axis=axis, momentum=0.0)
        layer(x, training=True, mask=tf.constant(mask))
        reference = testing_utils.Renorm(testing_utils.channels_last(kept), 1e-3)
        self.assertAllClose(layer.moving_mean, reference.mean, rtol=EXACT)
        self.assertAllClose(layer.moving_variance, reference.variance, rtol=EXACT)

    def test_an_all_true_mask_changes_nothing(self):
        x = testing_utils.random_batch(np.random.default_rng(0), (6, 5, 3))
        plain = tfbn.BatchNorm()(x, training=True)
        masked = tfbn.BatchNorm()(x, training=True, mask=tf.ones((6, 5), "bool"))
        self.assertLess(testing_utils.relative_error(masked, plain), EXACT)

    def test_what_is_masked_may_be_non_finite(self):
        x = testing_utils.random_batch(np.random.default_rng(0), (6, 5, 3))
        mask = np.random.default_rng(1).uniform(size=(6, 5)) < 0.5
        bad = np.where(mask[..., np.newaxis], x, np.nan)
        layers = tfbn.BatchNorm(), tfbn.BatchNorm()
        for layer, data in zip(layers, (x, bad), strict=True):
            layer(data, training=True, mask=tf.constant(mask))
        testing_utils.assert_same_state(*map(testing_utils.state, layers))

    @parameterized.parameters(((),), ((6, 5, 3),), ((6, 5, 1, 1),))
    def test_refuses_a_mask_of_the_wrong_rank(self, shape):
        message = rf"mask\.shape=\({', '.join(map(str, shape))}\)"
        with self.assertRaisesRegex(ValueError, message):
            tfbn.BatchNorm()(tf.ones((6, 5, 3)), training=True, mask=tf.ones(shape))


class BadShapesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (2, (None, 3), r"axis must be in \[-2, 2\).*axis=2, input shape \(None, 3\)"),
        (-4, (None, 3, 3), r"axis=-4, input shape \(None, 3, 3\)"),
        (-1, (None, 3, None), r"number of channels.*\(None, 3, None\) with axis=-1"),
        (-1, (3,), r"Received: input shape \(3,\)"),
    )
    def test_refused(self, axis, shape, message):
        for function in ("build", "compute_output_shape"):
            with self.assertRaisesRegex(ValueError, message):
                getattr(tfbn.BatchNorm(axis=axis), function)(shape)

    def test_an_axis_in_a_list_of_one(self):
        self.assertEqual(tfbn.BatchNorm(axis=[3]).axis, 3)

    def test_another_number_of_channels_is_refused(self):
        layer = tfbn.BatchNorm()
        layer.build((None, 3))
        with self.assertRaisesRegex(ValueError, r"value 3.*shape \(2, 4\)"):
            layer(tf.ones((2, 4)))


if __name__ == "__main__":
    tf.test.main()
