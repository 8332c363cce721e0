"""Tests that batch_norm and normalise keep their digits, whatever the data.

float32 results against float64 references on the same (float32) data.
"""

import functools
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops
from tfbn.ops import accelerator_batch
from tfbn.ops import requests

# The exactness that tfbn promises, of float32 (2**-24 = 6e-8), relative to the largest
# element of the result; here even to that of each channel.
EXACT = 2e-6
# To round to half precision once.
ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}

EPSILON = 1e-3
OFFSETS = (0.0, 1e2, 1e4, 1e6)
# Small batches of known size (eagerly or in a graph) and of unknown size (in a graph)
# have different code, and XLA's is another.
MODES = ("eager", "unknown_size", "xla")
# 131 is prime: its rows cannot be laid out in runs of one length.
SHAPES = ((4, 3), (64, 3), (131, 3), (8, 6, 6, 3), (2, 3, 2, 5, 2))
# Rows whose sums are long: 2**15 of them, a prime number, 257**2.
LONG = ((32, 32, 32, 16), (10007, 3), (1, 257, 257, 3))


def keep(shape):
    """A mask over the first two axes of `[..., channels]`."""
    mask = np.random.default_rng(2).uniform(size=shape[:2]) < 0.6
    return mask.reshape(*shape[:2], *[1] * (len(shape) - 2))


@functools.cache
def training(mode, *, axis=-1, masked=False):
    """`(x, gamma, beta), upstream -> y, (statistics,), gradients` of batch_norm.

    One for all tests, so that a shape is traced and compiled once.
    """

    def call(x, gamma, beta):
        mask = tf.constant(keep(x.shape)) if masked else None
        if mode == "unknown_size":
            x = testing_utils.of_unknown_size(x)
        return ops.batch_norm(
            x, gamma, beta, axis=axis % len(x.shape), epsilon=EPSILON, mask=mask
        )

    if mode in ops.TARGETS:  # XLA's code for it, run by this machine's XLA
        return compiled_for(mode, testing_utils.value_and_gradients(call, "xla"))
    return testing_utils.value_and_gradients(
        call, "graph" if mode == "unknown_size" else mode
    )


def compiled_for(target, function):
    def call(*arguments):
        with ops.compiling_for(target):
            return function(*arguments)

    return call


def affine_weights(channels):
    rng = np.random.default_rng(9)
    gamma, beta = rng.uniform(0.5, 2.0, size=channels), rng.normal(size=channels)
    return gamma.astype("float32"), beta.astype("float32")


def upstreams(normalized):
    """Two gradients of y, `[rows, channels]`.

    The first has a mean, as gradients of most losses have, which the gradient of the
    input loses. The second goes along with the output too, which that loses as well;
    the sums for gamma grow with each term, and show what is lost in long runs.
    """
    rng = np.random.default_rng(8)
    plain = rng.normal(size=normalized.shape).astype("float32") + np.float32(3.0)
    return plain, plain + normalized.astype("float32")


