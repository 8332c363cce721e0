"""Tests of random integers that each element computes on its own."""

import tensorflow as tf
from absl.testing import parameterized

from tfbn.ops import philox


def _of_tensorflow(shape, seed):
    return tf.random.stateless_uniform(
        shape, seed, minval=None, maxval=None, dtype=tf.int32, alg="philox"
    )


def _drawn(shape, seed, target):
    (bits,) = philox.random_bits(shape, [seed], target)
    return bits


class PhiloxTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        # Whole blocks of four, parts of one, one element and none.
        shape=((4, 3, 8), (7,), (1,), (0, 4), (3, 1, 5, 7)),
        seed=((3, 4), (0, 0), (-1, 2**31 - 1), (5, -(2**31))),
        target=("gpu", "tpu"),
    )
    def test_those_of_tensorflow(self, shape, seed, target):
        seed = tf.constant(seed, tf.int32)
        expected = _of_tensorflow(shape, seed)
        self.assertAllEqual(expected, _drawn(shape, seed, target))

    @parameterized.product(seed=((3, 4), (-7, 5)), target=("gpu", "tpu"))
    def test_under_xla(self, seed, target):
        seed = tf.constant(seed, tf.int32)
        compiled = tf.function(
            lambda seed: _drawn((5, 6), seed, target), jit_compile=True
        )
        self.assertAllEqual(_of_tensorflow((5, 6), seed), compiled(seed))

    @parameterized.parameters("gpu", "tpu")
    def test_of_several_seeds(self, target):
        seeds = tf.constant([(3, 4), (0, -1), (7, 2**30)])
        drawn = philox.random_bits((3, 5), tf.unstack(seeds), target)
        self.assertLen(drawn, 3)
        for seed, bits in zip(seeds, drawn, strict=True):
            self.assertAllEqual(_of_tensorflow((3, 5), seed), bits)

    def test_the_last_places_of_a_large_tensor(self):
        # Block 2^18 and beyond: more than 16 bits of the counter.
        shape = (2**20 + 3,)
        seed = tf.constant([1, 2])
        expected = _of_tensorflow(shape, seed)
        for target in ("gpu", "tpu"):
            computed = _drawn(shape, seed, target)
            self.assertAllEqual(expected[-9:], computed[-9:])


if __name__ == "__main__":
    tf.test.main()
