"""Tests of splits, data sets and their moments."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn.data import Dataset
from tfbn.data import Split
from tfbn.data.dataset import channel_moments


def _split(num_examples=6, size=4, seed=0):
    """Random images with unequal channels, labels and domains."""
    rng = np.random.default_rng(seed)
    shape = (num_examples, size, size, 3)
    inputs = rng.integers([10, 60, 0], [40, 250, 256], size=shape).astype(np.uint8)
    return Split(
        inputs, rng.integers(3, size=num_examples), rng.integers(2, size=num_examples)
    )


def _dataset(train):
    """A data set of the given training split."""
    mean, stddev = channel_moments(train.inputs)
    return Dataset("random", train, _split(3, seed=1), 3, mean, stddev)


class SplitTest(tf.test.TestCase, parameterized.TestCase):
    def test_length_and_default_domains(self):
        split = Split(np.ones((5, 2), np.float32), np.ones((5, 2), np.float32))
        self.assertLen(split, 5)
        self.assertIsNone(split.domains)


class DatasetTest(tf.test.TestCase, parameterized.TestCase):
    def test_standardize_gives_mean_zero_and_variance_one(self):
        dataset = _dataset(_split(200))
        standardized = dataset.standardize(dataset.train.inputs).numpy()
        self.assertEqual(standardized.dtype, np.float32)
        flat = standardized.reshape(-1, 3).astype(np.float64)
        self.assertAllClose(flat.mean(axis=0), np.zeros(3), atol=1e-5)
        self.assertAllClose(flat.std(axis=0), np.ones(3), atol=1e-5)

    @parameterized.parameters(np.uint8, np.int64, np.float16, np.float64)
    def test_standardize_takes_arrays_and_tensors_of_any_dtype(self, dtype):
        dataset = _dataset(_split())
        inputs = dataset.test.inputs.astype(dtype)
        expected = (inputs.astype(np.float32) - dataset.mean) / dataset.stddev
        self.assertAllClose(dataset.standardize(inputs), expected)
        traced = tf.function(dataset.standardize)
        self.assertAllClose(traced(tf.constant(inputs)), expected)
        self.assertEqual(traced(tf.constant(inputs)).dtype, tf.float32)

    def test_input_shape(self):
        self.assertEqual(_dataset(_split()).input_shape, (4, 4, 3))

    def test_is_frozen(self):
        with self.assertRaisesRegex(AttributeError, "name"):
            _dataset(_split()).name = "other"

    def test_refuses_splits_of_different_inputs(self):
        ones = np.ones(3, np.float32)
        with self.assertRaisesRegex(ValueError, r"\(4, 4, 3\).*\(5, 5, 3\)"):
            Dataset("d", _split(), _split(size=5), 3, ones, ones)


class ChannelMomentsTest(tf.test.TestCase):
    def test_equal_float64_moments_of_several_blocks(self):
        inputs = _split(2300).inputs
        mean, stddev = channel_moments(inputs)
        flat = inputs.reshape(-1, 3).astype(np.float64)
        self.assertAllClose(mean, flat.mean(axis=0), rtol=1e-7, atol=0)
        self.assertAllClose(stddev, flat.std(axis=0), rtol=1e-6, atol=0)
        self.assertEqual((mean.dtype, stddev.dtype), (np.float32, np.float32))

    def test_a_constant_channel_gets_one(self):
        inputs = _split(10).inputs
        inputs[..., 1] = 77
        mean, stddev = channel_moments(inputs)
        self.assertEqual((mean[1], stddev[1]), (77, 1))


if __name__ == "__main__":
    tf.test.main()