class ExactTestCase(tf.test.TestCase, parameterized.TestCase):
    def assert_exact(self, actual, expected, name="", axis=-1, tolerance=EXACT):
        """In each channel, relative to its largest element."""
        actual = testing_utils.channels_last(actual, axis)
        expected = testing_utils.channels_last(expected)
        error = np.max(np.abs(actual - expected), axis=0)
        largest = np.max(np.abs(expected), axis=0)
        error = np.max(error / np.where(largest > 0.0, largest, 1.0))
        self.assertLess(error, tolerance, name)

    def assert_statistics(self, statistics, reference, tolerance=EXACT):
        for actual, expected, name in (
            (statistics.spread, reference.variance, "variance"),
            (statistics.scale, reference.sigma, "scale"),
        ):
            self.assert_exact(actual, expected, name, tolerance=tolerance)
        # To digits of the scale: `remainder` has those that `mean` cannot hold.
        rounded = statistics.mean.numpy().astype("float64")
        remainder = statistics.remainder.numpy().astype("float64")
        error = rounded + remainder - reference.mean
        self.assertLess(np.max(np.abs(error) / reference.sigma), tolerance, "mean")
        size = np.abs(reference.mean) + reference.sigma
        self.assertLess(np.max(np.abs(rounded - reference.mean) / size), tolerance)

    def assert_training(self, x, mode, *, axis=-1, masked=False, tolerance=EXACT):
        """Output, statistics and gradients of batch_norm."""
        weights = affine_weights(x.shape[axis])
        kept = np.broadcast_to(keep(x.shape), (*x.shape[:-1], 1)) if masked else None
        reference = testing_utils.Renorm(
            testing_utils.channels_last(x, axis),
            EPSILON,
            *(w.astype("float64") for w in weights),
            keep=None if kept is None else kept.reshape(-1),
        )
        arguments = [tf.constant(a) for a in (x, *weights)]
        call = training(mode, axis=axis, masked=masked)

        def train(upstream):
            y, (statistics,), actual = call(
                arguments, tf.constant(testing_utils.like(upstream, x.shape, axis))
            )
            expected = reference.gradients(upstream.astype("float64"))
            return y, statistics, zip(actual, expected, strict=True)

        plain, along = upstreams(reference.normalized)
        y, statistics, ((dx, expected), *_) = train(plain)
        self.assert_exact(y, reference.output, "y", axis, tolerance)
        self.assert_statistics(statistics, reference, tolerance)
        self.assert_exact(dx, expected, "dx", axis, tolerance)
        *_, ((dx, expected), dgamma, dbeta) = train(along)
        # Twice, for half of what comes along is lost in the result.
        self.assert_exact(dx, expected, "dx, along", axis, 2 * tolerance)
        self.assert_exact(*dgamma, "dgamma", tolerance=tolerance)
        self.assert_exact(*dbeta, "dbeta", tolerance=tolerance)


class OffsetTest(ExactTestCase):
    @parameterized.product(shape=SHAPES, mode=MODES)
    def test_batch_norm(self, shape, mode):
        for offset in OFFSETS:
            rng = np.random.default_rng(0)
            with self.subTest(offset=offset):
                x = testing_utils.random_batch(rng, shape, offset=offset)
                self.assert_training(x, mode)

    @parameterized.product(shape=LONG, mode=MODES)
    def test_long_sums(self, shape, mode):
        for offset in (0.0, 1e6):
            rng = np.random.default_rng(0)
            with self.subTest(offset=offset):
                x = testing_utils.random_batch(rng, shape, offset=offset)
                self.assert_training(x, mode)

    def test_a_million_elements_a_channel(self):
        rng = np.random.default_rng(0)
        shape = (128, 32, 32, 64)
        x = rng.standard_normal(size=shape, dtype="float32") + np.float32(100.0)
        upstream = rng.standard_normal(size=shape, dtype="float32") + np.float32(3.0)
        weights = [tf.ones(64), tf.zeros(64)]
        y, _, (dx, *_) = training("eager")([tf.constant(x), *weights], upstream)
        few = np.s_[..., :2]  # channels do not touch each other
        reference = testing_utils.Renorm(testing_utils.channels_last(x[few]), EPSILON)
        expected = reference.gradients(testing_utils.channels_last(upstream[few]))[0]
        self.assert_exact(y[few], reference.output)
        self.assert_exact(dx[few], expected)

    @parameterized.product(
        shape_axis=(((64, 3, 8, 8), 1), ((8, 6, 3, 6), 2), ((3, 50), 0)),
        mode=("eager", "xla"),
    )
    def test_other_channel_axes(self, shape_axis, mode):
        shape, axis = shape_axis
        for offset in OFFSETS:
            rng = np.random.default_rng(0)
            with self.subTest(offset=offset):
                x = testing_utils.random_batch(rng, shape, axis, offset=offset)
                self.assert_training(x, mode, axis=axis)

    @parameterized.product(
        shape=((31, 2, 37, 31), (32, 2, 1024)), mode=("eager", "xla")
    )
    def test_long_sums_with_other_channel_axes(self, shape, mode):
        for offset in (0.0, 1e6):
            rng = np.random.default_rng(0)
            with self.subTest(offset=offset):
                x = testing_utils.random_batch(rng, shape, 1, offset=offset)
                self.assert_training(x, mode, axis=1)

    @parameterized.product(shape=((6, 7, 3), (8, 4099, 2)), mode=("eager", "xla"))
    def test_masked(self, shape, mode):
        for offset in OFFSETS:
            rng = np.random.default_rng(1)
            with self.subTest(offset=offset):
                x = testing_utils.random_batch(rng, shape, offset=offset)
                self.assert_training(x, mode, masked=True)


