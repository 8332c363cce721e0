"""Tests of tfbn.diagnostics.hessian.

Against a closed form, and differences of float64 gradients of the live model.
"""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import squared_error
from tfbn import diagnostics
from tfbn.diagnostics import hessian

# float32 products.
RTOL = 1e-5
# Central differences of float64 gradients, with steps of 1e-5.
DIFFERENCES = 1e-7
# float16's rounding errors, a few.
HALF = 5e-3


class VectorProductTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        keras.utils.set_random_seed(1)
        self.rng = np.random.default_rng(0)

    def test_closed_form_of_a_linear_layer(self):
        # L = |XW - Y|^2 / 2: the Hessian times V is X'XV, whatever W and Y are.
        x = self.rng.normal(size=(9, 4)).astype("float32")
        y = self.rng.normal(size=(9, 3)).astype("float32")
        v = self.rng.normal(size=(4, 3)).astype("float32")
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        value, (product,) = self._product(model, x, y, [v], indices=[0])
        self.assertAllClose(product, x.T @ (x @ v), rtol=RTOL, atol=1e-4)
        self.assertAllClose(value, squared_error(y, model(x)), rtol=RTOL)

    @parameterized.named_parameters(
        ("ours", tfbn.BatchNorm),
        ("keras", keras.layers.BatchNormalization),
        ("groups", lambda **kwargs: keras.layers.GroupNormalization(2, **kwargs)),
    )
    def test_normalization_equals_finite_differences(self, norm):
        layers = [
            keras.layers.Dense(4, dtype="float64"),
            norm(dtype="float64"),
            keras.layers.Activation("tanh", dtype="float64"),
            keras.layers.Dense(2, dtype="float64"),
        ]
        model = keras.Sequential([keras.Input((3,), dtype="float64"), *layers])
        x, y = self.rng.normal(size=(8, 3)), self.rng.normal(size=(8, 2))
        variables = model.trainable_variables
        vectors = [self.rng.normal(size=v.shape) for v in variables]
        indices = list(range(len(variables)))
        _, products = self._product(model, x, y, vectors, indices)
        # A block alone is what is left if the other parts of the vector are 0.
        alone = [v if i in (2, 3) else 0.0 * v for i, v in enumerate(vectors)]
        _, block = self._product(model, x, y, vectors[2:4], indices=[2, 3])
        values = [v.numpy() for v in variables]
        for wanted, found, places in (
            (vectors, products, indices),
            (alone, block, [2, 3]),
        ):
            ends = []
            for step in (1e-5, -1e-5):
                for variable, value, vector in zip(
                    variables, values, wanted, strict=True
                ):
                    variable.assign(value + step * vector)
                with tf.GradientTape() as tape:
                    loss = squared_error(y, model(x, training=True))
                ends.append(tape.gradient(loss, [v.value for v in variables]))
            for i, product in zip(places, found, strict=True):
                expected = (ends[0][i] - ends[1][i]) / 2e-5
                size = np.max(np.abs(expected))
                self.assertAllClose(product, expected, atol=DIFFERENCES * (1 + size))

    def test_small_derivatives_in_float16(self):
        x = self.rng.normal(size=(8, 4)).astype("float32")
        v = self.rng.normal(size=(4, 3)).astype("float32")
        v /= np.linalg.norm(v)
        dense = keras.layers.Dense(3, use_bias=False, dtype="mixed_float16")
        model = keras.Sequential([keras.Input((4,)), dense])

        def small(y_true, y_pred):
            return 1e-6 * squared_error(y_true, tf.cast(y_pred, tf.float32))

        _, (product,) = self._product(model, x, np.zeros([8, 3]), [v], [0], small)
        expected = 1e-6 * (x.T @ (x @ v))
        size = np.max(np.abs(expected))
        self.assertAllClose(product, expected, rtol=0.0, atol=HALF * size)

    def test_moments_are_put_back(self):
        original = tf.nn.moments
        seen = []

        def loss(y_true, y_pred):
            seen.append(tf.nn.moments)
            return squared_error(y_true, y_pred)

        def fails(y_true, y_pred):
            raise RuntimeError("no loss")

        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        x, y, v = np.ones([3, 2]), np.ones([3, 1]), [np.ones([2, 1], "float32")]
        self._product(model, x, y, v, [0], loss)
        self.assertIsNot(seen[0], original)
        self.assertIs(tf.nn.moments, original)
        with self.assertRaisesRegex(RuntimeError, "no loss"):
            self._product(model, x, y, v, [0], fails)
        self.assertIs(tf.nn.moments, original)

    def _product(self, model, x, y, vectors, indices, loss=squared_error):
        return hessian.vector_product(
            diagnostics.LossFunction(model, loss),
            indices,
            diagnostics.snapshot(model),
            tf.constant(x),
            tf.constant(y),
            [tf.constant(v) for v in vectors],
        )


if __name__ == "__main__":
    tf.test.main()
