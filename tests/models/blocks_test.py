"""Tests of tfbn.models.blocks."""

import keras
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn.models import blocks


class BlocksTest(tf.test.TestCase, parameterized.TestCase):
    def test_normalized_applies_the_layer_then_the_norm(self):
        x = keras.Input((3,))
        y = blocks.normalized(keras.layers.Dense, x, tfbn.BatchNorm, name="d", units=2)
        kinds = [type(layer).__name__ for layer in keras.Model(x, y).layers]
        self.assertEqual(kinds, ["InputLayer", "Dense", "BatchNorm"])

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
