"""Tests of the batches of accelerators: their layouts, and sums in two levels."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops
from tfbn.ops import accelerator_batch
from tfbn.ops import batch as batches
from tfbn.ops import requests

# Sums of some hundred numbers near 1, relative to their size.
ROUNDING = 2e-6


def make(x, axis, target, mask=None, virtual_batch_size=None):
    with ops.compiling_for(target):
        request = requests.request(
            "batch_norm", x, axis, mask=mask, virtual_batch_size=virtual_batch_size
        )
        return accelerator_batch.make_batch(x, request, mask)


class MakeBatchTest(tf.test.TestCase):
    def test_kinds(self):
        x = tf.zeros([4, 3])
        kinds = {
            "cpu": batches.Batch,
            "gpu": accelerator_batch.GpuBatch,
            "tpu": accelerator_batch.TpuBatch,
        }
        for target, kind in kinds.items():
            self.assertIs(type(make(x, 1, target)), kind)
        # A GPU runs operation by operation what XLA does not compile.
        with tf.device("GPU:0"):
            request = requests.request("batch_norm", x, 1)
        self.assertIs(type(accelerator_batch.make_batch(x, request)), batches.Batch)


class ViewTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("float32", "bfloat16")
    def test_one_view_of_the_input(self, dtype):
        """With two, XLA moves one behind a ReLU that follows, and stores its zeros."""

        def call(x):
            return ops.batch_norm(x, None, None, axis=3, epsilon=1e-3)[0]

        with ops.compiling_for("gpu"):
            spec = tf.TensorSpec([64, 32, 32, 8], dtype)
            graph = tf.function(call).get_concrete_function(spec).graph
        (x,) = graph.inputs
        views = [op for op in graph.get_operations() if op.type == "Reshape"]
        self.assertLen([op for op in views if op.inputs[0] is x], 1)


class SumsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        case=(
            ((512, 8, 2), 2, None),
            ((40, 3, 6, 7), 1, None),
            ((6, 4, 5, 3), 3, 2),
            ((131, 3), 1, None),
            ((0, 3), 1, None),
        ),
        target=("gpu", "tpu"),
        masked=(False, True),
    )
    def test_total_and_mean(self, case, target, masked):
        shape, axis, size = case
        rng = np.random.default_rng(0)
        x = rng.normal(size=shape).astype("float32") + np.float32(1.0)
        mask = None
        if masked:
            mask = rng.uniform(
                size=[1 if i == axis else n for i, n in enumerate(shape)]
            )
            mask = mask < 0.6
        batch = make(
            tf.constant(x),
            axis,
            target,
            None if mask is None else tf.constant(mask),
            size,
        )
        viewed = batch.view(x)
        self.assertAllEqual(batch.restore(viewed), x)
        groups = 1 if size is None else len(x) // size

        def of_groups(values):
            """`[groups, elements, channels]`."""
            last = np.moveaxis(np.broadcast_to(values, shape), axis, -1)
            return last.reshape(groups, -1, shape[axis])

        totals = batch.total(viewed, viewed * viewed)
        self.assertAllEqual(batch.total(viewed)[0], totals[0])
        for total, values in zip(totals, (x, x * x), strict=True):
            expected = of_groups(values).sum(axis=1)
            self.assertAllClose(batch.vector(total), expected, ROUNDING, 1e-4)
        kept = of_groups(x if mask is None else np.where(mask, x, 0.0)).sum(axis=1)
        counts = of_groups(np.ones(shape) if mask is None else mask).sum(axis=1)
        mean = batch.vector(batch.mean(viewed))
        self.assertAllClose(mean, kept / np.maximum(counts, 1), ROUNDING, ROUNDING)

    @parameterized.parameters(
        ("gpu", (2048, 8, 16), 2, 512),
        ("gpu", (64, 8, 8, 256), 3, 128),
        ("gpu", (64, 14, 14, 128), 3, 256, 16),  # of four groups together
        ("gpu", (1009, 64), 1, 1),  # a prime number of rows
        ("gpu", (16, 8, 14, 14), 1, 16),
        ("tpu", (256, 14, 14, 512), 3, 14),
        ("tpu", (256, 56, 56, 64), 3, 256),
        ("tpu", (16, 8, 14, 14), 1, 14),
    )
    def test_number_of_first_sums(self, target, shape, axis, expected, size=None):
        """By the rules beside the constants: of a channel."""

        @tf.function
        def count():
            x = tf.zeros(shape)
            batch = make(x, axis, target, virtual_batch_size=size)
            return batch.first_sum(batch.view(x))

        sums = count.get_concrete_function().structured_outputs
        self.assertEqual(np.prod(sums.shape) // shape[axis], expected)

    @parameterized.product(
        shape_axis=(((300, 40, 2), 2), ((3, 2, 1000), 1), ((7, 2), 1)),
        target=("gpu", "tpu"),
        known=(True, False),
    )
    def test_near_mean(self, shape_axis, target, known):
        shape, axis = shape_axis

        @tf.function
        def call(x):
            x = x if known else testing_utils.of_unknown_size(x)
            batch = make(x, axis, target)
            return batch.vector(batch.near_mean(batch.view(x)))

        rng = np.random.default_rng(0)
        x = testing_utils.random_batch(rng, shape, axis, offset=1e6)
        self.assertAllInRange(call(tf.constant(x)), 1e6 - 5.0, 1e6 + 5.0)
        # Of half precision it is float32.
        half = tf.cast(x - np.float32(1e6), "bfloat16")
        self.assertEqual(call(half).dtype, "float32")


if __name__ == "__main__":
    tf.test.main()
