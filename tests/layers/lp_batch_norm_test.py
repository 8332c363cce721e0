"""Tests of LpBatchNorm, and of the NumPy reference that its other tests have."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils

# float32 against float64: the exactness that tfbn promises.
EXACT = 2e-6
# Central differences with a step of 1e-6 in float64: 1e-16 / 1e-6, and 1e-12.
DIFFERENCES = 1e-7

EPSILON = 1e-2
KINDS = {
    "order": (1, 2, "inf"),
    "centered": (True, False),
    "literal": (True, False),
}


class LpBatchNormTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(**KINDS)
    def test_gradients_are_those_of_finite_differences(self, **kind):
        rng = np.random.default_rng(1)
        layer = tfbn.LpBatchNorm(epsilon=EPSILON, dtype="float64", **kind)
        layer.build((6, 3))
        testing_utils.set_random_state(layer, np.random.default_rng(0))
        gamma, beta = (w.numpy() for w in layer.trainable_weights)
        x = testing_utils.random_batch(rng, (6, 3), dtype="float64")
        upstream = rng.normal(size=(6, 3))
        _, gradients = testing_utils.train_call(layer, x, upstream, dtype="float64")
        arguments = {"x": x, "gamma": gamma, "beta": beta}
        for name, gradient in zip(arguments, gradients, strict=True):

            def loss(value, name=name):
                values = {**arguments, name: value}
                reference = testing_utils.LpNorm(epsilon=EPSILON, **kind, **values)
                return np.sum(upstream * reference.output)

            expected = testing_utils.numeric_gradient(loss, arguments[name])
            self.assertLess(
                testing_utils.relative_error(gradient, expected), DIFFERENCES, name
            )

    @parameterized.product(order=KINDS["order"], centered=(True, False))
    def test_what_is_masked_may_be_non_finite(self, **kind):
        x = testing_utils.random_batch(np.random.default_rng(1), (6, 3))
        mask = np.array([True, True, False, True, False, True])
        upstream = np.where(mask[:, np.newaxis], x + 3.0, 0.0)
        results = []
        for masked in (0.0, np.nan):
            x[~mask] = masked
            layer = tfbn.LpBatchNorm(**kind)
            y, gradients = testing_utils.train_call(layer, x, upstream, mask)
            results.append((y[mask], *gradients))
        for one, two in zip(*results, strict=True):
            self.assertAllEqual(one, two)

    @parameterized.parameters(*KINDS["order"])
    def test_where_nothing_is_kept(self, order):
        """The norm is 0."""
        layer = tfbn.LpBatchNorm(order=order, epsilon=EPSILON)
        x = testing_utils.random_batch(np.random.default_rng(1), (6, 3))
        y = layer(x, training=True, mask=tf.zeros(6, tf.bool))
        self.assertAllClose(y, x / EPSILON, rtol=EXACT)

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
            self.assertLess(testing_utils.relative_error(a, b), 2 * EXACT)

    @parameterized.parameters(
        (1, False, 8.0 / 3.0),
        (2, False, np.sqrt(26.0 / 3.0)),
        ("inf", False, 4.0),
        (1, True, 8.0 / 3.0),
        (2, True, np.sqrt(26.0) / 3.0),
        ("inf", True, 4.0 / 3.0),
    )
    def test_the_norm_by_hand(self, order, literal, expected):
        layer = tfbn.LpBatchNorm(order=order, literal=literal, momentum=0.0)
        layer(tf.constant([[3.0], [-1.0], [4.0]]), training=True)
        self.assertAllClose(layer.moving_norm, [expected], rtol=EXACT)

    @parameterized.product(
        mode=("eager", "xla"), order=KINDS["order"], constant=(0.0, 5.0)
    )
    def test_a_constant_channel_has_finite_gradients(self, mode, order, constant):
        """TensorFlow's own kernel takes 0 / 0 for 0 in the gradient of a root."""
        x = np.full((6, 3), constant)
        layer = tfbn.LpBatchNorm(order=order, centered=True)
        results = testing_utils.train_call(layer, x, np.ones_like(x), mode=mode)
        for value in tf.nest.flatten(results):
            self.assertAllInSet(tf.math.is_finite(value), [True])

    def test_has_a_norm_for_a_variance(self):
        layer = tfbn.LpBatchNorm(order=float("inf"))
        self.assertEqual(layer.order, "inf")
        self.assertIsInstance(layer, keras.layers.BatchNormalization)
        layer.build((None, 3))
        self.assertIsNone(layer.moving_variance)
        names = [w.name for w in layer.weights]
        self.assertEqual(names, ["gamma", "beta", "moving_mean", "moving_norm"])
        # Untrained, inference leaves its input nearly as it is.
        x = testing_utils.random_batch(np.random.default_rng(1), (6, 3))
        self.assertAllClose(layer(x), x / (1.0 + layer.epsilon), rtol=EXACT)


if __name__ == "__main__":
    tf.test.main()
