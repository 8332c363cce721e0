"""Tests of batch normalisation of small inputs, by sums in float64."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn.ops import wide_sums

# float32 against float64: results are rounded a few times.
EXACT = 5e-7
EPSILON = 1e-3
OFFSETS = (0.0, 1e4, 1e6)
MODES = ("eager", "graph", "unknown_size")


class NormalizerTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.rng = np.random.default_rng(0)

    def batch(self, shape, offset):
        """x, upstream, gain and offset."""
        x = testing_utils.random_batch(self.rng, shape, offset=offset)
        upstream = self.rng.normal(size=shape).astype("float32")
        return x.astype("float32"), upstream, *self.rng.normal(size=(2, shape[-1]))

    def normalized(self, x, upstream, gain, offset, mode, mask=None):
        """Statistics, and a list of the output and the gradients."""
        gain, offset = gain.astype("float32"), offset.astype("float32")

        def call(x, upstream):
            if mode == "unknown_size":
                x, upstream = map(testing_utils.of_unknown_size, (x, upstream))
            normalizer = wide_sums.Normalizer(x, None, EPSILON, mask)
            again = wide_sums.Normalizer.of_saved(
                normalizer.saved, upstream, None, EPSILON, mask
            )
            y = normalizer.affine(gain, offset)
            return normalizer.statistics, [y, *again.gradients(upstream, gain)]

        run = testing_utils.in_mode(call, "eager" if mode == "eager" else "graph")
        return run(tf.constant(x), tf.constant(upstream))

    def reference(self, x, gain, offset, keep=None):
        rows = testing_utils.channels_last(x.astype("float64"))
        if keep is not None:
            keep = testing_utils.channels_last(np.broadcast_to(keep, x.shape))
        return testing_utils.Renorm(rows, EPSILON, gain, offset, keep=keep)

    def assert_exact(self, found, reference, upstream):
        statistics, found = found
        mean = tf.cast(statistics.mean, "float64") + tf.cast(
            statistics.remainder, "float64"
        )
        self.assertAllClose(mean, reference.mean, rtol=1e-13, atol=1e-13)
        self.assertAllClose(statistics.spread, reference.variance, rtol=EXACT)
        self.assertAllClose(statistics.scale, reference.sigma, rtol=EXACT)
        upstream = testing_utils.channels_last(upstream.astype("float64"))
        expected = reference.output, *reference.gradients(upstream)
        for actual, wanted in zip(found, expected, strict=True):
            actual = np.reshape(actual, wanted.shape)
            scale = max(1.0, np.max(np.abs(wanted)))
            self.assertAllClose(actual, wanted, rtol=0.0, atol=EXACT * scale)

    @parameterized.product(
        shape=((1, 3), (7, 1), (131, 4), (3, 2, 5, 2)), offset=OFFSETS, mode=MODES
    )
    def test_output_and_gradients(self, shape, offset, mode):
        x, upstream, *weights = self.batch(shape, offset)
        found = self.normalized(x, upstream, *weights, mode)
        self.assert_exact(found, self.reference(x, *weights), upstream)

    @parameterized.product(
        mask=((5, 4, 1), (1, 4, 1), (5, 1, 3), (5, 4, 3)), offset=OFFSETS, mode=MODES
    )
    def test_masked(self, mask, offset, mode):
        """A mask of all channels or of each, and masked elements that are not finite.

        They count nothing where no gradient arrives at them.
        """
        x, upstream, *weights = self.batch((5, 4, 3), offset)
        keep = self.rng.uniform(size=mask) < 0.6
        keep[..., -1] |= mask[-1] == 3  # the last channel is whole
        reference = self.reference(x, *weights, keep)
        found = self.normalized(x, upstream, *weights, mode, keep)
        self.assert_exact(found, reference, upstream)

        keep = np.broadcast_to(keep, x.shape)
        upstream = np.where(keep, upstream, np.float32(0.0))
        _, finite = self.normalized(x, upstream, *weights, mode, keep)
        for bad in ("nan", "inf"):
            x = np.where(keep, x, np.float32(bad))
            _, (y, *gradients) = self.normalized(x, upstream, *weights, mode, keep)
            self.assertAllEqual(np.isfinite(y), keep)
            for actual, wanted in zip(gradients, finite[1:], strict=True):
                self.assertAllEqual(actual, wanted)

    def test_of_masked_rows_alone(self):
        x, upstream, *weights = self.batch((6, 2), 0.0)
        keep = np.array([[False, True]] * 6)
        for mask, valid in ((keep, [False, True]), (keep[:, :1], False)):
            statistics, (y, dx, *_) = self.normalized(
                x, upstream, *weights, "graph", tf.constant(mask)
            )
            self.assertAllEqual(statistics.valid, valid)
            self.assertAllClose(statistics.mean[0], 0.0)
            self.assertAllClose(statistics.scale[0], EPSILON**0.5)
            gain, offset = (weight[0] for weight in weights)
            gain = gain / EPSILON**0.5
            self.assertAllClose(y[:, 0], gain * x[:, 0] + offset, rtol=1e-6)
            self.assertAllClose(dx[:, 0], gain * upstream[:, 0], rtol=1e-6)

    def test_of_no_rows(self):
        normalizer = wide_sums.Normalizer(tf.zeros([0, 2]), None, EPSILON)
        self.assertFalse(normalizer.statistics.valid)
        y = normalizer.affine(tf.ones(2), tf.zeros(2))
        dx, dgain, doffset = normalizer.gradients(y, tf.ones(2))
        self.assertEqual([y.shape, dx.shape], [(0, 2)] * 2)
        self.assertAllEqual([dgain, doffset], np.zeros((2, 2)))


if __name__ == "__main__":
    tf.test.main()
