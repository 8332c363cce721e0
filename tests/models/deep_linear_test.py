"""Tests of tfbn.models.deep_linear."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import models


class DeepLinearTest(tf.test.TestCase, parameterized.TestCase):
    def test_output_is_the_product_of_the_kernels(self):
        model = models.deep_linear(depth=4, units=3)
        x = np.random.default_rng(0).normal(size=(5, 3))
        kernels = [w.astype("float64") for w in model.get_weights()]
        self.assertAllClose(
            model(x), np.linalg.multi_dot([x, *kernels]), rtol=1e-5, atol=1e-6
        )

    def test_papers_network_by_default(self):
        shapes = [v.shape for v in models.deep_linear().trainable_variables]
        self.assertEqual(shapes, [(10, 10)] * 25)

    @parameterized.parameters((False, 2), (True, 3))
    def test_norm_last(self, norm_last, count):
        model = models.deep_linear(3, 4, norm=tfbn.BatchNorm, norm_last=norm_last)
        norms = [layer for layer in model.layers if isinstance(layer, tfbn.BatchNorm)]
        self.assertLen(norms, count)


if __name__ == "__main__":
    tf.test.main()
