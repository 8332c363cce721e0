"""Tests of the numerics: exactness, clipping by hand, masks, noise."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops

# The exactness that tfbn promises, of float32 (2**-24 = 6e-8) whatever the offset of
# the data: relative to the largest element of the result.
EXACT = 2e-6
# For one or two float32 operations on numbers near 1.
ROUNDING = 5e-7

EPSILON = 1e-3
OFFSETS = (0.0, 1e2, 1e4, 1e6)
SHAPES = ((4, 3), (64, 3), (8, 6, 6, 3))
# Sums of 32k elements, which some kernels add up one after the other.
LARGE = (32, 32, 32, 2)
EXACT_LARGE = 1e-5


def value_and_gradient(mode, **options):
    """A function `(x, upstream) -> (y, dx)` of ops.batch_norm, no gamma and beta."""

    def call(x, upstream):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, _ = ops.batch_norm(
                x, None, None, axis=len(x.shape) - 1, epsilon=EPSILON, **options
            )
        return y, tape.gradient(y, x, upstream)

    return testing_utils.in_mode(call, mode)


class ExactnessTest(tf.test.TestCase, parameterized.TestCase):
    """float32 against float64 on the same (float32) data."""

    def assert_exact(self, actual, expected, tolerance=EXACT):
        actual = testing_utils.channels_last(actual)
        self.assertLess(testing_utils.relative_error(actual, expected), tolerance)

    @parameterized.product(shape=SHAPES, offset=OFFSETS, mode=testing_utils.MODES)
    def test_batch_norm(self, shape, offset, mode):
        rng = np.random.default_rng(0)
        x = testing_utils.random_batch(rng, shape, offset=offset)
        reference = testing_utils.Renorm(testing_utils.channels_last(x), EPSILON)
        call = value_and_gradient(mode)
        # With a mean too, as gradients of most losses have: more then cancels.
        for upstream_mean in (0.0, 3.0):
            upstream = (rng.normal(size=shape) + upstream_mean).astype("float32")
            y, dx = call(tf.constant(x), tf.constant(upstream))
            self.assert_exact(y, reference.output)
            upstream = testing_utils.channels_last(upstream)
            self.assert_exact(dx, reference.gradients(upstream)[0])

    @parameterized.product(offset=(0.0, 1e6), mode=("graph", "xla"))
    def test_large_batch(self, offset, mode):
        rng = np.random.default_rng(0)
        x = testing_utils.random_batch(rng, LARGE, offset=offset)
        upstream = (rng.normal(size=LARGE) + 3.0).astype("float32")
        reference = testing_utils.Renorm(testing_utils.channels_last(x), EPSILON)
        y, dx = value_and_gradient(mode)(tf.constant(x), tf.constant(upstream))
        self.assert_exact(y, reference.output, EXACT_LARGE)
        upstream = testing_utils.channels_last(upstream)
        self.assert_exact(dx, reference.gradients(upstream)[0], EXACT_LARGE)

    @parameterized.product(mode=testing_utils.MODES)
    def test_outlier_in_the_first_row(self, mode):
        # The fused kernel's shift is taken of the first rows.
        shape = (256, 3)
        rng = np.random.default_rng(0)
        x = testing_utils.random_batch(rng, shape)
        x[0] += 100.0 * np.std(x, axis=0)
        upstream = (rng.normal(size=shape) + 3.0).astype("float32")
        reference = testing_utils.Renorm(x, EPSILON)
        y, dx = value_and_gradient(mode)(tf.constant(x), tf.constant(upstream))
        self.assert_exact(y, reference.output, EXACT_LARGE)
        self.assert_exact(dx, reference.gradients(upstream)[0], EXACT_LARGE)

    @parameterized.product(offset=OFFSETS, mode=testing_utils.MODES)
    def test_masked_batch_norm(self, offset, mode):
        rng = np.random.default_rng(1)
        shape = (6, 7, 3)
        x = testing_utils.random_batch(rng, shape, offset=offset)
        upstream = rng.normal(size=shape).astype("float32")
        mask = rng.uniform(size=(6, 7, 1)) < 0.6
        reference = testing_utils.Renorm(
            testing_utils.channels_last(x), EPSILON, keep=mask.reshape(-1)
        )
        call = value_and_gradient(mode, mask=tf.constant(mask))
        y, dx = call(tf.constant(x), tf.constant(upstream))
        self.assert_exact(y, reference.output)
        upstream = testing_utils.channels_last(upstream)
        self.assert_exact(dx, reference.gradients(upstream)[0])

    @parameterized.product(offset=OFFSETS, mode=testing_utils.MODES)
    def test_renorm_correction(self, offset, mode):
        """The averages are float32 numbers near the population's, given to both."""
        rng = np.random.default_rng(2)
        shape = (16, 5, 5, 3)
        x = testing_utils.random_batch(rng, shape, offset=offset)
        mean = (offset + np.array([0.3, -0.2, 0.7])).astype("float32")
        stddev = np.array([1.2, 0.7, 5.0], "float32")

        def correction(statistics):
            return ops.renorm_correction(
                statistics, mean, stddev, rmax=3.0, dmax=0.5, stddev_floor=0.0
            )

        reference = testing_utils.Renorm(testing_utils.channels_last(x), EPSILON)
        reference.correct(mean.astype("float64"), stddev.astype("float64"), 3.0, 0.5)
        upstream = rng.normal(size=shape).astype("float32")
        call = value_and_gradient(mode, correction=correction)
        y, dx = call(tf.constant(x), tf.constant(upstream))
        self.assert_exact(y, reference.output)
        upstream = testing_utils.channels_last(upstream)
        self.assert_exact(dx, reference.gradients(upstream)[0])

    @parameterized.product(offset=OFFSETS, mode=testing_utils.MODES)
    def test_inference(self, offset, mode):
        rng = np.random.default_rng(3)
        x = testing_utils.random_batch(rng, (9, 3), offset=offset)
        mean = (offset + np.array([0.3, -0.2, 0.7])).astype("float32")
        scale = np.array([1.2, 0.7, 5.0], "float32")
        y = testing_utils.in_mode(
            lambda x: ops.normalize(x, mean, scale, None, None, axis=1), mode
        )(tf.constant(x))
        expected = (x.astype("float64") - mean) / scale
        self.assert_exact(y, expected)

    @parameterized.parameters(*OFFSETS)
    def test_statistics(self, offset):
        x = testing_utils.random_batch(np.random.default_rng(4), (50, 3), offset=offset)
        _, statistics = ops.batch_norm(x, None, None, axis=1, epsilon=EPSILON)
        reference = testing_utils.Renorm(testing_utils.channels_last(x), EPSILON)
        self.assert_exact(statistics.mean[tf.newaxis], reference.mean[np.newaxis])
        self.assert_exact(statistics.spread[tf.newaxis], reference.variance[np.newaxis])
        self.assert_exact(statistics.scale[tf.newaxis], reference.sigma[np.newaxis])
        mean = statistics.mean.numpy().astype("float64")
        mean += statistics.remainder.numpy()
        self.assertAllClose(mean, reference.mean, rtol=0.0, atol=EXACT)

    def test_float64_stays_float64(self):
        rng = np.random.default_rng(5)
        x = testing_utils.random_batch(rng, (20, 3), dtype="float64")
        y, _ = ops.batch_norm(tf.constant(x), None, None, axis=1, epsilon=EPSILON)
        self.assertAllClose(
            y, testing_utils.Renorm(x, EPSILON).output, rtol=1e-13, atol=1e-13
        )


