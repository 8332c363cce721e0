"""Tests of the noise on activations."""

import re

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops

# For one or two float32 operations on numbers near 1.
ROUNDING = 5e-7
# Of the noise: numbers near 1 that went through some six float32 operations, with
# fused multiply-adds or without.
SAME_NOISE = 1e-5
NOISE = {
    "mean_range": 0.5,
    "stddev_max": 1.25,
    "mean_jitter": 0.1,
    "stddev_jitter": 0.1,
}


def perturb(x, seed=(3, 4), axis=1, mode="eager", **changes):
    def call(x):
        return ops.perturb(x, tf.constant(seed), axis=axis, **{**NOISE, **changes})

    return testing_utils.in_mode(call, mode)(tf.constant(x)).numpy()


class PerturbTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((6, 5), (4, 5, 3, 3))
    def test_same_noise_in_every_mode(self, *shape):
        x = testing_utils.random_batch(np.random.default_rng(0), shape, axis=1)
        eager, graph, xla = (perturb(x, mode=m) for m in testing_utils.MODES)
        self.assertLess(testing_utils.relative_error(graph, eager), SAME_NOISE)
        self.assertLess(testing_utils.relative_error(xla, eager), SAME_NOISE)

    @parameterized.product(shape=((6, 5), (4, 5, 3, 3)), target=("gpu", "tpu"))
    def test_same_noise_compiled_for_an_accelerator(self, shape, target):
        x = testing_utils.random_batch(np.random.default_rng(0), shape, axis=1)
        eager = perturb(x)
        with ops.compiling_for(target):
            compiled = perturb(x, mode="xla")
        self.assertLess(testing_utils.relative_error(compiled, eager), SAME_NOISE)

    @parameterized.parameters("gpu", "tpu")
    def test_compiled_for_an_accelerator_no_tensor_of_integers_is_stored(self, target):
        """None that is generated, and none that the compiler made a constant of."""

        @tf.function(jit_compile=True)
        def call(x, seed):
            return ops.perturb(x, seed, axis=1, **NOISE)

        with ops.compiling_for(target):
            specs = tf.TensorSpec([60, 7]), tf.TensorSpec([2], tf.int32)
            text = call.experimental_get_compiler_ir(*specs)(stage="optimized_hlo")
        # XLA's generator serves the seeds and what is drawn for each channel.
        stored = r"= \w+\[([\d,]+)\]\S* (?:constant|rng-bit-generator)\("
        shapes = re.findall(stored, text)
        self.assertNotEmpty(shapes)
        for shape in shapes:
            self.assertLess(np.prod([int(size) for size in shape.split(",")]), 100)

    def test_replicas_share_distributions(self):
        """A channel's, of which the elements of each replica are other samples."""
        strategy = testing_utils.two_cpus_strategy()
        x = np.ones((4, 3), "float32")

        @tf.function
        def on_replicas(**changes):
            return strategy.run(
                lambda: ops.perturb(x, (3, 4), axis=1, **NOISE | changes)
            )

        one, other = on_replicas(mean_jitter=0.0, stddev_jitter=0.0).values
        self.assertAllEqual(one, other)
        self.assertAllEqual(one, perturb(x, mean_jitter=0.0, stddev_jitter=0.0))
        one, other = on_replicas().values
        self.assertFalse(np.any(one.numpy() == other.numpy()))

    @parameterized.parameters((1, 1), (3, 5), (0, 5))
    def test_an_odd_number_of_elements_and_none(self, *shape):
        x = np.ones(shape, "float32")
        eager, xla = (perturb(x, mode=mode) for mode in ("eager", "xla"))
        self.assertEqual(eager.shape, shape)
        self.assertLen(np.unique(eager), x.size)
        self.assertAllClose(xla, eager, rtol=SAME_NOISE, atol=SAME_NOISE)

    def test_elements_are_independent(self):
        x = np.ones((20_000, 1), "float32")
        scale = perturb(x, mean_range=0.0, mean_jitter=0.0, stddev_max=1.0) - 1.0
        # Where samples come in pairs, halves share a radius: it shows in the squares.
        one, other = np.split(scale.ravel().astype("float64"), 2)
        for power in (1, 2):
            correlation = np.corrcoef(one**power, other**power)[0, 1]
            self.assertLess(abs(correlation), 4 / np.sqrt(len(one)))

    def test_another_seed_gives_other_noise(self):
        x = np.ones((3, 2), "float32")
        results = [perturb(x, seed) for seed in ((0, 0), (0, 1), (1, 0), (3, 4))]
        for i, one in enumerate(results):
            for other in results[:i]:
                self.assertNotAllClose(one, other)

    def test_without_jitter_a_channel_is_scaled_and_shifted(self):
        x = testing_utils.random_batch(np.random.default_rng(0), (6, 5, 4), axis=1)
        y = perturb(x, mean_jitter=0.0, stddev_jitter=0.0)
        for channel in range(5):
            (scale, shift), error, *_ = np.polyfit(
                x[:, channel].ravel(), y[:, channel].ravel(), 1, full=True
            )
            self.assertLess(np.max(error), 1e-9)
            self.assertBetween(scale, 1.0, 1.25)
            self.assertBetween(shift, -0.5, 0.5)

    def test_nothing_to_add(self):
        x = testing_utils.random_batch(np.random.default_rng(0), (6, 5))
        y = perturb(
            x, mean_range=0.0, stddev_max=1.0, mean_jitter=0.0, stddev_jitter=0.0
        )
        self.assertAllClose(y, x, rtol=ROUNDING, atol=0.0)

    def test_gradient_is_the_scale(self):
        x = tf.ones((50, 2))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = ops.perturb(x, tf.constant([1, 2]), axis=1, **NOISE)
        scale = tape.gradient(y, x)
        shift = ops.perturb(0.0 * x, tf.constant([1, 2]), axis=1, **NOISE)
        self.assertAllClose(y, scale * x + shift, rtol=SAME_NOISE)

    @parameterized.parameters("float16", "bfloat16", "float64")
    def test_keeps_the_dtype(self, dtype):
        self.assertEqual(perturb(tf.ones([4, 3], dtype)).dtype, dtype)


if __name__ == "__main__":
    tf.test.main()
