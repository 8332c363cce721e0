"""Tests of the second derivatives of batch_norm and normalize.

Products of the Hessian with a vector, against central differences of the float64
gradients of the NumPy reference.
"""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import ops

EPSILON = 1e-3
# float32: some ten more operations than a gradient has. float64: the differences, of
# numbers of 1e-16 over a step of 1e-5.
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}
# Large enough for the kernels.
LARGE = (8192, 8)


class Problem:
    """L = sum(weight * sin(y)) of batch_norm with fixed r and d, and directions.

    Args:
        groups: int, the number of virtual batches.
        masked: bool, with a mask of the first axis.
    """

    def __init__(self, shape, groups=1, masked=False):
        self.epsilon = EPSILON
        rng = np.random.default_rng(0)
        channels = shape[-1]
        x = testing_utils.random_batch(rng, shape, dtype="float64")
        gamma, beta = rng.uniform(0.5, 2.0, size=(2, channels))
        self.arguments = [x, gamma, beta]
        self.directions = [rng.normal(size=a.shape) for a in self.arguments]
        self.weight = rng.normal(size=shape)
        self.r = rng.uniform(0.7, 1.4, size=(groups, channels))
        self.d = rng.uniform(-0.5, 0.5, size=(groups, channels))
        self.mask = None
        if masked:
            self.mask = rng.uniform(size=(shape[0], *[1] * (len(shape) - 1))) < 0.7

    def loss(self, x, gamma, beta, **options):
        """As TensorFlow has it, of tensors of one dtype."""

        def correction(statistics):
            shape = tf.shape(statistics.scale)
            r, d = (tf.constant(c, x.dtype) for c in (self.r, self.d))
            return tf.reshape(r, shape), tf.reshape(d, shape)

        y, _ = ops.batch_norm(
            x,
            gamma,
            beta,
            axis=len(x.shape) - 1,
            epsilon=self.epsilon,
            correction=correction,
            mask=self.mask,
            **options,
        )
        return tf.reduce_sum(tf.constant(self.weight, x.dtype) * tf.sin(y))

    def gradients(self, x, gamma, beta):
        keep = self.mask
        if keep is not None:
            keep = np.broadcast_to(keep, (*x.shape[:-1], 1)).reshape(-1)
        groups = len(self.r)
        reference = testing_utils.VirtualBatches(
            testing_utils.channels_last(x), groups, self.epsilon, gamma, beta, keep
        )
        for group, r, d in zip(reference.groups, self.r, self.d, strict=True):
            group.r, group.d = r, d
        upstream = testing_utils.channels_last(self.weight) * np.cos(reference.output)
        dx, *rest = reference.gradients(upstream)
        return [dx.reshape(x.shape), *rest]

    @functools.cached_property
    def products(self):
        return testing_utils.directional_difference(
            self.gradients, self.arguments, self.directions
        )


