"""Tests of tfbn.diagnostics.layer_outputs, by what the activation meter sees."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import models
from tfbn.diagnostics.activations import ActivationMeter
from tfbn.diagnostics.activations import activation_moments

# float32 outputs and sums.
RTOL = 1e-4
ATOL = 1e-5


class _ChannelsFirst(keras.layers.Layer):
    """A convolution of width 1; TensorFlow's need oneDNN for this format on a CPU."""

    data_format = "channels_first"

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[1], 2), name="kernel")

    def call(self, inputs):
        return keras.ops.einsum("ncl,cd->ndl", inputs, self.kernel)


class LayerOutputsTest(tf.test.TestCase, parameterized.TestCase):
    def test_channels_first(self):
        inputs = keras.Input((3, 8))
        x = tfbn.BatchNorm(axis=1, name="norm")(inputs)
        x = _ChannelsFirst(name="conv")(x)
        model = keras.Model(inputs, x)
        gamma, beta = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
        model.get_layer("norm").set_weights([gamma, beta, *np.ones((2, 3))])
        x = np.random.default_rng(0).normal(size=(16, 3, 8)).astype("float32")
        norm, conv = activation_moments(model, x)
        self.assertAllClose(norm.mean, beta, rtol=RTOL)
        self.assertAllClose(norm.variance, gamma**2, rtol=1e-2)  # epsilon
        expected = model(x, training=True).numpy().mean((0, 2))
        self.assertAllClose(conv.mean, expected, rtol=RTOL, atol=ATOL)

    @parameterized.parameters("float32", "mixed_float16")
    def test_noise_counts_where_it_feeds_the_nonlinearity(self, policy):
        keras.config.set_dtype_policy(policy)
        self.addCleanup(keras.config.set_dtype_policy, "float32")
        inputs = keras.Input((8,))
        x = keras.layers.Dense(4, name="dense1")(inputs)
        x = keras.layers.BatchNormalization(center=False, scale=False)(x)
        x = keras.layers.ReLU()(tfbn.ActivationNoise(seed=1, name="noise")(x))
        x = keras.layers.Dense(3, name="dense2")(x)
        x = tfbn.ActivationNoise(seed=2)(keras.layers.ReLU()(x))
        model = keras.Model(inputs, x)
        found, raw = (
            activation_moments(model, _inputs(), layers=layers)
            for layers in (None, ["noise", "dense2"])
        )
        self.assertEqual([f.name for f in found], ["dense1", "dense2"])
        for one, other in zip(found, raw, strict=True):
            self.assertAllEqual(one.mean, other.mean)
            self.assertAllEqual(one.variance, other.variance)
        self.assertGreater(np.abs(found[0].mean).min(), 0.01)

    def test_normalization_without_parameters_counts(self):
        model = models.mlp(
            hidden_units=(6,),
            norm=lambda: keras.layers.BatchNormalization(center=False, scale=False),
            input_shape=(8,),
        )
        first, _ = activation_moments(model, _inputs())
        self.assertEqual(first.name, "dense1")
        self.assertAllClose(first.mean, np.zeros(6), atol=1e-6)

    def test_normalization_with_parameters_of_another_group_does_not_count(self):
        # The norm is in the group of b, which comes before it in the model's order.
        inputs = keras.Input((8,))
        a, b = (keras.layers.Dense(4, name=name)(inputs) for name in "ab")
        norm = keras.layers.BatchNormalization(name="norm")
        model = keras.Model(inputs, norm(a) + keras.layers.ReLU()(b))
        results = activation_moments(model, _inputs())
        raw = activation_moments(model, _inputs(), layers=["a", "norm"])
        self.assertEqual([r.name for r in results], ["a", "b"])
        for one, other in zip(results, raw, strict=True):
            self.assertAllEqual(one.variance, other.variance)

    def test_first_call_counts_and_subclassed_models(self):
        model = _Subclassed()
        x = {"first": tf.fill((4, 2), 2.0), "second": tf.ones((4, 2))}
        model(x)
        (result,) = activation_moments(model, x)
        kernel, _ = model.get_weights()
        self.assertAllClose(result.mean, 2.0 * kernel.sum(0), rtol=RTOL)

    def test_labels_paths_and_depth(self):
        inner = keras.Sequential(
            [keras.Input((8,)), keras.layers.Dense(4, name="dense")], name="inner"
        )
        model = keras.Sequential(
            [keras.Input((8,)), inner, keras.layers.Dense(2, name="dense")]
        )
        x = _inputs()
        (outer,) = activation_moments(model, x, layers=["inner"])
        results = activation_moments(model, x, layers={"a": "inner/dense"})
        self.assertEqual([r.name for r in results], ["a"])
        self.assertAllEqual(results[0].mean, outer.mean)
        with self.assertRaisesRegex(ValueError, "'dense', which may be any of"):
            activation_moments(model, x, layers=["dense"])

    def test_recurrent_layer_counts_as_a_whole(self):
        inputs = keras.Input((5, 3))
        x = keras.layers.SimpleRNN(4, name="recurrent")(inputs)
        model = keras.Model(inputs, keras.layers.Dense(2, name="head")(x))
        x = np.random.default_rng(0).normal(size=(6, 5, 3)).astype("float32")
        results = activation_moments(model, x)
        self.assertLen(results, 2)
        expected = model.layers[1](x).numpy().mean(0)
        self.assertAllClose(results[0].mean, expected, rtol=RTOL, atol=ATOL)

    def test_layer_in_a_loop(self):
        model, x = _Looping(), np.ones((6, 5, 3), "float32")
        model(x)
        with self.assertRaisesRegex(ValueError, "outside of any loop.*'dense'"):
            activation_moments(model, x, layers=["dense"])

    def test_errors_of_layers(self):
        model = _Odd()
        x = np.ones((3, 2), "float32")
        model(x)
        self.assertEqual(activation_moments(model, x), [])  # no layer to choose
        for name, message in (("unused", "'unused'"), ("pair", "'pair' with")):
            with self.assertRaisesRegex(ValueError, message):
                activation_moments(model, x, layers=[name])
        with self.assertRaisesRegex(ValueError, "Received: odd2, which is not"):
            ActivationMeter(_Odd(name="odd2"))


class _Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3, name="dense")

    def call(self, inputs, training=None):
        return self.dense(inputs["first"]) + self.dense(inputs["second"])


class _Looping(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(2, name="dense")

    def call(self, inputs, training=None):
        return tf.map_fn(
            self.dense, inputs, fn_output_signature=tf.TensorSpec([5, 2], tf.float32)
        )


class _Pair(keras.layers.Layer):
    def call(self, inputs):
        return inputs, inputs


class _Odd(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.unused = keras.layers.ReLU(name="unused")
        self.pair = _Pair(name="pair")
        self.scale = self.add_weight(name="scale", shape=())

    def call(self, inputs, training=None):
        return self.scale * self.pair(inputs)[0]


def _inputs():
    return np.random.default_rng(0).normal(size=(16, 8)).astype("float32")


if __name__ == "__main__":
    tf.test.main()
