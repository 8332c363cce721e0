"""Tests of moving averages and of Batch Renormalization's r and d, by hand."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn import ops

# For one or two float32 operations on numbers near 1.
ROUNDING = 5e-7


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
        x = tf.constant([1.5, 2.0])
        with tf.GradientTape() as tape:
            tape.watch(x)
            statistics = ops.Statistics(x, x, x, x, True)
            r, d = ops.renorm_correction(
                statistics, [0.0, 0.0], [1.0, 1.0], rmax=9.0, dmax=9.0, stddev_floor=0.0
            )
        self.assertAllEqual(r, x)
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


if __name__ == "__main__":
    tf.test.main()
