"""Tests of tfbn.diagnostics.activation_pooling, against all values in one array."""

import numpy as np
import tensorflow as tf

from tfbn.diagnostics.activation_pooling import Moments
from tfbn.diagnostics.activation_pooling import pooled


class ActivationPoolingTest(tf.test.TestCase):
    def test_parts_of_any_sizes(self):
        values = np.random.default_rng(0).normal(50.0, 2.0, size=(12, 3))
        parts = [
            Moments(v.mean(axis=0), v.var(axis=0), v[:, 1], v.min(), v.max())
            for v in np.split(values, [1, 8])
        ]
        found = pooled(parts)
        self.assertAllClose(found.mean, values.mean(axis=0), rtol=1e-14)
        self.assertAllClose(found.variance, values.var(axis=0), rtol=1e-12)
        self.assertAllEqual(found.of_unit, values[:, 1])
        self.assertEqual((found.low, found.high), (values.min(), values.max()))


if __name__ == "__main__":
    tf.test.main()
