"""Tests of batch normalisation by TensorFlow's CPU kernels."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn.ops import cpu_kernels
from tfbn.ops import cpu_sums
from tfbn.ops import requests

# float32 against float64: what tfbn promises.
EXACT = 2e-6
# To round to bfloat16 once.
ROUNDING = 2.0**-8

EPSILON = 1e-3


class NormalizerTest(tf.test.TestCase, parameterized.TestCase):
    """What serves large batches, on small ones."""

    @parameterized.product(
        shape=((1, 3), (64, 4), (3, 2, 5, 2), (300, 4)),
        known=(True, False),
        module_dtype=(
            (cpu_kernels, "float32"),
            (cpu_kernels, "bfloat16"),
            (cpu_sums, "float32"),
        ),
    )
    def test_output_and_gradients(self, shape, known, module_dtype):
        module, dtype = module_dtype
        rng = np.random.default_rng(0)
        x = tf.cast(testing_utils.random_batch(rng, shape), dtype)
        upstream = tf.cast(rng.normal(size=shape), dtype)
        gain, offset = rng.normal(size=(2, shape[-1])).astype("float32")

        def call(x, upstream):
            x = x if known else testing_utils.of_unknown_size(x)
            normalizer = module.Normalizer(x, None, EPSILON)
            gradients = normalizer.gradients(upstream, gain)
            return normalizer.statistics, normalizer.affine(gain, offset), gradients

        call = testing_utils.in_mode(call, "eager" if known else "graph")
        statistics, y, gradients = call(x, upstream)
        wide, upstream = (
            testing_utils.channels_last(tf.cast(t, "float64")) for t in (x, upstream)
        )
        reference = testing_utils.Renorm(
            wide, EPSILON, gain.astype("float64"), offset.astype("float64")
        )
        for actual, expected in (
            (statistics.mean, reference.mean),
            (statistics.spread, reference.variance),
            (statistics.scale, reference.sigma),
        ):
            self.assertAllClose(actual, expected, rtol=EXACT, atol=EXACT)
        dx, *rest = reference.gradients(upstream)
        expected = (reference.output, dx, *rest)
        tolerances = [EXACT + (ROUNDING if dtype == "bfloat16" else 0.0)] * 2
        for actual, wanted, tolerance in zip(
            (y, *gradients), expected, [*tolerances, EXACT, EXACT], strict=True
        ):
            actual = np.reshape(tf.cast(actual, "float64"), wanted.shape)
            error = np.max(np.abs(actual - wanted))
            self.assertLessEqual(error, tolerance * max(1.0, np.max(np.abs(wanted))))
        self.assertEqual([y.dtype, gradients[0].dtype], [dtype] * 2)

    @parameterized.product(
        ratio=(0.5, 0.99, 1.01, 3.99, 4.01, 30.0, 1e4), rows=(64, 4096)
    )
    def test_exact_on_both_sides_of_where_it_shifts(self, ratio, rows):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(rows, 4))
        x = (x - np.mean(x, axis=0)) / np.std(x, axis=0) + ratio
        statistics = cpu_kernels.Normalizer(
            tf.constant(x, "float32"), None, 1e-12
        ).statistics
        expected = testing_utils.Renorm(x.astype("float32").astype("float64"), 1e-12)
        self.assertAllClose(statistics.spread, expected.variance, rtol=EXACT)

    @parameterized.parameters(cpu_kernels, cpu_sums)
    def test_no_variance_is_negative(self, module):
        """Of constants that are too small, beside epsilon, to be shifted."""
        constants = np.random.default_rng(0).uniform(0.1, 0.9, 64)
        x = tf.constant(np.tile(constants, (300, 1)), "float32")
        statistics = module.Normalizer(x, None, 1.0).statistics
        self.assertAllInRange(statistics.spread, 0.0, EXACT)

    def test_one_channel_with_a_large_mean_is_enough(self):
        x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
        x[:, 2] += 1e5
        normalizer = cpu_kernels.Normalizer(tf.constant(x), None, EPSILON)
        reference = testing_utils.Renorm(x.astype("float64"), EPSILON)
        y = normalizer.affine(tf.ones(4), tf.zeros(4))
        self.assertLess(testing_utils.relative_error(y, reference.output), EXACT)

    @parameterized.parameters(cpu_kernels, cpu_sums)
    def test_digits_of_the_mean_that_float32_does_not_hold(self, module):
        """The mean is 1 + 2^-25: all that an element of 1 is away from it."""
        x = np.ones((16, 4), "float32")
        x[:2] = [[-4.0], [6.0 + 2.0**-21]]
        normalizer = module.Normalizer(tf.constant(x), None, EPSILON)
        y = normalizer.affine(tf.ones(4), tf.zeros(4))
        scale = np.sqrt(np.var(x.astype("float64")) + EPSILON)
        self.assertAllClose(y[2:], np.full((14, 4), -(2.0**-25) / scale), atol=0.0)


class NormalizeTest(tf.test.TestCase):
    def test_value_and_gradients(self):
        rng = np.random.default_rng(0)
        x, upstream = rng.normal(size=(2, 6, 5, 3))
        arguments = [x, *rng.normal(size=(3, 3))]
        tensors = [tf.constant(a, "float32") for a in arguments]
        request = requests.request("normalize", tensors[0], 2)
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = cpu_kernels.normalize(*tensors, request)
        found = tape.gradient(y, tensors, tf.constant(upstream, "float32"))
        x, mean, gain, offset = arguments
        total = np.sum(upstream, axis=(0, 1))
        along = np.sum(upstream * (x - mean), axis=(0, 1))
        self.assertAllClose(y, gain * (x - mean) + offset, rtol=EXACT, atol=EXACT)
        expected = upstream * gain, -gain * total, along, total
        for actual, wanted in zip(found, expected, strict=True):
            self.assertAllClose(actual, wanted, rtol=1e-5, atol=1e-5)


class AffineTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("float32", "bfloat16")
    def test_value(self, dtype):
        rows = tf.constant([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype)
        vectors = (tf.constant(v) for v in ([1.0, 2.0], [0.5, -1.0], [0.0, 8.0]))
        y = tf.reshape(cpu_kernels.affine(rows, *vectors), [3, 2])
        self.assertAllEqual(y, tf.constant([[0.0, 8.0], [1.0, 6.0], [2.0, 4.0]], dtype))
        self.assertEqual(y.dtype, dtype)

    def test_of_no_rows(self):
        y = cpu_kernels.affine(tf.zeros([0, 2]), *[tf.ones(2)] * 3)
        self.assertEqual(tf.size(y), 0)

    @parameterized.parameters(1e4, 1e6, 1e8)
    def test_it_subtracts_first(self, offset):
        """Arguments: TensorFlow rewrites the kernel where the scale is a constant."""
        call = tf.function(cpu_kernels.affine)
        rows = tf.constant([[offset], [offset + 8.0]])
        y = call(rows, *(tf.constant([v]) for v in (offset, 3.0, 0.25)))
        self.assertAllEqual(tf.reshape(y, [-1]), [0.25, 24.25])


if __name__ == "__main__":
    tf.test.main()
