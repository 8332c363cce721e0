"""Tests of tfbn.plots.curvature."""

import math

import tensorflow as tf

from tests.plots.helpers import crosses
from tests.plots.helpers import legend
from tests.plots.helpers import titles
from tests.plots.helpers import train
from tfbn import plots

_GREY = "0.4"


def _records(*eigenvalues, layers=()):
    """Returns records at the steps 10, 20, ...; layer i has 1/i of the eigenvalue."""
    return [
        {
            "step": 10 * (t + 1),
            "kind": "curvature",
            "eigenvalue": value,
            "layers": [
                {"name": name, "eigenvalue": value / i}
                for i, name in enumerate(layers, start=1)
            ],
        }
        for t, value in enumerate(eigenvalues)
    ]


def _dashed(axis):
    return [line for line in axis.get_lines() if line.get_linestyle() == "--"]


class CurvatureTest(tf.test.TestCase):
    def test_draws_the_records(self):
        figure = plots.curvature({"a": _records(5.0, 20.0)})
        (axis,) = figure.axes
        (line,) = axis.get_lines()
        self.assertAllEqual(line.get_xydata(), [[10, 5.0], [20, 20.0]])
        self.assertEqual(
            (axis.get_title(), axis.get_yscale()), ("all parameters", "log")
        )
        self.assertEqual(legend(figure), ["a"])

    def test_negative_eigenvalues_are_drawn_too(self):
        (axis,) = plots.curvature({"a": _records(-5.0, 20.0, 0.0)}).axes
        self.assertEqual(axis.get_yscale(), "symlog")
        line = next(li for li in axis.get_lines() if li.get_marker() == "o")
        self.assertAllEqual(line.get_ydata(), [-5.0, 20.0, 0.0])

    def test_edge_of_stability(self):
        rows = train([1.0, 1.0, 1.0], learning_rate=[0.1, 0.1, 0.05])
        figure = plots.curvature({"a": _records(5.0, 20.0) + rows})
        (edge,) = _dashed(figure.axes[0])
        self.assertAllClose(edge.get_xydata(), [[10, 20.0], [20, 20.0], [30, 40.0]])
        self.assertEqual(edge.get_color(), figure.axes[0].get_lines()[0].get_color())
        self.assertEqual(legend(figure), ["a", "2 / learning rate"])

    def test_shared_edge_is_grey_and_drawn_once(self):
        rates = {"a": 0.1, "b": 0.1, "c": 0.5, "not_measured": 0.2}
        runs = {k: train([1.0], learning_rate=[rate]) for k, rate in rates.items()}
        for label in ("a", "b", "c"):
            runs[label] += _records(5.0, 6.0)
        (axis,) = plots.curvature(runs).axes
        edges = {line.get_ydata()[0]: line.get_color() for line in _dashed(axis)}
        own = axis.get_lines()[2].get_color()
        self.assertEqual(edges, {20.0: _GREY, 4.0: own})

    def test_rates_of_zero_have_no_edge(self):
        rows = train([1.0, 1.0], learning_rate=[0.0, math.nan])
        figure = plots.curvature({"a": _records(5.0) + rows})
        self.assertEqual(legend(figure), ["a"])

    def test_layers(self):
        runs = {"a": _records(6.0, 12.0, layers=("one", "two", "three"))}
        figure = plots.curvature(runs)
        self.assertEqual(titles(figure), ["all parameters", "two", "three"])
        self.assertAllEqual(figure.axes[1].get_lines()[0].get_ydata(), [3.0, 6.0])
        figure = plots.curvature(runs, ["one"], log_steps=True)
        self.assertEqual(titles(figure), ["all parameters", "one"])
        self.assertEqual(figure.axes[0].get_xscale(), "log")
        self.assertEqual(titles(plots.curvature(runs, [])), ["all parameters"])
        with self.assertRaisesRegex(ValueError, "one, two, three.*layers=four"):
            plots.curvature(runs, ["four"])
        with self.assertRaisesRegex(ValueError, "Received: layers=four"):
            plots.curvature({"a": _records(6.0)}, ["four"])

    def test_diverged_run(self):
        figure = plots.curvature({"a": _records(5.0, 9.0, math.nan)})
        self.assertEqual(legend(figure), ["a (diverged)"])
        self.assertEqual(crosses(figure.axes[0]), [(20, 9.0)])

    def test_no_records(self):
        with self.assertRaisesRegex(ValueError, "No run has eigenvalues"):
            plots.curvature({"a": train([1.0], learning_rate=[0.1])})


if __name__ == "__main__":
    tf.test.main()
