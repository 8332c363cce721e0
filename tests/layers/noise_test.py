"""Tests of the noise layers: the distribution of the noise, and where it is not."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.layers.every_layer import SILENT

# Numbers near 1 after some ten float32 operations, fused or not.
ROUNDING = 1e-5
# Gradients of some of these, of numbers that cancel.
SAME = 5e-5

NOISE = {
    "mean_range": 0.5,
    "stddev_max": 1.25,
    "mean_jitter": 0.1,
    "stddev_jitter": 0.1,
}
LAYERS = {
    "NoisyBatchNorm": tfbn.NoisyBatchNorm,
    "ActivationNoise": tfbn.ActivationNoise,
}


def noise_free(layer, x):
    """The layer's training output before the noise, with the same gamma and beta."""
    if isinstance(layer, tfbn.ActivationNoise):
        return np.asarray(x)
    plain = tfbn.BatchNorm(axis=layer.axis)
    plain.build(x.shape)
    plain.set_weights(layer.get_weights()[:4])
    return plain(x, training=True).numpy()


def make(name, shape, axis=-1, **options):
    layer = LAYERS[name](axis=axis, **{"seed": 0, **options})
    layer.build(shape)
    for weight in layer.trainable_weights:
        weight.assign(np.random.default_rng(9).uniform(0.5, 2.0, size=weight.shape))
    return layer


def lines(x, y):
    """Scale, shift and residual of the best line y(x) of each channel (the last)."""
    fits = []
    for channel in range(x.shape[-1]):
        a, b = x[..., channel].ravel(), y[..., channel].ravel()
        scale, shift = np.polyfit(a, b, 1)
        fits.append((scale, shift, np.max(np.abs(scale * a + shift - b))))
    return np.array(fits).T


class DistributionTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters((name, name) for name in LAYERS)
    def test_each_channel_has_one_scale_and_one_shift(self, name):
        """Without jitter: shared over the batch and the image, within the ranges."""
        shape = (4, 3, 3, 400)
        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        layer = make(name, shape, mean_jitter=0.0, stddev_jitter=0.0)
        clean = noise_free(layer, x)
        scale, shift, residual = lines(clean, layer(x, training=True).numpy())
        self.assertLess(np.max(residual), ROUNDING)
        self.assert_uniform(scale, 1.0, 1.25)
        self.assert_uniform(shift, -0.5, 0.5)
        self.assertLess(np.abs(np.corrcoef(scale, shift)[0, 1]), 4 / np.sqrt(400))

    def assert_uniform(self, samples, low, high):
        """By the largest distance of distribution functions (Kolmogorov-Smirnov)."""
        unit = (np.sort(samples) - low) / (high - low)
        self.assertBetween(unit[0], -1e-3, 1.0)
        self.assertBetween(unit[-1], 0.0, 1.0 + 1e-3)
        levels = (np.arange(len(unit)) + 0.5) / len(unit)
        # Exceeded by a sample of the right distribution once in 3,000 times.
        self.assertLess(np.max(np.abs(unit - levels)), 2.1 / np.sqrt(len(unit)))

    def assert_normal(self, samples, stddev):
        n = len(samples)
        z = np.asarray(samples, np.float64) / stddev
        self.assertLess(abs(np.mean(z)), 4 / np.sqrt(n))
        self.assertLess(abs(np.mean(z**2) - 1.0), 4 * np.sqrt(2 / n))
        self.assertLess(abs(np.mean(z**3)), 4 * np.sqrt(15 / n))
        self.assertLess(abs(np.mean(z**4) - 3.0), 4 * np.sqrt(96 / n))

    @parameterized.named_parameters((name, name) for name in LAYERS)
    def test_shifts_of_the_elements(self, name):
        """mean_j + U(-mean_jitter, mean_jitter), independent of each other."""
        shape = (40, 5, 5, 4)
        x = np.random.default_rng(0).normal(size=shape).astype("float32")
        layer = make(name, shape, stddev_max=1.0, stddev_jitter=0.0)
        shift = layer(x, training=True).numpy() - noise_free(layer, x)
        middle = (shift.max(axis=(0, 1, 2)) + shift.min(axis=(0, 1, 2))) / 2.0
        self.assertBetween(np.min(middle), -0.5, 0.5)
        self.assertBetween(np.max(middle), -0.5, 0.5)
        jitter = (shift - middle).reshape(-1)
        self.assert_uniform(jitter, -0.1, 0.1)
        neighbours = np.corrcoef(jitter[:-1], jitter[1:])[0, 1]
        self.assertLess(abs(neighbours), 4 / np.sqrt(len(jitter)))

    @parameterized.named_parameters((name, name) for name in LAYERS)
    def test_scales_of_the_elements(self, name):
        """N(stddev_j, stddev_jitter^2): a standard deviation, not a variance."""
        shape = (40, 5, 5, 4)
        rng = np.random.default_rng(0)
        # Away from 0, where the scale could not be seen.
        x = (
            rng.choice([-1.0, 1.0], size=shape) * rng.uniform(1, 2, size=shape)
        ).astype("float32")
        layer = make(name, shape, mean_range=0.0, mean_jitter=0.0)
        for weight in layer.trainable_weights:
            weight.assign(np.full(weight.shape, float(weight.name == "gamma")))
        clean = noise_free(layer, x)
        scale = layer(x, training=True).numpy() / clean
        middle = np.mean(scale, axis=(0, 1, 2))
        self.assertBetween(np.min(middle), 0.98, 1.27)
        self.assertBetween(np.max(middle), 0.98, 1.27)
        self.assert_normal((scale - middle).reshape(-1), 0.1)

    @parameterized.named_parameters((name, name) for name in LAYERS)
    def test_shift_and_scale_jitters_are_independent(self, name):
        shape = (4000, 2)
        x = np.random.default_rng(0).choice([-2.0, 2.0], size=shape).astype("float32")
        layer = make(name, shape, mean_range=0.0, stddev_max=1.0)
        clean = noise_free(layer, x)
        noise = layer(x, training=True).numpy() - clean
        variance = 0.1**2 * clean**2 + 0.1**2 / 3.0
        ratio = np.mean(noise**2 / variance)
        self.assertAllClose(ratio, 1.0, atol=4 * np.sqrt(2 / x.size))


class CallTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("ActivationNoise", (6, 4), -1), ("NoisyBatchNorm", (3, 4, 2, 2), 1)
    )
    def test_one_seed_is_one_noise_in_every_mode(self, name, shape, axis):
        """And another one in every call, whose gradients are those of that."""
        rng = np.random.default_rng(0)
        x = tf.constant(testing_utils.random_batch(rng, shape, axis))
        upstream = tf.constant(rng.normal(size=shape), "float32")
        results = []
        for mode in testing_utils.MODES:
            layer = make(name, shape, axis, seed=5)
            call = testing_utils.trainer(layer, mode=mode)
            results.append([call(x, upstream) for _ in range(3)])
        (one, _), (two, _), _ = results[0]
        self.assertGreater(np.max(np.abs(one - two)), 0.1)
        expected = tf.nest.flatten(results[0])
        for other in results[1:]:
            for a, b in zip(tf.nest.flatten(other), expected, strict=True):
                self.assertLess(testing_utils.relative_error(a, b), SAME)

    @parameterized.named_parameters((name, name) for name in LAYERS)
    def test_without_a_seed_layers_differ(self, name):
        x = testing_utils.random_batch(np.random.default_rng(0), (6, 4))
        one, other = (
            make(name, x.shape, seed=None)(x, training=True) for _ in range(2)
        )
        self.assertNotAllClose(one, other)

    def test_no_noise_is_batch_norm(self):
        rng = np.random.default_rng(0)
        x = testing_utils.random_batch(rng, (6, 4))
        upstream = rng.normal(size=x.shape)
        results = (
            tf.nest.flatten(testing_utils.train_call(layer, x, upstream))
            for layer in (tfbn.NoisyBatchNorm(**SILENT), tfbn.BatchNorm())
        )
        for a, b in zip(*results, strict=True):
            self.assertLess(testing_utils.relative_error(a, b), 1e-6)


if __name__ == "__main__":
    tf.test.main()
