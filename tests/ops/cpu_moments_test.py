"""Tests of sums and moments by TensorFlow's CPU kernels."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn.ops import cpu_moments

EXACT = 1e-6


class MomentsOfPartsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        shape=((1, 3), (1021, 3), (3000, 5), (2**16, 4)),
        mean=(0.0, 2.0, -60.0),
        known=(True, False),
    )
    def test_bfloat16(self, shape, mean, known):
        """2**16 rows one after the other would be off by 1e-5."""
        rng = np.random.default_rng(0)
        rows = tf.cast(rng.normal(size=shape) + mean, "bfloat16")

        @tf.function(autograph=False)
        def moments(rows):
            if not known:
                rows = testing_utils.of_unknown_size(rows)
            height = cpu_moments.height_of(rows.shape, rows)
            count = cpu_moments.num_rows(rows)
            return cpu_moments.moments_of_parts(rows, count, height)

        found = moments(rows)
        wide = tf.cast(rows, "float64").numpy()
        variance = np.var(wide, axis=0)
        self.assertAllClose(
            found[0], np.mean(wide, axis=0), rtol=EXACT, atol=EXACT * np.max(variance)
        )
        # A mean of 60 is 60 deviations away: its rounding counts.
        self.assertAllClose(found[1], variance, rtol=EXACT * max(1.0, abs(mean)))


class HeightTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ((128, 32, 32, 64), 1024),
        ((64, 8), 4),  # sixteen groups
        ((None, 6, 6, 8), 36),
        ((1021, 8), 1),
    )
    def test_height(self, shape, expected):
        self.assertEqual(cpu_moments.height_of(shape), expected)

    @parameterized.parameters(((64, 8), 4), ((17, 3, 8), 3), ((1021, 8), 1))
    def test_of_sizes_that_only_the_graph_knows(self, shape, expected):
        height = cpu_moments.height_of([None, None, 8], tf.zeros(shape))
        self.assertEqual(int(height), expected)


if __name__ == "__main__":
    tf.test.main()