class ChannelsTest(ExactTestCase):
    """Channels of one tensor do not touch each other."""

    @parameterized.product(rows=(100, 1024), mode=MODES)
    def test_means_of_any_size_against_the_deviation(self, rows, mode):
        rng = np.random.default_rng(0)
        ratios = np.array([0.0, 0.9, 1.1, 5.0, 7.9, 8.1, 50.0, 1e3, 1e5, -1e4])
        deviations = np.array([1.0, 1e-3, 1e3, 1.0, 30.0, 1.0, 1e8, 1e-12, 1.0, 1e4])
        x = (rng.normal(size=(rows, 10)) + ratios) * deviations
        self.assert_training(x.astype("float32"), mode)

    @parameterized.parameters(*MODES)
    def test_constant_channels_and_others(self, mode):
        x = testing_utils.random_batch(np.random.default_rng(0), (37, 5))
        x[:, 0] = 0.0
        x[:, 1] = 1234567.0
        x[:, 3] = -1e-6 / 3.0
        gamma, beta = affine_weights(5)
        y, (statistics,), (dx, dgamma, _) = training(mode)(
            [tf.constant(a) for a in (x, gamma, beta)],
            tf.constant(np.arange(37 * 5).reshape(37, 5) + 1.0, "float32"),
        )
        constant = [0, 1, 3]
        for channel in constant:
            self.assertAllEqual(y[:, channel], np.full(37, beta[channel]))
        # 37 is no power of 2: the mean of a constant may be off by a rounding.
        self.assertAllInRange(tf.gather(statistics.spread, constant), 0.0, 1e-12)
        self.assertAllInRange(tf.gather(dgamma, constant), -1e-3, 1e-3)
        reference = testing_utils.Renorm(
            testing_utils.channels_last(x), EPSILON, gamma.astype("float64")
        )
        upstream = np.arange(37.0 * 5.0).reshape(37, 5) + 1.0
        self.assert_exact(dx, reference.gradients(upstream)[0])

    @parameterized.parameters(*MODES)
    def test_an_outlier(self, mode):
        x = testing_utils.random_batch(np.random.default_rng(0), (256, 3))
        x[17] += np.array([1e2, -1e6, 1e12]) * np.std(x, axis=0)
        # The others' shares are added to a sum that it rules: all roundings of that
        # may go one way.
        self.assert_training(x, mode, tolerance=20 * EXACT)

    @parameterized.product(size=(1e-42, 1e-36, 1e-18, 1e16), mode=("eager", "xla"))
    def test_tiny_and_huge_numbers(self, size, mode):
        """Of those whose square float32 holds not, the variance is as good as 0."""
        rng = np.random.default_rng(0)
        x = tf.constant(rng.normal(size=(64, 3)) * size, "float32")
        upstream = rng.normal(size=(64, 3)) + 3.0
        y, _, (dx, *_) = training(mode)(
            [x, tf.ones(3), tf.zeros(3)], tf.constant(upstream, "float32")
        )
        reference = testing_utils.Renorm(testing_utils.channels_last(x), EPSILON)
        # Numbers under 1.2e-38 may count as 0, before the division by sqrt(EPSILON).
        flushed = 1.2e-38 / EPSILON**0.5
        error = np.max(np.abs(y - reference.output))
        self.assertLess(error, EXACT * np.max(reference.output) + flushed)
        self.assert_exact(dx, reference.gradients(upstream)[0])

    @parameterized.product(offset=(0.0, 1e6), mode=MODES)
    def test_one_row(self, offset, mode):
        """Nothing is left of it."""
        gamma, beta = affine_weights(3)
        y, (statistics,), gradients = training(mode)(
            [tf.constant(a) for a in (np.full((1, 3), offset, "float32"), gamma, beta)],
            tf.constant([[1.0, 2.0, 3.0]]),
        )
        self.assertAllEqual(y, [beta])
        self.assertAllEqual(statistics.mean, np.full(3, offset))
        self.assertAllEqual(statistics.spread, np.zeros(3))
        for value, expected in zip(gradients, (0.0, 0.0, [1.0, 2.0, 3.0]), strict=True):
            self.assertAllEqual(value, np.broadcast_to(expected, value.shape))


