"""Property tests of NoisyBatchNorm and ActivationNoise."""

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

import tfbn
from tests import strategies
from tests import testing_utils
from tests.layers import exact_training
from tests.layers import properties

# Of the sizes of scale * x and shift: float32's rounding of each, and of their sum.
ROUNDING = 4 * 2.0**-24


def noises():
    sizes = st.floats(0.0, 4.0)
    return st.fixed_dictionaries(
        {
            "mean_range": sizes,
            "stddev_max": st.floats(1.0, 4.0),
            "mean_jitter": sizes,
            "stddev_jitter": sizes,
            "seed": st.integers(0, 2**31 - 1),
        }
    )


def plain_batches():
    return strategies.batches(dtypes=("float32",), masks=False, virtual=False)


class ActivationNoiseTest(tf.test.TestCase):
    def noise(self, batch, x, **options):
        """Of the first training call of a layer: the shift and the scale."""
        layer = tfbn.ActivationNoise(axis=batch.axis, **options)
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return y, tape.gradient(y, x)

    @hypothesis.given(plain_batches(), noises())
    def test_is_within_its_bounds(self, batch, options):
        """Each channel has a mean and a deviation, from which elements differ."""
        shift, _ = self.noise(batch, tf.zeros(batch.shape), **options)
        mean_range, jitter = options["mean_range"], options["mean_jitter"]
        slack = ROUNDING * (mean_range + jitter)
        shift = batch.rows(shift).astype("float64")
        self.assertLessEqual(np.max(np.abs(shift)), mean_range + jitter + slack)
        spread = np.max(shift, axis=0) - np.min(shift, axis=0)
        self.assertLessEqual(np.max(spread), 2.0 * jitter + slack)
        options["stddev_jitter"] = 0.0
        _, scale = self.noise(batch, tf.zeros(batch.shape), **options)
        scale = batch.rows(scale).astype("float64")
        self.assertAllEqual(scale, np.broadcast_to(scale[0], scale.shape))
        largest = options["stddev_max"] * (1.0 + ROUNDING)
        self.assertAllInRange(scale[0], 1.0, largest)

    @hypothesis.given(plain_batches(), noises())
    def test_is_linear_in_the_input(self, batch, options):
        x = tf.constant(batch.x, tf.float32)
        y, scale = self.noise(batch, x, **options)
        shift, at_zero = self.noise(batch, tf.zeros(batch.shape), **options)
        self.assertAllEqual(scale, at_zero)
        expected = np.multiply(scale, batch.x, dtype="float64") + shift
        size = np.abs(np.multiply(scale, batch.x, dtype="float64")) + np.abs(shift)
        self.assertAllInRange(np.abs(y - expected) - ROUNDING * size, -np.inf, 1e-38)

    @hypothesis.given(plain_batches(), noises())
    def test_a_seed_gives_the_same_noise_and_a_call_another(self, batch, options):
        one, two = (tfbn.ActivationNoise(batch.axis, **options) for _ in range(2))
        x = tf.constant(batch.x, tf.float32)
        first = one(x, training=True)
        self.assertAllEqual(first, two(x, training=True))
        again = one(x, training=True)
        self.assertAllEqual(again, two(x, training=True))
        silent = options["mean_range"] + options["mean_jitter"] < 1e-3
        if not silent and np.max(np.abs(batch.x)) <= 1.0:
            self.assertNotAllEqual(first, again)

    @hypothesis.given(strategies.batches(masks=False), noises())
    def test_inference_is_silent(self, batch, options):
        layer = tfbn.ActivationNoise(axis=batch.axis, dtype=batch.dtype, **options)
        x = tf.cast(batch.x, batch.dtype)
        for _ in range(2):
            self.assertAllEqual(layer(x), x)


class NoisyBatchNormTest(tf.test.TestCase):
    @hypothesis.given(strategies.batches(), properties.options(), noises())
    def test_is_noise_on_batch_norm(self, batch, plain, options):
        """Bit for bit, the moving averages too."""
        clean = properties.make(tfbn.BatchNorm, batch, **plain)
        noisy = properties.make(tfbn.NoisyBatchNorm, batch, **plain, **options)
        noise = tfbn.ActivationNoise(batch.axis, dtype=batch.dtype, **options)
        for weight, other in zip(noisy.weights, clean.weights, strict=False):
            weight.assign(other)
        y, _ = exact_training.train(noisy, batch)
        normalized, _ = exact_training.train(clean, batch)
        properties.assert_same(y, noise(normalized, training=True))
        x = tf.cast(batch.x, batch.dtype)
        properties.assert_same(noisy(x), clean(x))
        kept = testing_utils.state(noisy)
        for name, value in testing_utils.state(clean).items():
            self.assertAllEqual(kept[name], value)


if __name__ == "__main__":
    tf.test.main()