class RenormCorrectionTest(tf.test.TestCase, parameterized.TestCase):
    """r and d by hand: sigma = 2, mu = 10, rmax = 2, dmax = 1.5."""

    def correction(self, *, scale=2.0, mean=10.0, rmax=2.0, dmax=1.5, floor=0.0):
        statistics = ops.Statistics(
            mean=tf.constant([mean]),
            remainder=tf.zeros([1]),
            spread=tf.constant([scale**2]),
            scale=tf.constant([scale]),
            valid=tf.constant(True),
        )
        r, d = ops.renorm_correction(
            statistics,
            tf.constant([10.0]),
            tf.constant([2.0]),
            rmax=rmax,
            dmax=dmax,
            stddev_floor=floor,
        )
        return r.numpy()[0], d.numpy()[0]

    @parameterized.parameters(
        (0.5, 0.5),  # 0.25, below 1 / rmax
        (1.0, 0.5),  # at it
        (1.5, 0.75),
        (2.0, 1.0),
        (3.0, 1.5),
        (4.0, 2.0),  # at rmax
        (7.0, 2.0),  # 3.5, above
    )
    def test_r(self, batch_stddev, expected):
        self.assertEqual(self.correction(scale=batch_stddev), (expected, 0.0))

    @parameterized.parameters(
        (4.0, -1.5),  # -3, below -dmax
        (7.0, -1.5),  # at it
        (9.0, -0.5),
        (10.0, 0.0),
        (12.0, 1.0),
        (13.0, 1.5),  # at dmax
        (19.0, 1.5),  # 4.5, above
    )
    def test_d(self, batch_mean, expected):
        self.assertEqual(self.correction(mean=batch_mean), (1.0, expected))

    def test_without_room_it_is_batch_norm(self):
        self.assertEqual(
            self.correction(scale=5.0, mean=50.0, rmax=1.0, dmax=0.0), (1.0, 0.0)
        )

    def test_without_bounds(self):
        infinity = float("inf")
        self.assertEqual(
            self.correction(scale=500.0, mean=-990.0, rmax=infinity, dmax=infinity),
            (250.0, -500.0),
        )

    def test_bounds_that_allow_nothing_count_as_none(self):
        self.assertEqual(
            self.correction(scale=5.0, mean=50.0, rmax=0.5, dmax=-3.0), (1.0, 0.0)
        )

    def test_the_floor_of_the_moving_stddev(self):
        self.assertEqual(
            self.correction(scale=6.0, mean=14.0, rmax=9.0, dmax=9.0, floor=4.0),
            (1.5, 1.0),
        )

    def test_r_and_d_are_constants_for_the_gradient(self):
        x = tf.constant(np.random.default_rng(0).normal(size=(7, 2)))
        with tf.GradientTape() as tape:
            tape.watch(x)
            _, statistics = ops.batch_norm(x, None, None, axis=1, epsilon=EPSILON)
            r, d = ops.renorm_correction(
                statistics, [0.0, 0.0], [1.0, 1.0], rmax=9.0, dmax=9.0, stddev_floor=0.0
            )
        self.assertIsNone(tape.gradient([r, d], x))


class MovingAverageTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((0.0, 5.0), (0.75, 2.75), (1.0, 2.0))
    def test_value(self, momentum, expected):
        value = ops.moving_average([2.0], [5.0], momentum, True)
        self.assertAllClose(value, [expected], rtol=ROUNDING)

    def test_invalid_leaves_it_bit_for_bit(self):
        average = np.array([0.1, 1e-30], "float32")
        value = [float("nan"), float("inf")]
        self.assertAllEqual(ops.moving_average(average, value, 0.9, False), average)

    def test_keeps_the_dtype_of_the_average(self):
        value = tf.constant([1.0], "float64")
        self.assertEqual(
            ops.moving_average(tf.constant([1.0]), value, 0.9, True).dtype, "float32"
        )

    def test_variance_and_stddev(self):
        self.assertAllClose(ops.stddev_of_variance([0.75], 0.25), [1.0], rtol=ROUNDING)
        self.assertAllClose(ops.variance_of_stddev(np.array([1.0]), 0.25), [0.75])
        self.assertAllEqual(ops.variance_of_stddev(np.array([0.1]), 0.25), [0.0])


class ValidTest(tf.test.TestCase, parameterized.TestCase):
    def valid(self, x, mask=None):
        x = tf.constant(x, "float32")
        mask = None if mask is None else tf.constant(mask)
        results = {
            bool(statistics.valid)
            for _, statistics in (
                ops.batch_norm(x, None, None, axis=1, epsilon=EPSILON, mask=mask),
                *(
                    ops.lp_batch_norm(
                        x, None, None, axis=1, epsilon=EPSILON, order=order, mask=mask
                    )
                    for order in (1, 2, "inf")
                ),
            )
        }
        self.assertLen(results, 1)
        return results.pop()

    @parameterized.parameters(float("nan"), float("inf"), float("-inf"))
    def test_a_non_finite_element(self, bad):
        self.assertFalse(self.valid([[1.0, bad], [2.0, 3.0]]))

    def test_a_finite_batch(self):
        self.assertTrue(self.valid([[1.0, 5.0], [2.0, 3.0]]))

    def test_no_element(self):
        self.assertFalse(self.valid(np.zeros((0, 2))))

    def test_nothing_left_by_the_mask(self):
        self.assertFalse(self.valid([[1.0, 5.0], [2.0, 3.0]], [[False], [False]]))

    def test_the_mask_hides_a_non_finite_element(self):
        self.assertTrue(
            self.valid([[1.0, float("nan")], [2.0, 3.0]], [[False], [True]])
        )

    def test_a_variance_that_overflows(self):
        _, statistics = ops.batch_norm(
            tf.constant([[-1e20], [1e20]]), None, None, axis=1, epsilon=EPSILON
        )
        self.assertFalse(statistics.valid)


class ChannelMaskTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ((5,), (5, 3), 1, (5, 1)),
        ((5,), (5, 4, 4, 3), 3, (5, 1, 1, 1)),
        ((5, 4), (5, 4, 6, 3), 3, (5, 4, 1, 1)),
        ((5, 4, 6), (5, 4, 6, 3), 3, (5, 4, 6, 1)),
        ((5, 4), (5, 3, 4), 1, (5, 1, 4)),
        ((5, 4), (5, 4, 3, 6), 2, (5, 4, 1, 1)),
        ((5, 4, 6), (5, 3, 4, 6), 1, (5, 1, 4, 6)),
    )
    def test_shape(self, mask, x, axis, expected):
        result = ops.channel_mask(np.ones(mask, "int32"), np.zeros(x), axis)
        self.assertEqual(result.dtype, "bool")
        self.assertEqual(result.shape, expected)


class UpcastTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
    )
    def test_dtype(self, dtype, expected):
        self.assertEqual(ops.upcast(tf.zeros([2], dtype)).dtype, expected)


# Of the noise: numbers near 1 that went through some six float32 operations, with
# fused multiply-adds or without.
SAME_NOISE = 1e-5
NOISE = {
    "mean_range": 0.5,
    "stddev_max": 1.25,
    "mean_jitter": 0.1,
    "stddev_jitter": 0.1,
}


def perturb(x, seed=(3, 4), axis=1, mode="eager", **changes):
    def call(x):
        return ops.perturb(x, tf.constant(seed), axis=axis, **{**NOISE, **changes})

    return testing_utils.in_mode(call, mode)(tf.constant(x)).numpy()


class PerturbTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(shape=((6, 5), (4, 5, 3, 3)), seed=((0, 0), (3, 4)))
    def test_same_noise_in_every_mode(self, shape, seed):
        x = testing_utils.random_batch(np.random.default_rng(0), shape, axis=1)
        eager, graph, xla = (perturb(x, seed, mode=m) for m in testing_utils.MODES)
        self.assertLess(testing_utils.relative_error(graph, eager), SAME_NOISE)
        self.assertLess(testing_utils.relative_error(xla, eager), SAME_NOISE)

    def test_another_seed_gives_other_noise(self):
        x = np.ones((3, 2), "float32")
        results = [perturb(x, seed) for seed in ((0, 0), (0, 1), (1, 0), (3, 4))]
        for i, one in enumerate(results):
            for other in results[:i]:
                self.assertNotAllClose(one, other)

    def test_without_jitter_a_channel_is_scaled_and_shifted(self):
        x = testing_utils.random_batch(np.random.default_rng(0), (6, 5, 4), axis=1)
        y = perturb(x, mean_jitter=0.0, stddev_jitter=0.0)
        for channel in range(5):
            (scale, shift), error, *_ = np.polyfit(
                x[:, channel].ravel(), y[:, channel].ravel(), 1, full=True
            )
            self.assertLess(np.max(error), 1e-9)
            self.assertBetween(scale, 1.0, 1.25)
            self.assertBetween(shift, -0.5, 0.5)

    def test_nothing_to_add(self):
        x = testing_utils.random_batch(np.random.default_rng(0), (6, 5))
        y = perturb(
            x, mean_range=0.0, stddev_max=1.0, mean_jitter=0.0, stddev_jitter=0.0
        )
        self.assertAllClose(y, x, rtol=ROUNDING, atol=0.0)

    def test_gradient_is_the_scale(self):
        x = tf.ones((50, 2))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = ops.perturb(x, tf.constant([1, 2]), axis=1, **NOISE)
        scale = tape.gradient(y, x)
        shift = ops.perturb(0.0 * x, tf.constant([1, 2]), axis=1, **NOISE)
        self.assertAllClose(y, scale * x + shift, rtol=SAME_NOISE)

    @parameterized.parameters("float16", "bfloat16", "float64")
    def test_keeps_the_dtype(self, dtype):
        self.assertEqual(perturb(tf.ones([4, 3], dtype)).dtype, dtype)


if __name__ == "__main__":
    tf.test.main()
