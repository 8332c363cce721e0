"""Tests of batch normalisation of small inputs, by sums in float64."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn.ops import wide_sums

# float32 against float64: results are rounded a few times.
EXACT = 5e-7
EPSILON = 1e-3


class NormalizerTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        shape=((1, 3), (7, 1), (131, 4), (3, 2, 5, 2)),
        offset=(0.0, 1e4, 1e6),
        mode=("eager", "graph", "unknown_size"),
    )
    def test_output_and_gradients(self, shape, offset, mode):
        rng = np.random.default_rng(0)
        x = testing_utils.random_batch(rng, shape, offset=offset).astype("float32")
        upstream = rng.normal(size=shape).astype("float32")
        gain, offset = rng.normal(size=(2, shape[-1])).astype("float32")

        def call(x, upstream):
            if mode == "unknown_size":
                x, upstream = map(testing_utils.of_unknown_size, (x, upstream))
            normalizer = wide_sums.Normalizer(x, None, EPSILON)
            again = wide_sums.Normalizer.of_saved(
                normalizer.saved, upstream, None, EPSILON
            )
            gradients = again.gradients(upstream, gain)
            return normalizer.statistics, normalizer.affine(gain, offset), gradients

        run = testing_utils.in_mode(call, "eager" if mode == "eager" else "graph")
        statistics, y, gradients = run(tf.constant(x), tf.constant(upstream))
        wide, upstream = (
            testing_utils.channels_last(a.astype("float64")) for a in (x, upstream)
        )
        reference = testing_utils.Renorm(
            wide, EPSILON, gain.astype("float64"), offset.astype("float64")
        )
        mean = tf.cast(statistics.mean, "float64") + tf.cast(
            statistics.remainder, "float64"
        )
        self.assertAllClose(mean, reference.mean, rtol=1e-13, atol=1e-13)
        self.assertAllClose(statistics.spread, reference.variance, rtol=EXACT)
        self.assertAllClose(statistics.scale, reference.sigma, rtol=EXACT)
        dx, *rest = reference.gradients(upstream)
        for actual, wanted in zip(
            (y, *gradients), (reference.output, dx, *rest), strict=True
        ):
            actual = np.reshape(actual, wanted.shape)
            scale = max(1.0, np.max(np.abs(wanted)))
            self.assertAllClose(actual, wanted, rtol=0.0, atol=EXACT * scale)

    def test_of_no_rows(self):
        normalizer = wide_sums.Normalizer(tf.zeros([0, 2]), None, EPSILON)
        self.assertFalse(normalizer.statistics.valid)
        y = normalizer.affine(tf.ones(2), tf.zeros(2))
        dx, dgain, doffset = normalizer.gradients(y, tf.ones(2))
        self.assertEqual([y.shape, dx.shape], [(0, 2)] * 2)
        self.assertAllEqual([dgain, doffset], np.zeros((2, 2)))


if __name__ == "__main__":
    tf.test.main()
