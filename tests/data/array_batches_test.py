"""Tests of tfbn.data.array_batches."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn import data


class ArrayBatchesTest(tf.test.TestCase, parameterized.TestCase):
    def test_structures_are_gathered_and_inputs_transformed(self):
        x = {"a": np.arange(8.0), "b": np.arange(16).reshape(8, 2)}
        y = (np.arange(8) + 10, np.arange(8) + 20)
        batches = data.ArrayBatches(
            x,
            y,
            data.IIDBatches(8, 3, seed=1),
            transform=lambda x: {**x, "a": x["a"] + 0.5},
        )
        indices = data.IIDBatches(8, 3, seed=1).indices(4)
        inputs, targets = batches(4)
        self.assertAllEqual(batches.indices(4), indices)
        self.assertAllEqual(inputs["a"], indices + 0.5)
        self.assertAllEqual(inputs["b"], np.stack([2 * indices, 2 * indices + 1], 1))
        self.assertAllEqual(targets, (indices + 10, indices + 20))
        _, (first, _) = batches.arrays.slice(2, 4)
        self.assertAllEqual(first, [12, 13])
        self.assertLen(batches.arrays, 8)

    @parameterized.parameters(
        ("same number of examples", [[1.0, 2.0], [1.0]], data.IIDBatches(2, 1)),
        ("same number of examples", [[], []], data.IIDBatches(2, 1)),
        ("x must be an array", [object(), [1.0]], data.IIDBatches(2, 1)),
        ("sampler must have a method", [[1.0], [1.0]], 32),
        ("sampler must draw", [[1.0], [1.0]], data.IIDBatches(5, 5)),
    )
    def test_refused(self, rule, arrays, sampler):
        with self.assertRaisesRegex(ValueError, f"{rule}.*Received"):
            x, y = (np.array(part) for part in arrays)
            data.ArrayBatches(x, y, sampler)(0)


if __name__ == "__main__":
    tf.test.main()
