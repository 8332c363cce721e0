"""Tests of tfbn.models.vgg."""

import os

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import models

# float32 against float64; sums of some hundred products may cancel.
RTOL = 1e-5
ATOL = 1e-6


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

    def test_activation_is_that_of_convolutions_and_hidden_layers(self):
        model = models.vgg(width=0.1, norm=tfbn.BatchNorm, activation="tanh")
        kinds = [type(layer).__name__ for layer in model.layers]
        places = [i for i, kind in enumerate(kinds) if kind == "Conv2D"]
        for i in places:
            self.assertEqual(kinds[i + 1 : i + 3], ["BatchNorm", "Activation"])
            self.assertIs(model.layers[i + 2].activation, keras.activations.tanh)
        for activation in ("relu", "tanh"):
            model = models.vgg(width=0.1, hidden_units=(9,), activation=activation)
            hidden, logits = _layers(model, keras.layers.Dense)
            self.assertEqual(hidden.activation.__name__, activation)
            self.assertEqual(logits.activation.__name__, "linear")

    # The last pooling leaves a map of a 32nd of the input's size.
    @parameterized.parameters(
        ((32, 32), 7), ((64, 32), 7), ((96, 64), 2), ((64, 64), 4), ((64, 64), 2)
    )
    def test_classifier_grid_is_adaptive_average_pooling(self, size, grid):
        shape = (*size, 3)
        model = models.vgg(width=0.05, input_shape=shape, classifier_grid=grid)
        head = _after_the_last_pooling(model)
        features = np.random.default_rng(0).normal(size=head.input_shape[1:])
        kernel, bias = (w.astype("float64") for w in head.get_weights())
        channels = features.shape[-1]
        self.assertEqual(kernel.shape, (grid * grid * channels, 10))
        expected = _adaptive_average(features, grid).reshape(-1) @ kernel + bias
        self.assertAllClose(head(features[None])[0], expected, rtol=RTOL, atol=ATOL)

    def test_7x7_grid_of_one_place_is_each_feature_49_times(self):
        head = _after_the_last_pooling(models.vgg(width=0.05, classifier_grid=7))
        features = np.random.default_rng(0).normal(size=(4, 1, 1, 26))
        kernel, bias = (w.astype("float64") for w in head.get_weights())
        expected = np.tile(features[:, 0, 0], (1, 49)) @ kernel + bias
        self.assertAllClose(head(features), expected, rtol=RTOL, atol=ATOL)

    # A map of 2x1: along one axis it is repeated, along the other averages overlap.
    @parameterized.parameters(False, True)
    def test_gradient_of_the_grid(self, jit_compile):
        model = models.vgg(width=0.05, input_shape=(64, 32, 3), classifier_grid=7)
        head = _after_the_last_pooling(model)
        features = tf.random.stateless_normal([1, *head.input_shape[1:]], [0, 1])

        @tf.function(jit_compile=jit_compile)
        def gradient(x):
            return tf.gradients(tf.reduce_sum(head(x)), x)[0]

        # The logits are linear, so that along a direction the slope is the change.
        direction = np.random.default_rng(0).normal(size=head.input_shape[1:])
        pooled = _adaptive_average(direction, 7).reshape(-1)
        expected = np.sum(pooled @ head.get_weights()[0].astype("float64"))
        slope = np.sum(gradient(features)[0] * direction)
        self.assertAllClose(slope, expected, rtol=RTOL, atol=ATOL)

    def test_grid_is_saved(self):
        model = models.vgg(width=0.05, input_shape=(64, 32, 3), classifier_grid=7)
        path = os.path.join(self.get_temp_dir(), "model.keras")
        model.save(path)
        loaded = keras.models.load_model(path)
        x = np.random.default_rng(0).normal(size=(2, 64, 32, 3)).astype("float32")
        self.assertAllEqual(loaded(x), model(x))

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


def _after_the_last_pooling(model):
    pooling = _layers(model, keras.layers.MaxPooling2D)[-1]
    return keras.Model(pooling.output, model.output)


def _adaptive_average(x, grid):
    """Place i of n is the mean from floor(i h / n) to ceil((i + 1) h / n), on 2 axes.

    Args:
        x: float64 `[height, width, channels]`.
        grid: int, n of both axes.
    """
    for axis in (0, 1):
        size = x.shape[axis]
        begins = [i * size // grid for i in range(grid)]
        ends = [-(-(i + 1) * size // grid) for i in range(grid)]
        parts = [
            x.take(range(begin, end), axis).mean(axis)
            for begin, end in zip(begins, ends, strict=True)
        ]
        x = np.stack(parts, axis)
    return x


if __name__ == "__main__":
    tf.test.main()
