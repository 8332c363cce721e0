"""Tests of the memory of tfbn.diagnostics.ActivationMeter."""

import numpy as np
import tensorflow as tf

from tfbn.diagnostics.activations import Activations
from tfbn.diagnostics.activations import FirstActivations
from tfbn.diagnostics.activations import LayerActivations


def _activations():
    rng = np.random.default_rng(0)
    return Activations(
        LayerActivations(
            name,
            mean=rng.normal(size=units),
            variance=np.array([np.nan, np.inf, *rng.uniform(size=units - 2)]),
            unit=1,
            percentiles=rng.normal(size=3),
            edges=rng.normal(size=5),
            counts=rng.integers(100, size=4),
        )
        for name, units in (("conv1", 4), ("logits", 3))
    )


class FirstActivationsTest(tf.test.TestCase):
    def assert_same(self, one, other):
        self.assertIsInstance(other, Activations)
        for a, b in zip(one, other, strict=True):
            self.assertEqual((a.name, a.unit), (b.name, b.unit))
            for name in ("mean", "variance", "percentiles", "edges", "counts"):
                # To the bit, and of the same dtype.
                np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
                self.assertEqual(getattr(a, name).dtype, getattr(b, name).dtype)

    def test_text_and_back(self):
        one, other = FirstActivations(), FirstActivations()
        one.activations = _activations()
        other.deserialize(one.serialize())
        self.assert_same(one.activations, other.activations)

    def test_nothing_yet(self):
        memory = FirstActivations()
        memory.activations = _activations()
        memory.deserialize(FirstActivations().serialize())
        self.assertIsNone(memory.activations)

    def test_in_a_checkpoint(self):
        one, other = FirstActivations(), FirstActivations()
        one.activations = _activations()
        path = tf.train.Checkpoint(memory=one).write(f"{self.get_temp_dir()}/memory")
        tf.train.Checkpoint(memory=other).read(path).assert_consumed()
        self.assert_same(one.activations, other.activations)


if __name__ == "__main__":
    tf.test.main()
