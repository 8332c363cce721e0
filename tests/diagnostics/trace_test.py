"""Tests of tfbn.diagnostics.hessian_trace, against dense float64 Hessians."""

import json

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.testing_utils import squared_error
from tfbn import diagnostics

# float32 products.
RTOL = 1e-4


def _quadratic(size=6, seed=0):
    """A model, a batch and the Hessian of |x w|^2 / 2 for w: x'x."""
    x = np.random.default_rng(seed).normal(size=(9, size)).astype("float32")
    inputs = keras.Input((size,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    return model, x, np.zeros([9, 1], "float32"), x.T.astype("float64") @ x


class HessianTraceTest(tf.test.TestCase, parameterized.TestCase):
    def test_hutchinson(self):
        model, x, y, hessian = _quadratic()
        found = diagnostics.hessian_trace(model, squared_error, x, y, products=400)
        self.assertEqual((found.products, found.size), (400, 6))
        self.assertLess(abs(found.trace - np.trace(hessian)), 3 * found.standard_error)
        # The variance of a sample is known.
        off_diagonal = hessian - np.diag(np.diag(hessian))
        expected = np.sqrt(2.0 * np.sum(off_diagonal**2) / 400)
        self.assertAllClose(found.standard_error, expected, rtol=0.15)
        self.assertAllClose(found.trace, np.mean(found.samples))

    def test_of_a_diagonal_every_sample_is_exact(self):
        values = np.array([[3.0], [-1.0], [0.5]], "float32")
        inputs = keras.Input((3,))
        model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
        found = diagnostics.hessian_trace(
            model,
            lambda y, p: 0.5 * tf.reduce_sum(y * tf.square(p)),
            tf.eye(3),
            values,
            products=3,
        )
        self.assertAllClose(found.samples, [2.5] * 3, rtol=RTOL)
        self.assertAllClose(found.standard_error, 0.0, atol=1e-6)

    def test_hutch_plus_plus_is_exact_where_the_subspace_is_all(self):
        model, x, y, hessian = _quadratic()
        found = diagnostics.hessian_trace(
            model, squared_error, x, y, method="hutch++", products=18
        )
        self.assertAllClose(found.trace, np.trace(hessian), rtol=RTOL)
        self.assertLess(found.standard_error, 1e-3)
        self.assertEqual(found.products, 18)

    def test_hutch_plus_plus_is_closer_with_the_same_products(self):
        # Two large eigenvalues of twenty.
        rng = np.random.default_rng(1)
        basis, _ = np.linalg.qr(rng.normal(size=(20, 20)))
        values = np.concatenate([[100.0, 50.0], np.linspace(0.1, 1.0, 18)])
        x = (np.sqrt(values)[:, None] * basis.T).astype("float32")
        inputs = keras.Input((20,))
        model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
        runs = {
            method: diagnostics.hessian_trace(
                model, squared_error, x, np.zeros([20, 1]), method=method, products=15
            )
            for method in ("hutchinson", "hutch++")
        }
        for run in runs.values():
            error = abs(run.trace - values.sum())
            self.assertLess(error, 4 * run.standard_error + 1e-3)
        ratio = runs["hutch++"].standard_error / runs["hutchinson"].standard_error
        self.assertLess(ratio, 0.1)

    def test_group_and_seed(self):
        # With y = 0 and x = I, L = |A B|^2 / 2: the block of A is kron(I, BB').
        inputs = keras.Input((3,))
        layers = [keras.layers.Dense(3, use_bias=False, name=name) for name in "ab"]
        model = keras.Model(inputs, layers[1](layers[0](inputs)))
        b = layers[1].get_weights()[0].astype("float64")
        options = {"group": "a", "method": "hutch++", "products": 27}
        runs = [
            diagnostics.hessian_trace(
                model, squared_error, np.eye(3), np.zeros([3, 3]), seed=s, **options
            )
            for s in (0, 0, 1)
        ]
        self.assertEqual(runs[0].size, 9)
        self.assertAllClose(runs[0].trace, 3.0 * np.trace(b @ b.T), rtol=RTOL)
        self.assertAllEqual(runs[0].samples, runs[1].samples)
        self.assertNotAllEqual(runs[0].samples, runs[2].samples)

    @parameterized.parameters("hutchinson", "hutch++")
    def test_loss_that_is_not_finite(self, method):
        model, x, y, _ = _quadratic()
        found = diagnostics.hessian_trace(
            model,
            lambda y_true, y_pred: squared_error(y_true, y_pred) + np.inf,
            x,
            y,
            method=method,
            products=6,
        )
        self.assertAllEqual(np.isnan(found[:2]), [True, True])
        json.dumps(found.trace)

    @parameterized.parameters(
        ({"products": 1}, "products=1"),
        ({"products": 5, "method": "hutch++"}, "products=5"),
        ({"method": "hutch"}, "method='hutch'"),
        ({"seed": -1}, "seed=-1"),
        ({"group": "c"}, "group='c'"),
        ({"y": None}, "y must be an array.*y=None"),
    )
    def test_errors(self, changed, message):
        model, x, y, _ = _quadratic()
        arguments = {"x": x, "y": y, **changed}
        with self.assertRaisesRegex(ValueError, message):
            diagnostics.hessian_trace(model, squared_error, **arguments)


if __name__ == "__main__":
    tf.test.main()
