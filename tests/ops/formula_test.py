"""Tests of batch normalisation by its formulas, on numbers that one can follow."""

import numpy as np
import tensorflow as tf

from tfbn.ops import formula
from tfbn.ops import requests
from tfbn.ops.batch import Batch
from tfbn.ops.statistics import Statistics

# A few float32 operations on numbers near 1.
ROUNDING = 5e-7
# Mean 4, variance 5, and with this epsilon a scale of 3.
X = [1.0, 3.0, 5.0, 7.0]
EPSILON = 4.0


def normalizer(x=X, **options):
    x = tf.constant(x)[:, tf.newaxis]
    request = requests.request("batch_norm", x, 1, **options)
    return formula.Normalizer(x, request, EPSILON, options.get("mask"))


class NormalizerTest(tf.test.TestCase):
    def assert_vector(self, actual, expected):
        self.assertAllClose(tf.reshape(actual, [-1]), expected, atol=ROUNDING)

    def test_statistics(self):
        mean, remainder, variance, scale, valid = normalizer().statistics
        self.assert_vector(mean + remainder, [4.0])
        self.assert_vector(variance, [5.0])
        self.assert_vector(scale, [3.0])
        self.assertTrue(valid)

    def test_affine(self):
        y = normalizer().affine(tf.constant([[6.0]]), tf.constant([[0.5]]))
        self.assertEqual(y.shape, (4, 1))
        self.assert_vector(y, [-5.5, -1.5, 2.5, 6.5])

    def test_gradients(self):
        """Of the first element alone: normalised is (-3, -1, 1, 3) / 3.

        dx = 6 / 3 * (dy - mean(dy) - normalised * mean(dy * normalised)).
        """
        dy = tf.constant([[1.0], [0.0], [0.0], [0.0]])
        dx, dgain, doffset = normalizer().gradients(dy, tf.constant([[6.0]]))
        self.assertEqual(dx.shape, (4, 1))
        self.assert_vector(dx, [1.0, -2.0 / 3.0, -1.0 / 3.0, 0.0])
        self.assert_vector(dgain, [-1.0])
        self.assert_vector(doffset, [1.0])

    def test_groups(self):
        """Means 2 and 6, variances 1, scales sqrt(5)."""
        by_two = normalizer(virtual_batch_size=2)
        self.assertAllClose(by_two.statistics.mean, [[2.0], [6.0]])
        self.assertAllClose(by_two.statistics.spread, [[1.0], [1.0]])
        gain, offset = tf.fill([2, 1], 5.0**0.5), tf.constant([[1.0], [10.0]])
        self.assert_vector(by_two.affine(gain, offset), [0.0, 2.0, 9.0, 11.0])
        averaged = by_two.averaged_statistics()
        self.assertAllClose(averaged.mean, [4.0])
        self.assertAllClose(averaged.spread, [1.0])

    def test_masked(self):
        """The masked element gets a share of no mean, and gives its gradient on."""
        mask = tf.constant([True, True, True, True, False])[:, tf.newaxis]
        by_mask = normalizer([*X, 13.0], mask=mask)
        self.assertAllClose(by_mask.statistics.spread, [[5.0]])
        dy = tf.constant([0.0, 0.0, 0.0, 0.0, 1.0])[:, tf.newaxis]
        dx, dgain, doffset = by_mask.gradients(dy, tf.constant([[3.0]]))
        # normalised is 3 there: -(1 + 3 (-1, -1/3, 1/3, 1)) / 4 of the others.
        self.assert_vector(dx, [0.5, 0.0, -0.5, -1.0, 1.0])
        self.assert_vector(dgain, [3.0])
        self.assert_vector(doffset, [1.0])


class AffineTest(tf.test.TestCase):
    def test_the_remainder_counts(self):
        """1e8 + 0.5 is no float32 number."""
        statistics = Statistics(
            mean=tf.constant(1e8),
            remainder=tf.constant(0.5),
            spread=tf.constant(0.0),
            scale=tf.constant(2.0),
            valid=tf.constant(True),
        )
        x = tf.constant([1e8, 1e8 + 8.0])
        y = formula.affine(x, statistics, tf.constant(4.0), tf.constant(0.25))
        self.assertAllClose(y, [-0.75, 15.25], rtol=ROUNDING)

    def test_mean_has_a_remainder(self):
        x = tf.constant([[1e8], [1e8 + 8.0], [1e8 + 16.0], [1e8 + 16.0]])
        batch = Batch(x, requests.request("batch_norm", x, 1))
        viewed = batch.view(x)
        mean, remainder = formula.mean(viewed, viewed, batch)
        total = np.float64(np.squeeze(mean)) + np.float64(np.squeeze(remainder))
        self.assertEqual(total, 1e8 + 10.0)


if __name__ == "__main__":
    tf.test.main()