class AcceleratorTest(ExactTestCase):
    """The code for accelerators: both sums in one pass around a sample's mean."""

    @parameterized.product(
        shape_axis=(
            ((131, 3), -1),
            ((32, 32, 32, 16), -1),  # in parts of 64 rows on a GPU
            ((16, 8, 14, 14), 1),
        ),
        target=("gpu", "tpu"),
    )
    def test_batch_norm(self, shape_axis, target):
        shape, axis = shape_axis
        for offset in (0.0, 1e4, 1e6):
            rng = np.random.default_rng(0)
            with self.subTest(offset=offset):
                x = testing_utils.random_batch(rng, shape, axis, offset=offset)
                self.assert_training(x, target, axis=axis)

    @parameterized.product(place=(0, 128, 255), target=("gpu", "tpu"))
    def test_an_outlier_in_the_sample(self, place, target):
        """It moves one of three blocks' means, and so the shift hardly."""
        x = testing_utils.random_batch(np.random.default_rng(0), (256, 16, 3))
        x[place, place % 15] += np.array([1e2, -3e2, 1e3]) * np.std(x, axis=(0, 1))
        # As of `ChannelsTest.test_an_outlier`.
        self.assert_training(x, target, tolerance=5 * EXACT)

    @parameterized.parameters("gpu", "tpu")
    def test_a_sample_that_misleads(self, target):
        """All three blocks are constant, at three deviations from the mean."""
        x = testing_utils.random_batch(np.random.default_rng(0), (16, 16, 16, 3))
        far = np.mean(x, axis=(0, 1, 2)) + 3.0 * np.std(x, axis=(0, 1, 2))
        rows = x.reshape(-1, 3)
        blocks = {
            "tpu": (x[:4, 0], x[6:10, 7], x[-4:, 15]),
            "gpu": (rows[:8], rows[2044:2052], rows[-8:]),
        }
        for block in blocks[target]:
            block[...] = far
        with ops.compiling_for(target):
            request = requests.request("batch_norm", tf.constant(x), 3)
            batch = accelerator_batch.make_batch(tf.constant(x), request)
            near = batch.near_mean(batch.view(x))
        self.assertAllClose(np.ravel(near), far, 1e-5)  # it does mislead
        self.assert_training(x, target)

    @parameterized.parameters("gpu", "tpu")
    def test_masked(self, target):
        x = testing_utils.random_batch(np.random.default_rng(1), (16, 70, 3))
        self.assert_training(x + np.float32(1e4), target, masked=True)

    @parameterized.parameters("gpu", "tpu")
    def test_constant_channels_and_one_row(self, target):
        gamma, beta = affine_weights(3)
        for x in (np.full((37, 3), 1234567.0), np.full((1, 3), -1e-6 / 3.0)):
            y, (statistics,), (dx, *_) = training(target)(
                [tf.constant(a, "float32") for a in (x, gamma, beta)],
                tf.ones(x.shape, "float32"),
            )
            self.assertAllEqual(y, np.broadcast_to(beta, x.shape))
            self.assertAllEqual(statistics.spread, np.zeros(3))
            # Of 37 ones the mean may be off by a rounding, which 1 / sqrt(EPSILON)
            # times gamma makes larger.
            self.assertAllInRange(dx, -1e-5, 1e-5)


