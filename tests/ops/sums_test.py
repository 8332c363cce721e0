"""Tests of sums over rows."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn.ops import sums

# Of the sum of the absolute values: a few roundings of 6e-8.
EXACT = 5e-7


class SumRowsTest(tf.test.TestCase, parameterized.TestCase):
    def assert_sum(self, rows, factor, mode):
        call = testing_utils.in_mode(
            lambda x: sums.sum_rows(x, factor, compiled=mode == "xla"), mode
        )
        expected = np.sum(rows.astype("float64"), axis=1)
        error = np.max(np.abs(call(tf.constant(rows)) - expected))
        size = np.max(np.sum(np.abs(rows).astype("float64"), axis=1), initial=1e-9)
        self.assertLess(error, EXACT * size)

    @parameterized.product(
        count_factor=(
            (0, 0),
            (1, 1),
            (7, 7),
            (1024, 1024),
            (1025, 1025),
            (4096, 4096),
            (4099, 4099),  # a prime number
            (6000, 12),  # a divisor that is known, of more
            (6000, 1),
            (64 * 64 * 3, 64 * 64 * 3),
            (64 * 67, 64 * 67),
        ),
        mode=("eager", "xla"),
    )
    def test_any_number(self, count_factor, mode):
        count, factor = count_factor
        groups = 3
        rows = np.random.default_rng(0).normal(size=(groups, count, 2))
        self.assert_sum(rows.astype("float32"), factor, mode)

    @parameterized.product(count=(2**17, 2**17 + 1, 65537), mode=("eager", "xla"))
    def test_a_long_sum_of_one_sign(self, count, mode):
        """A running sum would be off by 1e-4."""
        rows = np.random.default_rng(0).uniform(0.9, 1.1, size=(1, count, 1))
        self.assert_sum(rows.astype("float32"), count, mode)

    @parameterized.product(count=(128, 500, 997, 1024), mode=testing_utils.MODES)
    def test_where_each_step_rounds_the_same_way(self, count, mode):
        """As with data of two values: a running sum of 1000 may be off by 3e-6."""
        rng = np.random.default_rng(0)
        rows = np.where(
            rng.uniform(size=(1, count, 64)) < 0.5, *rng.uniform(size=(2, 64))
        )
        self.assert_sum(rows.astype("float32"), count, mode)

    @parameterized.parameters("graph", "xla")
    def test_a_number_that_is_not_known(self, mode):
        call = tf.function(
            lambda x: sums.sum_rows(x, 4, compiled=mode == "xla"),
            input_signature=[tf.TensorSpec([None, None, 2])],
            jit_compile=mode == "xla",
        )
        for count in (0, 4, 4096, 4 * 1031):
            rows = np.random.default_rng(0).normal(size=(2, count, 2))
            total = call(tf.constant(rows, "float32"))
            self.assertAllClose(total, np.sum(rows, axis=1), atol=1e-3)


class DivisorTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (12, 5, None, 4),
        (12, 12, None, 12),
        (12, 100, None, 12),
        (13, 12, None, 1),
        (64, 16, 5, 4),
        (64, 16, 0, 1),
        (1, 16, None, 1),
        (0, 16, None, 16),
        (66049, 1024, None, 257),
    )
    def test_of_ints_and_tensors(self, number, largest, limit, expected):
        self.assertEqual(sums.divisor(number, largest, limit), expected)
        tensors = (None if n is None else tf.constant(n) for n in (number, limit))
        number, limit = tensors
        self.assertEqual(int(sums.divisor(number, largest, limit)), expected)


if __name__ == "__main__":
    tf.test.main()
