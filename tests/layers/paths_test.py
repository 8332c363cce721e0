"""Tests of BatchNorm and BatchRenorm on each path of ops.serving_path.

The other tests' batches are small, which one path serves; large ones of float32 have
another, and what XLA compiles is different code again.
"""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils

# float32 against float64: the exactness that tfbn promises.
EXACT = 2e-6
# Second derivatives: float32, some ten more operations; float64 against differences.
PRODUCTS = {"float32": 1e-5, "float64": 1e-9}

EPSILON = 1e-3
RMAX, DMAX = 1.125, 0.25  # numbers that float32 has
LAYERS = {
    "BatchNorm": tfbn.BatchNorm,
    "BatchRenorm": lambda **kw: tfbn.BatchRenorm(rmax=RMAX, dmax=DMAX, **kw),
}
SMALL = (6, 5, 4)
LARGE = (4096, 8)
CASES = (
    ("eager", SMALL),
    ("graph", SMALL),
    ("xla", SMALL),
    ("eager", LARGE),
    ("graph", LARGE),
)


def make(name, shape, **options):
    layer = LAYERS[name](epsilon=EPSILON, **options)
    layer.build(shape)
    testing_utils.set_random_state(layer, np.random.default_rng(1))
    return layer


def reference(layer, x):
    """The NumPy reference with the weights of `layer`."""
    before = {k: v.astype("float64") for k, v in testing_utils.state(layer).items()}
    result = testing_utils.Renorm(
        testing_utils.channels_last(x), EPSILON, before["gamma"], before["beta"]
    )
    if "moving_stddev" in before:
        result.correct(before["moving_mean"], before["moving_stddev"], RMAX, DMAX)
    return result


class PathsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(name=tuple(LAYERS), case=CASES)
    def test_training(self, name, case):
        mode, shape = case
        rng = np.random.default_rng(0)
        x = testing_utils.random_batch(rng, shape)
        upstream = rng.normal(size=shape).astype("float32")
        layer = make(name, shape, momentum=0.0)
        expected = reference(layer, x)
        y, gradients = testing_utils.train_call(layer, x, upstream, mode=mode)
        dx, *rest = expected.gradients(testing_utils.channels_last(upstream))
        for actual, wanted in zip(
            (y, *gradients, layer.moving_mean, layer.moving_variance),
            (
                expected.output.reshape(shape),
                dx.reshape(shape),
                *rest,
                expected.mean,
                expected.variance,
            ),
            strict=True,
        ):
            self.assertLess(testing_utils.relative_error(actual, wanted), EXACT)

    @parameterized.product(name=tuple(LAYERS), case=CASES)
    def test_a_non_finite_activation_leaves_the_averages(self, name, case):
        mode, shape = case
        layer = make(name, shape)
        call = testing_utils.trainer(layer, mode=mode)
        x = testing_utils.random_batch(np.random.default_rng(0), shape)
        before = testing_utils.state(layer)
        x[3, ..., 1] = np.nan
        x[2, ..., 2] = -np.inf
        y, _ = call(tf.constant(x), tf.ones(shape))
        after = testing_utils.state(layer)
        if "step" in before:
            self.assertEqual(after.pop("step"), before.pop("step") + 1)
        testing_utils.assert_same_state(after, before)
        self.assertAllInSet(tf.math.is_finite(y[..., 0]), [True])
        self.assertAllInSet(tf.math.is_nan(y[3, ..., 1]), [True])

    @parameterized.parameters(
        ("BatchNorm", "xla", SMALL, "float32"),
        ("BatchNorm", "eager", LARGE, "float32"),
        ("BatchRenorm", "eager", SMALL, "float64"),
        ("BatchRenorm", "graph", LARGE, "float32"),
    )
    def test_second_derivatives(self, name, mode, shape, dtype):
        """With r and d for constants; they do not move, for the averages do not."""
        rng = np.random.default_rng(0)
        x = testing_utils.random_batch(rng, shape, dtype="float64")
        weight, direction = rng.normal(size=(2, *shape))
        layer = make(name, shape, momentum=1.0, dtype=dtype)
        center = reference(layer, x)

        def loss(x):
            return tf.reduce_sum(
                tf.constant(weight, dtype) * tf.sin(layer(x, training=True))
            )

        def gradient(x):
            moved = testing_utils.Renorm(
                testing_utils.channels_last(x),
                EPSILON,
                center.gamma,
                center.beta,
                center.r,
                center.d,
            )
            upstream = testing_utils.channels_last(weight) * np.cos(moved.output)
            return [moved.gradients(upstream)[0].reshape(shape)]

        (expected,) = testing_utils.directional_difference(gradient, [x], [direction])
        call = testing_utils.hessian_vector_products(loss, mode)
        for (product,) in call(
            [tf.constant(x, dtype)], [tf.constant(direction, dtype)]
        ):
            error = testing_utils.relative_error(product, expected)
            self.assertLess(error, PRODUCTS[dtype])


if __name__ == "__main__":
    tf.test.main()