class CorrectedTest(ExactTestCase):
    @parameterized.parameters(*MODES)
    def test_renorm(self, mode):
        """The averages are float32 numbers near the population's, given to both."""
        call = renorm_training(mode)
        for offset in OFFSETS:
            rng = np.random.default_rng(2)
            x = testing_utils.random_batch(rng, (16, 5, 5, 3), offset=offset)
            mean = (offset + np.array([0.3, -0.2, 0.7])).astype("float32")
            stddev = np.array([1.2, 0.7, 5.0], "float32")
            reference = testing_utils.Renorm(testing_utils.channels_last(x), EPSILON)
            reference.correct(
                mean.astype("float64"), stddev.astype("float64"), 3.0, 0.5
            )
            upstream = rng.normal(size=x.shape).astype("float32")
            y, _, (dx, *_) = call(
                [tf.constant(a) for a in (x, mean, stddev)], tf.constant(upstream)
            )
            upstream = testing_utils.channels_last(upstream)
            with self.subTest(offset=offset):
                self.assert_exact(y, reference.output)
                self.assert_exact(dx, reference.gradients(upstream)[0])


def renorm_training(mode):
    def call(x, mean, stddev):
        def correction(statistics):
            return ops.renorm_correction(
                statistics, mean, stddev, rmax=3.0, dmax=0.5, stddev_floor=0.0
            )

        if mode == "unknown_size":
            x = testing_utils.of_unknown_size(x)
        return ops.batch_norm(
            x, None, None, axis=3, epsilon=EPSILON, correction=correction
        )

    return testing_utils.value_and_gradients(
        call, "graph" if mode == "unknown_size" else mode
    )


class InferenceTest(ExactTestCase):
    @parameterized.product(axis=(0, 1, 2), mode=MODES)
    def test_normalize(self, axis, mode):
        def call(x, *weights):
            if mode == "unknown_size" and axis:
                x = testing_utils.of_unknown_size(x)
            return (ops.normalize(x, *weights, axis=axis),)

        mode = "graph" if mode == "unknown_size" else mode
        # Arguments, as a layer's weights are: TensorFlow rewrites the fused kernel with
        # a constant scale into x * scale + (offset - mean * scale).
        call = testing_utils.value_and_gradients(call, mode)
        gamma, beta = affine_weights(3)
        for offset in OFFSETS:
            rng = np.random.default_rng(3)
            x = testing_utils.random_batch(rng, (3, 3, 3), axis, offset=offset)
            mean = (offset + np.array([0.3, -0.2, 0.7])).astype("float32")
            scale = np.array([1.2, 0.7, 5.0], "float32")
            upstream = rng.normal(size=x.shape).astype("float32")
            weights = mean, scale, gamma, beta
            y, _, gradients = call(
                [tf.constant(a) for a in (x, *weights)], tf.constant(upstream)
            )
            mean, scale, gamma, beta = (w.astype("float64") for w in weights)
            normalized = (testing_utils.channels_last(x, axis) - mean) / scale
            upstream = testing_utils.channels_last(upstream, axis)
            total = np.sum(upstream, axis=0)
            along = np.sum(upstream * normalized, axis=0)
            dx, *rest = gradients
            with self.subTest(offset=offset):
                self.assert_exact(y, gamma * normalized + beta, "y", axis)
                self.assert_exact(dx, gamma / scale * upstream, "dx", axis)
                for actual, expected in zip(
                    rest,
                    (-gamma / scale * total, -gamma / scale * along, along, total),
                    strict=True,
                ):
                    # Sums of 9 numbers of either sign.
                    self.assert_exact(actual, expected, tolerance=5 * EXACT)

    @parameterized.product(axis=(1, 3), mode=MODES)
    def test_long_sums(self, axis, mode):
        """Of the gradients of gamma and beta.

        Of two values: a running sum rounds the same way at each step.
        """

        def call(x, *weights):
            if mode == "unknown_size":
                x = testing_utils.of_unknown_size(x)
            return (ops.normalize(x, *weights, axis=axis),)

        rng = np.random.default_rng(3)
        shape = [16, 128, 128] if axis == 1 else [64, 32, 32]
        shape.insert(axis, 4)
        x = rng.normal(size=shape).astype("float32")
        upstream = np.where(x > 0.0, 0.1, 0.3).astype("float32")
        mean, scale, gamma, beta = rng.uniform(0.5, 2.0, (4, 4)).astype("float32")
        traced = testing_utils.value_and_gradients(
            call, "graph" if mode == "unknown_size" else mode
        )
        arguments = [tf.constant(a) for a in (x, mean, scale, gamma, beta)]
        *_, gradients = traced(arguments, tf.constant(upstream))
        wide = testing_utils.channels_last(x, axis).astype("float64")
        normalized = (wide - mean) / scale
        wide = testing_utils.channels_last(upstream, axis).astype("float64")
        expected = [np.sum(wide * f, axis=0) for f in (normalized, 1.0)]
        for actual, wanted in zip(gradients[-2:], expected, strict=True):
            self.assertLess(testing_utils.relative_error(actual, wanted), EXACT)


