"""Tests of Batch: a tensor's layout, its sums and masks; and of helpers."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops
from tfbn.ops import batch as batches
from tfbn.ops import requests

# One or two float32 operations on numbers near 1.
ROUNDING = 5e-7


def make(x, axis, mask=None, **options):
    """The `Batch` of a call of batch_norm."""
    request = requests.request("batch_norm", x, axis, mask=mask, **options)
    return batches.Batch(x, request, mask)


class LayoutTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ((4, 3), 0, None, (1, 1, 4, 3)),
        ((4, 3), 1, None, (1, 4, 3, 1)),
        ((4, 3, 2), 1, None, (1, 4, 3, 2)),
        ((4, 3, 2, 5), 2, None, (1, 12, 2, 5)),
        ((4, 3, 2, 5), 1, 2, (2, 2, 3, 10)),
        ((4, 3, 2, 5), 3, 1, (4, 6, 5, 1)),
        ((4, 3, 2, 5, 6), 3, 4, (1, 24, 5, 6)),
        ((0, 3, 2), 2, None, (1, 0, 2, 1)),
        ((0, 3, 2), 2, 2, (0, 6, 2, 1)),
    )
    def test_view(self, shape, axis, virtual_batch_size, expected):
        x = tf.reshape(tf.range(np.prod(shape), dtype=tf.float32), shape)
        batch = make(x, axis, virtual_batch_size=virtual_batch_size)
        viewed = batch.view(x)
        self.assertAllEqual(viewed, np.reshape(x, expected))
        self.assertAllEqual(batch.restore(viewed), x)

    def test_sizes_that_are_not_known(self):
        @tf.function(input_signature=[tf.TensorSpec([None, 3, None])])
        def call(x):
            batch = make(x, 1, virtual_batch_size=2)
            viewed = batch.view(x)
            return viewed, batch.restore(viewed), batch.count

        x = np.random.default_rng(0).normal(size=(4, 3, 5)).astype("float32")
        viewed, restored, count = call(x)
        self.assertAllEqual(viewed, x.reshape(2, 2, 3, 5))
        self.assertAllEqual(restored, x)
        self.assertAllEqual(count, np.full([2, 1, 1, 1], 10.0))  # by the mask

    def test_statistics_are_shaped_to_broadcast(self):
        batch = make(tf.zeros([4, 3, 2]), 1, virtual_batch_size=2)
        vector, groups = np.arange(3.0), np.arange(6.0).reshape(2, 3)
        self.assertAllEqual(batch.statistic(vector), vector.reshape(1, 1, 3, 1))
        self.assertAllEqual(batch.statistic(groups), groups.reshape(2, 1, 3, 1))
        self.assertAllEqual(batch.statistic(7.0), 7.0)
        self.assertEqual(batch.statistic(vector).dtype, "float32")
        self.assertAllEqual(batch.vector(batch.statistic(groups)), groups)


class SumsTest(tf.test.TestCase, parameterized.TestCase):
    """Of x[n, c, i], in virtual batches of 2, some masked."""

    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(6, 3, 5)).astype("float32")
        self.mask = rng.uniform(size=(6, 1, 5)) < 0.5
        self.mask[2:4] = False
        self.kept = np.where(self.mask, self.x, 0.0)

    def batch(self, masked=True, size=2):
        mask = tf.constant(self.mask) if masked else None
        return make(tf.constant(self.x), 1, mask=mask, virtual_batch_size=size)

    def by_groups(self, x, size=2):
        """`[n, c, i]` summed: `[groups, c]`."""
        return np.sum(x.reshape(-1, size, *x.shape[1:]), axis=(1, 3))

    def assert_statistic(self, actual, expected):
        self.assertEqual(actual.shape, (len(expected), 1, expected.shape[1], 1))
        self.assertAllClose(actual[:, 0, :, 0], expected, atol=10 * ROUNDING)

    @parameterized.parameters(1, 2, 3, 6)
    def test_total_takes_masked_elements_too(self, size):
        batch = self.batch(size=size)
        viewed = batch.view(self.x)
        total, twice = batch.total(viewed, 2.0 * viewed)
        self.assert_statistic(total, self.by_groups(self.x, size))
        self.assert_statistic(twice, 2.0 * self.by_groups(self.x, size))

    def test_keep(self):
        batch = self.batch()
        kept = batch.restore(batch.keep(batch.view(self.x)))
        self.assertAllEqual(kept, self.kept)
        batch = self.batch(masked=False)
        self.assertAllEqual(batch.keep(batch.view(self.x)), batch.view(self.x))

    def test_keep_hides_what_is_non_finite(self):
        batch = self.batch()
        bad = np.where(self.mask, self.x, np.float32("nan"))
        self.assertAllEqual(batch.restore(batch.keep(batch.view(bad))), self.kept)

    def test_count(self):
        self.assertAllEqual(self.batch(masked=False).count, 10.0)
        self.assertAllEqual(self.batch(masked=False, size=None).count, 30.0)
        counts = self.by_groups(self.mask.astype("float32"))
        self.assertAllEqual(self.batch().count, counts.reshape(3, 1, 1, 1))

    def test_mean(self):
        batch = self.batch(masked=False)
        mean = batch.mean(batch.view(self.x))
        self.assert_statistic(mean, self.by_groups(self.x) / 10.0)
        batch = self.batch()
        counts = self.by_groups(self.mask.astype("float32"))
        expected = self.by_groups(self.kept) / np.maximum(counts, 1.0)
        self.assert_statistic(batch.mean(batch.view(self.x)), expected)
        self.assertAllEqual(expected[1], np.zeros(3))  # of nothing

    def test_maximum(self):
        x = np.abs(self.x)
        batch = self.batch()
        x[0, 0, :] = np.where(self.mask[0, 0], x[0, 0], 99.0)
        expected = np.where(self.mask, x, 0.0).reshape(3, 2, 3, 5).max(axis=(1, 3))
        self.assert_statistic(batch.maximum(batch.view(x)), expected)

    def test_over_groups(self):
        vector = np.arange(9.0, dtype="float32").reshape(3, 3)
        self.assertAllClose(
            self.batch(masked=False).over_groups(tf.constant(vector)), vector.mean(0)
        )
        # The second is empty.
        expected = (vector[0] + vector[2]) / 2.0
        self.assertAllClose(self.batch().over_groups(tf.constant(vector)), expected)

    def test_over_groups_of_which_all_are_empty(self):
        self.mask[:] = False
        self.assertAllEqual(self.batch().over_groups(tf.ones([3, 3])), np.zeros(3))

    @parameterized.product(
        shape=((7, 2), (128, 2, 128)),
        virtual_batch_size=(None, 1),
        known=(True, False),
    )
    def test_near_mean(self, shape, virtual_batch_size, known):
        """So near that what is left has its digits: of 1e6, the first six."""

        @tf.function
        def call(x):
            x = x if known else testing_utils.of_unknown_size(x)
            batch = make(x, 1, virtual_batch_size=virtual_batch_size)
            return batch.near_mean(batch.view(x))

        x = testing_utils.random_batch(np.random.default_rng(0), shape, 1, offset=1e6)
        groups = 1 if virtual_batch_size is None else shape[0]
        near = call(tf.constant(x))
        self.assertEqual(near.shape, (groups, 1, 2, 1))
        # Of a sample of 64 of unit variance; of a group of one element it is that.
        self.assertAllInRange(near, 1e6 - 5.0, 1e6 + 5.0)

    def test_near_mean_of_what_is_kept(self):
        bad = np.where(self.mask, self.x, np.float32("nan"))
        batch = self.batch()
        self.assertAllEqual(
            batch.near_mean(batch.view(bad)), batch.mean(batch.view(self.x))
        )

    @parameterized.parameters((7, 2), (70, 2), (3, 2, 1000))
    def test_near_mean_of_an_empty_batch(self, *shape):
        x = tf.zeros([0, *shape[1:]])
        batch = make(x, 1)
        self.assertAllEqual(batch.near_mean(batch.view(x)), np.zeros((1, 1, 2, 1)))


class UpcastTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("float16", "float32"),
        ("bfloat16", "float32"),
        ("float32", "float32"),
        ("float64", "float64"),
    )
    def test_dtype(self, dtype, expected):
        self.assertEqual(ops.upcast(tf.zeros([2], dtype)).dtype, expected)


class AlongAxisTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((0, (3, 1, 1)), (1, (1, 3, 1)), (2, (3,)))
    def test_shape(self, axis, expected):
        result = batches.along_axis(tf.range(3), tf.zeros([3, 3, 3]), axis)
        self.assertAllEqual(result, np.arange(3).reshape(expected))


if __name__ == "__main__":
    tf.test.main()
