"""Tests of tfbn.plots.hessian_spectrum."""

import math

import numpy as np
import tensorflow as tf

from tests.plots.helpers import legend
from tfbn import plots

_NODES = [-1.0, 0.0, 4.0, 9.0]
_WEIGHTS = [0.01, 0.9, 0.08, 0.01]


def _records(*nodes, weights=_WEIGHTS):
    """Returns records at the steps 10, 20, ..."""
    return [
        {"step": 10 * (t + 1), "kind": "curvature", "nodes": n, "weights": weights}
        for t, n in enumerate(nodes)
    ]


def _density(x, nodes, weights, deviation):
    """Returns the sum of the bells, written out."""
    total = np.zeros_like(x)
    for node, weight in zip(nodes, weights, strict=True):
        bell = np.exp(-((x - node) ** 2) / (2 * deviation**2))
        total += weight * bell / math.sqrt(2 * math.pi * deviation**2)
    return total


class HessianSpectrumTest(tf.test.TestCase):
    def test_draws_the_density_of_the_last_record(self):
        figure = plots.hessian_spectrum({"a": _records([1.0, 2.0, 3.0, 4.0], _NODES)})
        (axis,) = figure.axes
        (line,) = axis.get_lines()
        x, y = line.get_data()
        self.assertAllClose(y, _density(x, _NODES, _WEIGHTS, 0.1), rtol=1e-9)
        self.assertAllClose(np.trapezoid(y, x), 1.0, rtol=1e-3)
        self.assertAllClose((x[0], x[-1]), (-1.5, 9.5))
        self.assertContainsSubset(_NODES, x.tolist())
        self.assertEqual((axis.get_yscale(), axis.get_xscale()), ("log", "linear"))
        low, high = axis.get_ylim()
        self.assertTrue(y.max() < high < 10 * y.max() and 1e-9 < low / y.max() < 1e-6)
        self.assertEqual(legend(figure), ["a, step 20"])

    def test_chosen_step_and_width(self):
        runs = {"a": _records(_NODES, [1.0, 2.0, 3.0, 4.0])}
        figure = plots.hessian_spectrum(runs, step=15, width=0.05)
        x, y = figure.axes[0].get_lines()[0].get_data()
        self.assertAllClose(y, _density(x, _NODES, _WEIGHTS, 0.5), rtol=1e-9)
        self.assertEqual(legend(figure), ["a, step 10"])

    def test_weights_need_not_sum_to_one(self):
        runs = {"a": _records(_NODES, weights=[2.0, 2.0, 2.0, 2.0])}
        x, y = plots.hessian_spectrum(runs).axes[0].get_lines()[0].get_data()
        self.assertAllClose(np.trapezoid(y, x), 1.0, rtol=1e-3)

    def test_record_that_is_not_finite_is_passed_over(self):
        runs = {"a": _records(_NODES, [math.nan] * 4), "b": _records(_NODES)}
        figure = plots.hessian_spectrum(runs)
        self.assertLen(figure.axes[0].get_lines(), 2)
        self.assertEqual(legend(figure), ["a, step 10", "b, step 10"])

    def test_very_different_ranges_have_a_logarithmic_axis(self):
        runs = {"a": _records(_NODES), "b": _records([100 * n for n in _NODES])}
        self.assertEqual(plots.hessian_spectrum(runs).axes[0].get_xscale(), "symlog")

    def test_one_node(self):
        runs = {"a": _records([3.0], weights=[1.0])}
        x, y = plots.hessian_spectrum(runs).axes[0].get_lines()[0].get_data()
        self.assertAllClose(x[y.argmax()], 3.0)

    def test_no_records(self):
        for rows in ([], _records([]), _records([math.nan] * 4)):
            with self.assertRaisesRegex(ValueError, "No run has nodes"):
                plots.hessian_spectrum({"a": rows})
        with self.assertRaisesRegex(ValueError, "No run has nodes"):
            plots.hessian_spectrum({"a": _records(_NODES)}, step=5)


if __name__ == "__main__":
    tf.test.main()
