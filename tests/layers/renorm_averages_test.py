"""Tests of Batch Renormalization's averages, by hand."""

import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import ops
from tfbn.layers import renorm_averages

STATISTICS = ops.Statistics(
    mean=tf.constant([5.0]),
    remainder=tf.constant([0.0]),
    spread=tf.constant([15.0]),
    scale=tf.constant([4.0]),
    valid=tf.constant(True),
)


def averages(step=0):
    return {
        "moving_mean": tf.constant([1.0]),
        "moving_stddev": tf.constant([2.0]),
        "renorm_mean": tf.constant([3.0]),
        "renorm_stddev": tf.constant([8.0]),
        "moving_variance": tf.constant([7.0]),
        "step": tf.constant(step, tf.int64),
    }


class UpdateTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        # The same momentum for all, 3 and 3; warmed up to 1 / 10 and 2 / 11.
        (0.5, None, False, 0, {"moving_mean": 3.0, "moving_stddev": 3.0}),
        (0.5, None, True, 0, {"moving_mean": 4.6, "moving_stddev": 3.8}),
        (0.0, 0.75, False, 0, {"renorm_mean": 3.5, "renorm_stddev": 7.0}),
        (0.0, 0.75, True, 1, {"renorm_mean": 51.0 / 11.0, "renorm_stddev": 52 / 11}),
    )
    def test_momenta(self, momentum, second, warmup, step, expected):
        found = averages(step)
        renorm_averages.Update(momentum, second, warmup, 1.0)(found, STATISTICS)
        for name, value in expected.items():
            self.assertAllClose(found[name], [value], rtol=1e-6)

    def test_the_variance_is_that_of_the_new_deviation(self):
        found = averages()
        renorm_averages.Update(0.5, None, False, 1.0)(found, STATISTICS)
        self.assertAllEqual(found["moving_variance"], [8.0])  # 3^2 - epsilon

    def test_the_step_counts_also_where_averages_stay(self):
        found = averages(step=6)
        invalid = STATISTICS._replace(valid=tf.constant(False))
        renorm_averages.Update(0.5, None, False, 1.0)(found, invalid)
        self.assertAllEqual(found.pop("step"), 7)
        for name, value in found.items():
            self.assertAllEqual(value, averages()[name])


class CorrectionTest(tf.test.TestCase):
    def test_by_the_named_averages_and_the_bounds_at_the_step(self):
        rmax = tfbn.schedules.LinearRamp(1.0, 1.25, begin_step=0, end_step=10)
        for step, expected in ((0, 1.0), (10, 1.25)):
            correction = renorm_averages.Correction(
                "moving_mean", "moving_stddev", rmax, 9.0, 0.0, False
            )
            r, d = correction(STATISTICS, averages(step))  # unbounded 2 and 2
            self.assertAllEqual((r, d), [[expected], [2.0]])
        correction = renorm_averages.Correction(
            "renorm_mean", "renorm_stddev", 9.0, 9.0, 0.0, False
        )
        self.assertAllEqual(correction(STATISTICS, averages()), [[0.5], [0.25]])


if __name__ == "__main__":
    tf.test.main()
