"""Tests of BatchNorm as a drop-in for keras.layers.BatchNormalization.

Its numbers against float64 references have conformance_test.py and
training_properties_test.py.
"""

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


class FreezingTest(tf.test.TestCase):
    def test_only_trainable_freezes_the_averages_in_fit(self):
        """`training=False` in the call of a layer does not, of Keras's neither."""
        inputs = x = keras.Input((3,))
        norms = tfbn.BatchNorm(), keras.layers.BatchNormalization(), tfbn.BatchNorm()
        norms[-1].trainable = False
        for norm in norms:
            x = norm(x, training=False)
        model = keras.Model(inputs, x)
        model.compile("sgd", "mse")
        data = np.random.default_rng(0).normal(2.0, 3.0, (8, 3))
        model.fit(data, data, verbose=0)
        moved = [np.any(norm.moving_variance.numpy() != 1.0) for norm in norms]
        self.assertEqual(moved, [True, True, False])


class AgainstKerasTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("last", (3, 4, 5, 4), -1, None, KERAS),
        ("first", (4, 3, 5), 1, None, KERAS),
        ("masked", (6, 5, 3), -1, (6, 5), KERAS_MASKED),
    )
    def test_20_steps(self, shape, axis, mask_shape, tolerance):
        rng = np.random.default_rng(0)
        mask = None if mask_shape is None else rng.uniform(size=mask_shape) < 0.6
        options = {"axis": axis, "momentum": 0.9, "epsilon": 1e-3}
        layers = tfbn.BatchNorm(**options), keras.layers.BatchNormalization(**options)
        for layer in layers:
            layer.build(shape)
            testing_utils.set_random_state(layer, np.random.default_rng(1))
        calls = [testing_utils.trainer(layer, mask) for layer in layers]
        for _ in range(20):
            x = testing_utils.random_batch(rng, shape, axis) * rng.uniform(0.5, 2.0)
            x, upstream = (
                tf.constant(a, "float32") for a in (x, rng.normal(size=shape))
            )
            ours, theirs = (tf.nest.flatten(call(x, upstream)) for call in calls)
            self.assert_close(ours, theirs, tolerance)
            self.assert_close(*(i.get_weights() for i in layers), tolerance)
        self.assert_close(*([layer(x)] for layer in layers), tolerance)

    def assert_close(self, ours, theirs, tolerance):
        for a, b in zip(ours, theirs, strict=True):
            self.assertLess(testing_utils.relative_error(a, b), tolerance)

    def test_is_one_with_the_same_weights(self):
        layers = tfbn.BatchNorm(), keras.layers.BatchNormalization()
        self.assertIsInstance(layers[0], keras.layers.BatchNormalization)
        for layer in layers:
            layer.build((None, 3))
        ours, theirs = ([w.name for w in layer.weights] for layer in layers)
        self.assertEqual(ours, theirs)
        testing_utils.set_random_state(layers[1], np.random.default_rng(0))
        layers[0].set_weights(layers[1].get_weights())
        x = testing_utils.random_batch(np.random.default_rng(1), (5, 3))
        self.assert_close(*([layer(x)] for layer in layers), KERAS)

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


class IdentitiesTest(tf.test.TestCase, parameterized.TestCase):
    def test_momentum_0_makes_inference_equal_to_training(self):
        layer = tfbn.BatchNorm(momentum=0.0)
        x = testing_utils.random_batch(np.random.default_rng(3), (9, 3))
        y = layer(x, training=True)
        self.assertLess(testing_utils.relative_error(layer(x), y), EXACT)


if __name__ == "__main__":
    tf.test.main()
