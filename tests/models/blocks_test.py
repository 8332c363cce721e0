"""Tests of tfbn.models.blocks."""

import os

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import models
from tfbn.models import blocks
from tfbn.models._weight_norm import WeightNorm


class BlocksTest(tf.test.TestCase, parameterized.TestCase):
    def test_normalized_applies_the_layer_then_the_norm(self):
        x = keras.Input((3,))
        y = blocks.normalized(keras.layers.Dense, x, tfbn.BatchNorm, name="d", units=2)
        kinds = [type(layer).__name__ for layer in keras.Model(x, y).layers]
        self.assertEqual(kinds, ["InputLayer", "Dense", "BatchNorm"])

    @parameterized.parameters(keras.layers.Dense, keras.layers.Conv2D)
    def test_weight_normalisation(self, layer):
        rng = np.random.default_rng(0)
        is_dense = layer is keras.layers.Dense
        size = {"units": 2} if is_dense else {"filters": 2, "kernel_size": 1}
        inputs = keras.Input((3,) if is_dense else (1, 1, 3))
        outputs = blocks.normalized(layer, inputs, WeightNorm(), name="d", **size)
        model = keras.Model(inputs, outputs)
        x = rng.normal(size=(5, *inputs.shape[1:])).astype("float32")
        v, bias, gain = model.get_weights()
        # Begins as the layer is without.
        plain = x.reshape(5, 3) @ v.reshape(3, 2)
        self.assertAllClose(model(x).numpy().reshape(5, 2), plain, rtol=1e-5, atol=1e-6)
        v, gain = rng.normal(size=v.shape), np.array([2.0, -0.5])
        v[..., 1] *= 100.0
        model.set_weights([v, bias, gain])
        flat = v.reshape(3, 2)
        kernel = gain * flat / np.linalg.norm(flat, axis=0)
        expected = x.reshape(5, 3) @ kernel
        self.assertAllClose(model(x).numpy().reshape(5, 2), expected, 1e-5, 1e-6)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(x) ** 2)
        dv, _, dgain = tape.gradient(loss, model.trainable_variables)
        dkernel = x.reshape(5, 3).T @ (2.0 * expected)
        # Eq. 3 of the paper; that for v has no part along v.
        unit = flat / np.linalg.norm(flat, axis=0)
        self.assertAllClose(dgain, np.sum(dkernel * unit, axis=0), 1e-4, 1e-4)
        along = np.sum(dv.numpy().reshape(3, 2) * unit, axis=0)
        self.assertAllClose(along, [0.0, 0.0], atol=1e-4)
        path = os.path.join(self.get_temp_dir(), "model.keras")
        model.save(path)
        self.assertAllEqual(keras.models.load_model(path)(x), model(x))

    def test_weight_normalisation_is_no_layer(self):
        with self.assertRaisesRegex(ValueError, "network of these: model=vgg, mlp or"):
            models.deep_linear(2, 3, norm=WeightNorm())

    @parameterized.parameters((10, 0.25, 2), (64, 1.0, 64), (3, 0.01, 1))
    def test_scaled(self, units, width, expected):
        self.assertEqual(blocks.scaled(units, width), expected)

    def test_kernel_options_make_an_initializer_of_their_own(self):
        initializer = keras.initializers.HeNormal()
        made = [blocks.kernel_options(initializer, 0.0) for _ in range(2)]
        a, b = (options["kernel_initializer"]((4, 4)) for options in made)
        self.assertNotAllClose(a, b)
        self.assertIsInstance(
            made[0]["kernel_initializer"], keras.initializers.HeNormal
        )
        self.assertIsNone(made[0]["kernel_regularizer"])

    @parameterized.parameters(3, "batch_norm", tfbn.BatchNorm)
    def test_norm_that_makes_no_layer(self, norm):
        if norm is tfbn.BatchNorm:
            self.assertIsInstance(blocks.make_norm(norm), tfbn.BatchNorm)
        else:
            with self.assertRaisesRegex(ValueError, f"norm={norm!r}"):
                blocks.make_norm(norm)

    def test_layer_object_is_refused_as_norm(self):
        # It would be shared by all layers.
        with self.assertRaisesRegex(ValueError, "callable that makes a new layer"):
            blocks.make_norm(tfbn.BatchNorm())


if __name__ == "__main__":
    tf.test.main()
