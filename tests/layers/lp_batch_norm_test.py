"""Tests of LpBatchNorm against NumPy, in float64 with finite differences."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils

# float64 against float64: some hundred roundings of 1e-16.
EXACT64 = 1e-12
# float32 against float64: the exactness that tfbn promises.
EXACT32 = 2e-6
# Central differences with a step of 1e-6 in float64: 1e-16 / 1e-6, and 1e-12.
DIFFERENCES = 1e-7

EPSILON = 1e-2
KINDS = {
    "order": (1, 2, "inf"),
    "centered": (True, False),
    "literal": (True, False),
}


class LpBatchNormTest(tf.test.TestCase, parameterized.TestCase):
    def layer(self, shape=(6, 3), dtype="float64", **options):
        layer = tfbn.LpBatchNorm(momentum=0.7, epsilon=EPSILON, dtype=dtype, **options)
        layer.build(shape)
        testing_utils.set_random_state(layer, np.random.default_rng(0))
        return layer

    @parameterized.product(**KINDS, shape_axis=(((6, 3), -1), ((4, 3, 2, 2), 1)))
    def test_output_and_averages(self, shape_axis, **kind):
        shape, axis = shape_axis
        layer = self.layer(shape, axis=axis, **kind)
        before = testing_utils.state(layer)
        x = testing_utils.random_batch(
            np.random.default_rng(1), shape, axis, dtype="float64"
        )
        y = layer(x, training=True)
        matrix = testing_utils.channels_last(x, axis)
        expected = testing_utils.lp_output(
            matrix, epsilon=EPSILON, gamma=before["gamma"], beta=before["beta"], **kind
        )
        self.assertAllClose(
            testing_utils.channels_last(y, axis), expected, rtol=EXACT64, atol=EXACT64
        )
        batch = {
            "moving_mean": np.mean(matrix, axis=0),
            "moving_norm": testing_utils.lp_norm(matrix, **kind),
        }
        for name, value in batch.items():
            wanted = 0.7 * before[name] + 0.3 * value
            self.assertAllClose(getattr(layer, name), wanted, rtol=EXACT64)

    @parameterized.product(**KINDS)
    def test_gradients_are_those_of_finite_differences(self, **kind):
        layer = self.layer(**kind)
        gamma, beta = (w.numpy() for w in layer.trainable_weights)
        rng = np.random.default_rng(1)
        x = testing_utils.random_batch(rng, (6, 3), dtype="float64")
        upstream = rng.normal(size=(6, 3))
        _, gradients = testing_utils.train_call(layer, x, upstream, dtype="float64")
        arguments = {"x": x, "gamma": gamma, "beta": beta}
        for name, gradient in zip(arguments, gradients, strict=True):

            def loss(value, name=name):
                y = testing_utils.lp_output(
                    epsilon=EPSILON, **kind, **{**arguments, name: value}
                )
                return np.sum(upstream * y)

            expected = testing_utils.numeric_gradient(loss, arguments[name])
            self.assertLess(
                testing_utils.relative_error(gradient, expected), DIFFERENCES, name
            )

    @parameterized.product(**KINDS)
    def test_inference(self, **kind):
        layer = self.layer(**kind)
        before = testing_utils.state(layer)
        x = testing_utils.random_batch(np.random.default_rng(1), (6, 3))
        expected = (x - before["moving_mean"]) / (before["moving_norm"] + EPSILON)
        expected = before["gamma"] * expected + before["beta"]
        y = layer(x.astype("float64"))
        self.assertAllClose(y, expected, rtol=EXACT64, atol=EXACT64)
        testing_utils.assert_same_state(testing_utils.state(layer), before)

    @parameterized.product(**KINDS)
    def test_with_a_mask(self, **kind):
        rng = np.random.default_rng(1)
        x = testing_utils.random_batch(rng, (6, 5, 3), dtype="float64")
        mask = rng.uniform(size=(6, 5)) < 0.6
        layer = self.layer(x.shape, **kind)
        before = testing_utils.state(layer)
        y = layer(x, training=True, mask=tf.constant(mask))
        expected = testing_utils.lp_output(
            x[mask], epsilon=EPSILON, gamma=before["gamma"], beta=before["beta"], **kind
        )
        self.assertAllClose(y.numpy()[mask], expected, rtol=EXACT64, atol=EXACT64)

    @parameterized.product(**KINDS)
    def test_what_is_masked_may_be_non_finite(self, **kind):
        x = testing_utils.random_batch(np.random.default_rng(1), (6, 3))
        mask = np.array([True, True, False, True, False, True])
        upstream = np.where(mask[:, np.newaxis], x + 3.0, 0.0)
        results = []
        for masked in (0.0, np.nan, np.inf):
            x[~mask] = masked
            layer = self.layer(dtype="float32", **kind)
            y, gradients = testing_utils.train_call(layer, x, upstream, mask)
            results.append((y[mask], *gradients))
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                self.assertAllEqual(one, two)

    @parameterized.product(**KINDS)
    def test_where_nothing_is_kept(self, **kind):
        """The norm is 0."""
        layer = self.layer(**kind)
        before = testing_utils.state(layer)
        x = testing_utils.random_batch(np.random.default_rng(1), (6, 3))
        x = x.astype("float64")
        y = layer(x, training=True, mask=tf.zeros(6, tf.bool))
        expected = before["gamma"] * x / EPSILON + before["beta"]
        self.assertAllClose(y, expected, rtol=EXACT64, atol=EXACT64)
        testing_utils.assert_same_state(testing_utils.state(layer), before)

    @parameterized.product(**KINDS)
    def test_float32(self, **kind):
        layer = self.layer(dtype="float32", **kind)
        before = testing_utils.state(layer)
        x = testing_utils.random_batch(np.random.default_rng(1), (6, 3))
        expected = testing_utils.lp_output(
            x.astype("float64"),
            epsilon=EPSILON,
            gamma=before["gamma"].astype("float64"),
            beta=before["beta"].astype("float64"),
            **kind,
        )
        y = layer(x, training=True)
        self.assertLess(testing_utils.relative_error(y, expected), EXACT32)

    def test_centered_order_2_is_batch_norm(self):
        x = testing_utils.random_batch(np.random.default_rng(0), (9, 3))
        upstream = np.random.default_rng(1).normal(size=x.shape)
        layers = (
            tfbn.LpBatchNorm(order=2, centered=True, epsilon=1e-12),
            tfbn.BatchNorm(epsilon=1e-12),
        )
        results = (
            tf.nest.flatten(testing_utils.train_call(layer, x, upstream))
            for layer in layers
        )
        for a, b in zip(*results, strict=True):
            # Their difference from BatchNorm's is that of a gradient with no radial
            # part: twice the rounding.
            self.assertLess(testing_utils.relative_error(a, b), 2 * EXACT32)

    @parameterized.parameters(
        (1, (3.0 + 1.0 + 4.0) / 3.0),
        (2, np.sqrt((9.0 + 1.0 + 16.0) / 3.0)),
        ("inf", 4.0),
    )
    def test_the_norm_by_hand(self, order, expected):
        layer = tfbn.LpBatchNorm(order=order, momentum=0.0)
        layer(tf.constant([[3.0], [-1.0], [4.0]]), training=True)
        self.assertAllClose(layer.moving_norm, [expected], rtol=EXACT32)

    @parameterized.parameters((1, 8.0 / 3.0), (2, np.sqrt(26.0) / 3.0), ("inf", 4 / 3))
    def test_the_literal_norm_by_hand(self, order, expected):
        layer = tfbn.LpBatchNorm(order=order, momentum=0.0, literal=True)
        layer(tf.constant([[3.0], [-1.0], [4.0]]), training=True)
        self.assertAllClose(layer.moving_norm, [expected], rtol=EXACT32)

    @parameterized.product(**KINDS, constant=(0.0, 5.0))
    def test_a_constant_channel_has_finite_gradients(self, constant, **kind):
        layer = self.layer(dtype="float32", **kind)
        x = np.full((6, 3), constant)
        results = testing_utils.train_call(layer, x, np.ones_like(x))
        for value in tf.nest.flatten(results):
            self.assertAllInSet(tf.math.is_finite(value), [True])

    def test_infinity_as_a_float(self):
        self.assertEqual(tfbn.LpBatchNorm(order=float("inf")).order, "inf")

    def test_holds_no_moving_variance(self):
        layer = self.layer()
        self.assertIsNone(layer.moving_variance)
        names = [w.name for w in layer.weights]
        self.assertEqual(names, ["gamma", "beta", "moving_mean", "moving_norm"])

    def test_is_a_batch_normalization(self):
        self.assertIsInstance(tfbn.LpBatchNorm(), keras.layers.BatchNormalization)


if __name__ == "__main__":
    tf.test.main()