class SecondDerivativesTest(tf.test.TestCase, parameterized.TestCase):
    def assert_products(self, problem, mode, dtype, loss=None, **options):
        loss = functools.partial(loss or problem.loss, **options)
        call = testing_utils.hessian_vector_products(loss, mode)
        both = call(
            *(
                [tf.constant(a, dtype) for a in values]
                for values in (problem.arguments, problem.directions)
            )
        )
        for way, products in zip(("tapes", "forward"), both, strict=True):
            for name, actual, expected in zip(
                ("x", "gamma", "beta"), products, problem.products, strict=True
            ):
                error = testing_utils.relative_error(actual, expected)
                self.assertLess(error, TOLERANCE[dtype], f"{way}, {name}")

    @parameterized.parameters(("eager", "float64"), ("xla", "float32"))
    def test_formula(self, mode, dtype):
        self.assert_products(Problem((6, 5, 4)), mode, dtype)

    @parameterized.parameters("gpu", "tpu")
    def test_one_pass(self, target):
        with ops.compiling_for(target):
            self.assert_products(Problem((64, 16, 8)), "xla", "float32")

    @parameterized.parameters(("eager", "float64"), ("xla", "float32"))
    def test_centered_l2_norm(self, mode, dtype):
        """It is the standard deviation."""
        problem = Problem((6, 5, 4))
        problem.epsilon = 1e-12
        problem.r, problem.d = np.ones([1, 4]), np.zeros([1, 4])

        def loss(x, gamma, beta):
            y, _ = ops.lp_batch_norm(
                x, gamma, beta, axis=2, epsilon=1e-12, order=2, centered=True
            )
            return tf.reduce_sum(tf.constant(problem.weight, x.dtype) * tf.sin(y))

        self.assert_products(problem, mode, dtype, loss)

    def test_kernels(self):
        self.assert_products(Problem(LARGE), "graph", "float32")

    def test_no_conditional_is_derived(self):
        """TensorFlow makes graphs of that which fail in networks of some size."""
        problem = Problem(LARGE)
        arguments, directions = (
            [tf.constant(a, "float32") for a in values]
            for values in (problem.arguments, problem.directions)
        )

        @tf.function
        def products(arguments, directions):
            with tf.GradientTape() as outer:
                outer.watch(arguments)
                with tf.GradientTape() as inner:
                    inner.watch(arguments)
                    loss = problem.loss(*arguments)
                gradients = inner.gradient(loss, arguments)
            return outer.gradient(gradients, arguments, output_gradients=directions)

        graph = products.get_concrete_function(arguments, directions).graph
        names = [f.signature.name for f in graph.as_graph_def().library.function]
        self.assertTrue([name for name in names if "cond_true" in name])  # the kernels'
        self.assertEmpty([name for name in names if "_grad_" in name])

    def test_kernels_with_a_large_mean(self):
        """They read a shifted copy then."""
        problem = Problem(LARGE)
        # Rounded to the numbers that float32 has.
        x = (problem.arguments[0] + 100.0).astype("float32")
        problem.arguments[0] = x.astype("float64")
        self.assert_products(problem, "eager", "float32")

    def test_masked_virtual_batches(self):
        problem = Problem((6, 5, 4), groups=3, masked=True)
        self.assert_products(problem, "eager", "float64", virtual_batch_size=2)

    @parameterized.product(mode=("eager", "graph"), shape=((8, 4), LARGE))
    def test_forward_mode_of_a_weight(self, mode, shape):
        """No accumulator watches x then."""
        problem = Problem(shape)
        x, gamma, beta = (tf.constant(a, "float32") for a in problem.arguments)
        direction = problem.directions[1]
        problem.directions = [np.zeros_like(x), direction, np.zeros_like(beta)]

        def products(gamma, direction):
            with tf.autodiff.ForwardAccumulator(gamma, direction) as accumulator:
                with tf.GradientTape() as tape:
                    tape.watch([x, gamma])
                    loss = problem.loss(x, gamma, beta)
                gradients = tape.gradient(loss, [x, gamma])
            return accumulator.jvp(gradients)

        call = testing_utils.in_mode(products, mode)
        both = call(gamma, tf.constant(direction, "float32"))
        for actual, expected in zip(both, problem.products[:2], strict=True):
            error = testing_utils.relative_error(actual, expected)
            self.assertLess(error, TOLERANCE["float32"])

    @parameterized.parameters(((6, 5, 4), "graph"), (LARGE, "eager"))
    def test_plain_tapes_around_a_function(self, shape, mode):
        """The function's own gradient is traced when it is asked for."""
        problem = Problem(shape)
        loss = testing_utils.in_mode(problem.loss, mode)
        arguments, (direction, *_) = (
            [tf.constant(a, "float32") for a in values]
            for values in (problem.arguments, problem.directions)
        )
        x = arguments[0]
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = loss(*arguments)
            product = tf.reduce_sum(inner.gradient(value, x) * direction)
        problem.directions[1:] = [np.zeros_like(d) for d in problem.directions[1:]]
        error = testing_utils.relative_error(
            outer.gradient(product, x), problem.products[0]
        )
        self.assertLess(error, TOLERANCE["float32"])


class InferenceTest(tf.test.TestCase, parameterized.TestCase):
    """Of L = sum(sin(y)), with y = gamma (x - mean) / scale + beta, by hand."""

    @parameterized.parameters(
        ((6, 4), "eager", "float64"),
        ((6, 4), "xla", "float32"),
        (LARGE, "graph", "float32"),
    )
    def test_products(self, shape, mode, dtype):
        rng = np.random.default_rng(0)
        channels = shape[-1]
        x, v = rng.normal(size=(2, *shape))
        gamma, scale, vg = rng.uniform(0.5, 2.0, size=(3, channels))
        mean, beta = rng.normal(size=(2, channels))

        def loss(x, gamma):
            y = ops.normalize(
                x,
                *(tf.constant(c, dtype) for c in (mean, scale)),
                gamma,
                tf.constant(beta, dtype),
                axis=1,
            )
            return tf.reduce_sum(tf.sin(y))

        def gradients(x, gamma):
            normalized = (x - mean) / scale
            slope = np.cos(gamma * normalized + beta)
            return [slope * gamma / scale, np.sum(slope * normalized, axis=0)]

        expected = testing_utils.directional_difference(gradients, [x, gamma], [v, vg])
        call = testing_utils.hessian_vector_products(loss, mode)
        both = call(
            *([tf.constant(a, dtype) for a in pair] for pair in ((x, gamma), (v, vg)))
        )
        for products in both:
            for actual, wanted in zip(products, expected, strict=True):
                error = testing_utils.relative_error(actual, wanted)
                self.assertLess(error, TOLERANCE[dtype])


if __name__ == "__main__":
    tf.test.main()
