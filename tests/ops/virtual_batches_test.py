"""Tests of virtual batches: which samples are a group, and what fills it up."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn.ops.virtual_batches import VirtualBatches


class VirtualBatchesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (4, 2, "consecutive", [[0, 1], [2, 3]]),
        (5, 3, "consecutive", [[0, 1, 2], [3, 4, -1]]),
        (2, 3, "consecutive", [[0, 1, -1]]),
        (1, 1, "interleaved", [[0]]),
        (6, 3, "interleaved", [[0, 2, 4], [1, 3, 5]]),
        (5, 4, "interleaved", [[0, 2, 4, -1], [1, 3, -1, -1]]),
        (0, 3, "consecutive", np.zeros((0, 3))),
    )
    def test_groups(self, samples, size, order, expected):
        """-1 stands for what is filled up; each sample is two elements."""
        expected = np.array(expected)
        x = np.stack([np.arange(samples), np.arange(samples)], -1)
        for mode in testing_utils.MODES:
            for known in (True, False):

                def call(x, mode=mode, known=known):
                    number = samples if known else tf.shape(x)[0]
                    groups = VirtualBatches(number, size, order, mode == "xla")
                    arranged = groups.arrange(x + 1)
                    filled = groups.filled(2)
                    return arranged, groups.restore(arranged), filled, groups.number

                call = testing_utils.in_mode(call, mode)
                arranged, restored, filled, number = call(tf.constant(x, tf.int32))
                with self.subTest(mode=mode, known=known):
                    self.assertEqual(number, len(expected))
                    wanted = np.repeat(expected.reshape(-1, 1) + 1, 2, axis=1)
                    self.assertAllEqual(arranged, wanted)
                    self.assertAllEqual(filled, expected.reshape(-1, 1) >= 0)
                    self.assertAllEqual(restored, x + 1)

    def test_nothing_is_copied_or_masked_where_the_size_divides(self):
        """And the graph knows it; where it does not, a conditional decides."""
        x = tf.zeros([6, 2])

        def call(x, number):
            groups = VirtualBatches(number, 3, "consecutive", False)
            return groups.unless_whole(lambda: groups.arrange(x) + 1.0, lambda: x)

        known = testing_utils.operations(tf.function(lambda x: call(x, 6)), x)
        self.assertNoCommonElements(["Pad", "PadV2", "AddV2"], known)
        unknown = tf.function(lambda x: call(x, tf.shape(x)[0]))
        self.assertContainsSubset(["StatelessIf"], testing_utils.operations(unknown, x))
        self.assertAllEqual(unknown(x), x)


if __name__ == "__main__":
    tf.test.main()
