"""Tests of what a batch says of its channels."""

import tensorflow as tf
from absl.testing import parameterized

from tfbn.ops import statistics


class StatisticsTest(tf.test.TestCase, parameterized.TestCase):
    def test_map_leaves_valid(self):
        before = statistics.Statistics(1.0, 2.0, 3.0, 4.0, True)
        after = before.map(lambda value: 10.0 * value)
        self.assertEqual(after, statistics.Statistics(10.0, 20.0, 30.0, 40.0, True))

    @parameterized.parameters(
        (2.0, [1.0, 2.0], [0.0, 1.0], True),
        (0.0, [1.0, 2.0], [0.0, 1.0], False),
        (2.0, [1.0, float("nan")], [0.0, 1.0], False),
        (2.0, [1.0, 2.0], [float("inf"), 1.0], False),
        # Of channels: some may be empty, by their masks.
        ([0.0, 3.0], [1.0, 2.0], [0.0, 1.0], [False, True]),
        ([2.0, 3.0], [1.0, float("nan")], [0.0, 1.0], [False, False]),
    )
    def test_is_valid(self, count, mean, spread, expected):
        arguments = (tf.constant(a) for a in (count, mean, spread))
        self.assertAllEqual(statistics.is_valid(*arguments), expected)


if __name__ == "__main__":
    tf.test.main()
