"""Tests of the synthetic regression."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn.data._gaussian import gaussian


class GaussianTest(tf.test.TestCase, parameterized.TestCase):
    def test_default_is_the_paper_s(self):
        dataset = gaussian()
        for split in (dataset.train, dataset.test):
            self.assertEqual(split.inputs.shape, (1000, 10))
            self.assertEqual(split.targets.shape, (1000, 10))
            self.assertEqual(split.inputs.dtype, np.float32)
            self.assertEqual(split.targets.dtype, np.float32)
        self.assertIsNone(dataset.num_classes)
        self.assertEqual(dataset.input_shape, (10,))

    def test_one_linear_map_makes_the_targets_of_both_splits(self):
        dataset = gaussian(seed=3)
        linear_map, *_ = np.linalg.lstsq(
            dataset.train.inputs.astype(np.float64), dataset.train.targets, rcond=None
        )
        # Targets are rounded to float32: errors of a few units in the last place of
        # values up to about 15.
        self.assertAllClose(
            dataset.test.inputs @ linear_map, dataset.test.targets, rtol=0, atol=1e-5
        )
        self.assertEqual(np.linalg.matrix_rank(linear_map), 10)

    def test_inputs_and_map_are_standard_normal(self):
        dataset = gaussian(num_examples=20_000, units=20)
        inputs = dataset.train.inputs
        # Five standard errors of a mean and of a covariance of 20,000 draws.
        self.assertAllClose(inputs.mean(axis=0), np.zeros(20), atol=0.036)
        self.assertAllClose(np.cov(inputs.T), np.eye(20), atol=0.05)
        linear_map, *_ = np.linalg.lstsq(inputs, dataset.train.targets, rcond=None)
        self.assertNear(linear_map.mean(), 0, 0.25)
        self.assertNear(linear_map.var(), 1, 0.36)

    def test_standardize_leaves_the_inputs(self):
        dataset = gaussian()
        standardized = dataset.standardize(dataset.train.inputs)
        self.assertAllEqual(standardized, dataset.train.inputs)

    def test_seed_decides(self):
        first, again, other = gaussian(seed=1), gaussian(seed=1), gaussian(seed=2)
        self.assertAllEqual(first.train.inputs, again.train.inputs)
        self.assertAllEqual(first.test.targets, again.test.targets)
        self.assertNotAllClose(first.train.inputs, other.train.inputs)
        self.assertNotAllClose(first.train.inputs, first.test.inputs)


if __name__ == "__main__":
    tf.test.main()
