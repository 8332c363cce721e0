"""Tests of tfbn.models.vgg."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import models


class VggTest(tf.test.TestCase, parameterized.TestCase):
    # Weights of the 3x3 (and C's 1x1) kernels, counted by hand from the paper's table.
    @parameterized.parameters(
        ("A", 8, 9_217_728), ("B", 10, 9_402_048), ("C", 13, 9_991_872)
    )
    def test_kernels_of_a_configuration(self, depth, num_layers, num_weights):
        model = models.vgg(depth)
        convolutions = _layers(model, keras.layers.Conv2D)
        self.assertLen(convolutions, num_layers)
        self.assertEqual(
            sum(int(np.prod(c.kernel.shape)) for c in convolutions), num_weights
        )

    @parameterized.parameters(("D", 13), ("E", 16))
    def test_deep_configurations_have_3x3_kernels(self, depth, num_layers):
        convolutions = _layers(models.vgg(depth, width=0.1), keras.layers.Conv2D)
        self.assertLen(convolutions, num_layers)
        self.assertEqual({c.kernel_size for c in convolutions}, {(3, 3)})

    def test_channels_of_configuration_a(self):
        channels = [c.filters for c in _layers(models.vgg("A"), keras.layers.Conv2D)]
        self.assertEqual(channels, [64, 128, 256, 256, 512, 512, 512, 512])

    def test_width_scales_channels_and_hidden_units(self):
        model = models.vgg("A", width=0.25, hidden_units=(400,), dropout=0.5)
        channels = [c.filters for c in _layers(model, keras.layers.Conv2D)]
        self.assertEqual(channels, [16, 32, 64, 64, 128, 128, 128, 128])
        self.assertEqual(
            [d.units for d in _layers(model, keras.layers.Dense)], [100, 10]
        )

    def test_each_convolution_is_followed_by_norm_then_relu(self):
        model = models.vgg("A", width=0.1, norm=tfbn.BatchNorm)
        kinds = [type(layer).__name__ for layer in model.layers]
        places = [i for i, kind in enumerate(kinds) if kind == "Conv2D"]
        self.assertLen(places, 8)
        for i in places:
            self.assertEqual(kinds[i + 1 : i + 3], ["BatchNorm", "ReLU"])

    def test_norm_after_the_fourth_convolution_only(self):
        model = models.vgg("A", width=0.1, norm=tfbn.BatchNorm, norm_after=(4,))
        names = [layer.name for layer in model.layers]
        norms = _layers(model, tfbn.BatchNorm)
        self.assertLen(norms, 1)
        self.assertEqual(names[names.index(norms[0].name) - 1], "conv4")
        biased = [c.name for c in _layers(model, keras.layers.Conv2D) if c.use_bias]
        self.assertEqual(biased, [f"conv{i}" for i in (1, 2, 3, 5, 6, 7, 8)])

    @parameterized.named_parameters(
        ("none", None, True),
        ("batch_norm", tfbn.BatchNorm, False),
        ("no_center", lambda: tfbn.BatchNorm(center=False), True),
        ("noise", tfbn.ActivationNoise, True),
    )
    def test_bias_is_dropped_where_the_norm_has_a_beta(self, norm, use_bias):
        model = models.vgg("A", width=0.1, norm=norm)
        found = {c.use_bias for c in _layers(model, keras.layers.Conv2D)}
        self.assertEqual(found, {use_bias})

    def test_layers_of_equal_shape_start_from_different_kernels(self):
        model = models.vgg(
            "A", width=0.1, kernel_initializer=keras.initializers.GlorotNormal()
        )
        a, b = (model.get_layer(name).kernel.numpy() for name in ("conv7", "conv8"))
        self.assertNotAllClose(a, b)

    def test_l2_penalty_is_the_weighted_sum_of_squared_kernels(self):
        model = models.vgg("A", width=0.1, l2_penalty=0.5)
        kernels = [v.numpy() for v in model.trainable_variables if v.name == "kernel"]
        model(np.zeros((1, 32, 32, 3), "float32"))
        expected = 0.5 * sum(np.sum(k.astype("float64") ** 2) for k in kernels)
        self.assertAllClose(sum(model.losses), expected, rtol=1e-5)

    def test_logits_are_float32_under_mixed_precision(self):
        previous = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        self.addCleanup(keras.config.set_dtype_policy, previous)
        logits = models.vgg("A", width=0.1)(np.zeros((2, 32, 32, 3), "float32"))
        self.assertEqual(logits.dtype, tf.float32)
        self.assertEqual(logits.shape, (2, 10))


def _layers(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


if __name__ == "__main__":
    tf.test.main()
