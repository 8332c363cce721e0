"""Tests of tfbn.diagnostics.activations, against float64 NumPy."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import models
from tfbn.diagnostics.activations import ActivationMeter
from tfbn.diagnostics.activations import activation_moments
from tfbn.diagnostics.loss_function import snapshot

# float32 outputs and sums.
RTOL = 1e-4
ATOL = 1e-5


class ActivationsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(False, True)
    def test_equals_numpy(self, jit_compile):
        model = models.mlp(hidden_units=(6, 5), input_shape=(8,))
        for variable in model.trainable_variables:
            variable.assign(np.random.default_rng(1).normal(size=variable.shape))
        x = _inputs()
        meter = ActivationMeter(model, unit=2, num_bins=7, jit_compile=jit_compile)
        results = meter(snapshot(model), tf.constant(x))
        self.assertEqual([r.name for r in results], ["dense1", "dense2", "logits"])
        a, b, c, d, e, f = (w.astype("float64") for w in model.get_weights())
        first = x @ a + b
        second = _sigmoid(first) @ c + d
        outputs = [first, second, _sigmoid(second) @ e + f]
        for result, values in zip(results, outputs, strict=True):
            self._assert_is_of(result, values, unit=2, num_bins=7)

    def _assert_is_of(self, result, values, unit, num_bins):
        """Whether `result` is that of float64 `values`, units last."""
        values = values.reshape(-1, values.shape[-1])
        tolerance = {"rtol": RTOL, "atol": ATOL}
        self.assertAllClose(result.mean, values.mean(0), **tolerance)
        self.assertAllClose(result.variance, values.var(0), **tolerance)
        self.assertEqual(result.unit, unit)
        percentiles = np.percentile(values[:, unit], [15, 50, 85])
        self.assertAllClose(result.percentiles, percentiles, **tolerance)
        counts, edges = np.histogram(values, num_bins)
        self.assertAllClose(result.edges, edges, **tolerance)
        self.assertAllEqual(result.counts, counts)

    def test_convolution_counts_height_and_width(self):
        model, x = _convnet()
        results = activation_moments(model, x)
        self.assertEqual([r.name for r in results], ["conv", "head"])
        conv, norm = model.layers[0], model.layers[1]
        raw = keras.ops.convert_to_numpy(conv(x)).astype("float64").reshape(-1, 4)
        gamma, beta = (w.astype("float64") for w in norm.get_weights()[:2])
        expected = gamma * (raw - raw.mean(0)) / np.sqrt(raw.var(0) + 1e-3) + beta
        self._assert_is_of(results[0], expected, unit=0, num_bins=50)

    def test_inference_mode_takes_the_averages(self):
        model, x = _convnet()
        (result,) = ActivationMeter(model, layers=["norm"], training=False)(
            snapshot(model), tf.constant(x)
        )
        expected = keras.Sequential(model.layers[:2])(x, training=False)
        mean = np.mean(expected.numpy().astype("float64"), axis=(0, 1, 2))
        self.assertAllClose(result.mean, mean, rtol=RTOL, atol=ATOL)

    def test_change_and_drift(self):
        model = models.mlp(hidden_units=(6,), input_shape=(8,))
        meter, x = ActivationMeter(model), tf.constant(_inputs())
        state = snapshot(model)
        now = meter(state, x)
        kernel, bias, *head = state.parameters
        # Bias shifts the mean, the kernel's scale multiplies the variance.
        shift = tf.constant([1.0, -2.0, 3.0, -4.0, 5.0, -6.0])
        after = meter(state._replace(parameters=[kernel, bias + shift, *head]), x)
        start = meter(state._replace(parameters=[2.0 * kernel, bias, *head]), x)
        layer, _ = now.record(after, start)["layers"]
        self.assertAllClose(layer["mean_change"], 3.5, rtol=RTOL)
        self.assertAllClose(layer["variance_change"], 0.0, atol=ATOL)
        mean, variance = np.abs(now[0].mean).mean(), now[0].variance.mean()
        self.assertAllClose(layer["mean_drift"], mean, rtol=RTOL)
        self.assertAllClose(layer["variance_drift"], 3.0 * variance, rtol=RTOL)
        self.assertAllClose(layer["mean"], now[0].mean.mean())
        self.assertAllClose(layer["variance"], variance)

    def test_record(self):
        model = models.mlp(hidden_units=(6,), input_shape=(8,))
        now = ActivationMeter(model, unit=3, num_bins=4)(
            snapshot(model), tf.constant(_inputs())
        )
        (layer, _) = now.record()["layers"]
        self.assertEqual(
            layer,
            {
                "name": "dense1",
                "mean": float(now[0].mean.mean()),
                "variance": float(now[0].variance.mean()),
                "unit": 3,
                "unit_mean": now[0].mean[3],
                "unit_variance": now[0].variance[3],
                "percentiles": now[0].percentiles.tolist(),
                "histogram": {
                    "edges": now[0].edges.tolist(),
                    "counts": now[0].counts.tolist(),
                },
            },
        )
        self.assertEqual(now[0].counts.sum(), 16 * 6)
        self.assertIsInstance(layer["histogram"]["counts"][0], int)
        other = activation_moments(model, _inputs(), layers=["logits"])
        with self.assertRaisesRegex(ValueError, r"of \[6, 10\] and \[10\] units"):
            now.record(after=other)

    def test_buffers_are_those_of_the_state(self):
        model = models.mlp(
            hidden_units=(6,),
            norm=lambda: tfbn.NoisyBatchNorm(seed=3),
            input_shape=(8,),
        )
        meter, x = ActivationMeter(model), tf.constant(_inputs())
        state = snapshot(model)
        first, again = meter(state, x), meter(state, x)
        self.assertAllEqual(first[0].mean, again[0].mean)
        model(x, training=True)  # draws, and moves the seed on
        self.assertNotAllClose(first[0].mean, meter(snapshot(model), x)[0].mean)

    @parameterized.parameters("mixed_bfloat16", "mixed_float16")
    def test_half_precision_activations_have_float32_moments(self, policy):
        dense = keras.layers.Dense(8, dtype=policy, name="dense")
        model = keras.Sequential([keras.Input((8,)), dense])
        x = np.tile(_inputs(), (256, 1)) + 3.0
        (result,) = activation_moments(model, x)
        outputs = tf.cast(dense(x), tf.float64).numpy()
        self.assertAllClose(result.mean, outputs.mean(0), rtol=RTOL, atol=ATOL)
        self.assertAllClose(result.variance, outputs.var(0), rtol=RTOL)

    def test_float64(self):
        dense = keras.layers.Dense(4, dtype="float64", name="dense")
        model = keras.Sequential([keras.Input((8,), dtype="float64"), dense])
        x = _inputs().astype("float64") + 1e6
        (result,) = activation_moments(model, x)
        values = x @ dense.get_weights()[0]
        self.assertAllClose(result.variance, values.var(0), rtol=1e-9)

    def test_large_mean_keeps_the_variance(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.set_weights([np.ones((1, 1)), np.full(1, 4096.0)])
        x = np.array([[-1.0], [1.0]], "float32")
        (result,) = activation_moments(model, x)
        self.assertEqual(result.variance, [1.0])

    def test_not_finite_activations_are_reported(self):
        nan, inf = np.nan, np.inf
        x = np.array([[nan, 0.0], [1.0, 3.0], [2.0, 4.0]], "float32")
        (result,) = activation_moments(_scaling(), x, num_bins=2)
        self.assertAllEqual(np.isnan(result.mean), [True, False])
        self.assertAllEqual(np.isnan(result.percentiles), [True] * 3)
        self.assertAllEqual(result.edges, [0.0, 2.0, 4.0])
        self.assertAllEqual(result.counts, [2, 3])
        x = np.array([[0.0, 1.0], [inf, -inf]], "float32")
        (result,) = activation_moments(_scaling(), x, num_bins=2)
        self.assertAllEqual(result.edges, [0.0, 0.5, 1.0])
        self.assertAllEqual(result.counts, [1, 1])
        (result,) = activation_moments(_scaling(), np.full_like(x, nan), num_bins=2)
        self.assertTrue(np.isnan(result.edges).all())
        self.assertAllEqual(result.counts, [0, 0])

    @parameterized.parameters(0.0, 1e9, 3e38)
    def test_histogram_of_equal_and_of_huge_values(self, value):
        x = np.full((3, 2), value, "float32")
        (result,) = activation_moments(_scaling(), x, num_bins=5)
        self.assertAllEqual(result.counts, [0, 0, 6, 0, 0])
        if value:
            x[0] *= -1.0
            (result,) = activation_moments(_scaling(), x, num_bins=5)
            self.assertAllEqual(result.counts, [2, 0, 0, 0, 4])


class _Scaling(keras.layers.Layer):
    def build(self, input_shape):
        self.scale = self.add_weight(name="scale", shape=(), initializer="ones")

    def call(self, inputs):
        return self.scale * inputs


def _inputs():
    return np.random.default_rng(0).normal(size=(16, 8)).astype("float32")


def _sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def _scaling():
    """A model that multiplies two units by 1, without mixing them."""
    return keras.Sequential([keras.Input((2,)), _Scaling(name="scaling")])


def _convnet():
    """Conv, BatchNorm, ReLU, head with random weights; and a batch."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 2)),
            keras.layers.Conv2D(4, 3, name="conv", use_bias=False),
            tfbn.BatchNorm(name="norm"),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(2, name="head"),
        ]
    )
    rng = np.random.default_rng(1)
    model.get_layer("norm").set_weights(rng.uniform(0.5, 2.0, size=(4, 4)))
    return model, rng.normal(size=(8, 6, 6, 2)).astype("float32")


if __name__ == "__main__":
    tf.test.main()