class OtherTypesTest(ExactTestCase):
    def test_float64_stays_float64(self):
        """Compiled; otherwise see conformance_test."""
        rng = np.random.default_rng(5)
        x = testing_utils.random_batch(rng, (20, 3), dtype="float64")
        upstream = rng.normal(size=x.shape)
        weights = [w.astype("float64") for w in affine_weights(3)]
        y, _, gradients = training("xla")(
            [tf.constant(a) for a in (x, *weights)], tf.constant(upstream)
        )
        reference = testing_utils.Renorm(x, EPSILON, *weights)
        for actual, expected in zip(
            (y, *gradients),
            (reference.output, *reference.gradients(upstream)),
            strict=True,
        ):
            self.assert_exact(actual, expected, tolerance=1e-13)

    @parameterized.parameters(
        ("float16", (12, 3), "xla"),
        ("bfloat16", (12, 3), "unknown_size"),
        ("float16", (64, 512), "unknown_size"),
        ("bfloat16", (64, 512), "xla"),
        ("bfloat16", (12, 3), "gpu"),
        ("bfloat16", (12, 3), "tpu"),
    )
    def test_half_precision_is_computed_in_float32(self, dtype, shape, mode):
        rng = np.random.default_rng(6)
        x = tf.cast(testing_utils.random_batch(rng, shape, offset=10.0), dtype)
        weights = affine_weights(shape[-1])
        reference = testing_utils.Renorm(
            tf.cast(x, "float64").numpy(),
            EPSILON,
            *(w.astype("float64") for w in weights),
        )
        _, along = upstreams(reference.normalized)
        along = tf.cast(along, dtype)
        y, (statistics,), (dx, *sums) = training(mode)(
            [x, *(tf.constant(w) for w in weights)], along
        )
        self.assert_statistics(statistics, reference)
        wanted, *wanted_sums = reference.gradients(tf.cast(along, "float64").numpy())
        for actual, expected in ((y, reference.output), (dx, wanted)):
            self.assertEqual(actual.dtype, dtype)
            actual = tf.cast(actual, "float64")
            self.assert_exact(actual, expected, tolerance=ROUNDING[dtype] + 2 * EXACT)
        for actual, expected in zip(sums, wanted_sums, strict=True):
            self.assert_exact(actual, expected)


class OptimizedCodeTest(tf.test.TestCase):
    @pytest.mark.long
    def test_numbers_by_the_defaults_of_xla(self):
        """Other tests run machine code that is not optimised, see testing_utils."""
        ran = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-m", "not long"),
                *("-p", "no:cacheprovider", "tests/ops/exactness_test.py"),
                "tests/conformance_test.py::NumericalTest",
            ],
            env=os.environ | {"XLA_FLAGS": ""},
            cwd=pathlib.Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(ran.returncode, 0, ran.stdout[-2000:])


if __name__ == "__main__":
    tf.test.main()
