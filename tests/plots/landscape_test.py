"""Tests of tfbn.plots.landscape."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.plots.helpers import crosses
from tests.plots.helpers import legend
from tests.plots.helpers import notes
from tests.plots.helpers import titles
from tfbn import plots

_GLOBAL = (
    "Loss range",
    "Gradient predictiveness",
    "Effective smoothness",
    "Local linearity",
)


def _records(*losses, kind="landscape", at=1.5, layers=("conv1", "conv2", "conv3")):
    """Returns records at the steps 10, 20, ...; layer i has i times the distances."""
    rows = []
    for t, values in enumerate(losses):
        distances = [10.0 * value for value in values]
        rows.append(
            {
                "step": 10 * (t + 1),
                "kind": kind,
                "loss": at if np.isfinite(values).any() else math.nan,
                "step_sizes": [0.1, 0.2, 0.3],
                "losses": values,
                "gradient_distances": distances,
                "beta": 20.0 + t,
                "local_linearity": 5.0 + t,
                "layers": [
                    {"name": n, "gradient_distances": [i * d for d in distances]}
                    for i, n in enumerate(layers, start=1)
                ],
            }
        )
    return rows


def _vertices(axis, number=0):
    """Returns the corners of a band, a set of points."""
    (path,) = axis.collections[number].get_paths()
    return {tuple(point) for point in np.round(path.vertices, 9).tolist()}


class LandscapeTest(tf.test.TestCase, parameterized.TestCase):
    def test_draws_the_records(self):
        runs = {"a": _records([1.0, 3.0, 2.0], [4.0, 2.0, 0.5])}
        figure = plots.landscape(runs)
        self.assertEqual(titles(figure), list(_GLOBAL))
        loss, distance, beta, linearity = figure.axes
        self.assertEqual(_vertices(loss), {(10, 1), (10, 3), (20, 0.5), (20, 4)})
        self.assertEqual(_vertices(distance), {(10, 10), (10, 30), (20, 5), (20, 40)})
        low, high, point = loss.get_lines()
        self.assertAllEqual(low.get_ydata(), [1.0, 0.5])
        self.assertAllEqual(high.get_ydata(), [3.0, 4.0])
        self.assertAllEqual(point.get_xydata(), [[10, 1.5], [20, 1.5]])
        self.assertGreater(point.get_linewidth(), low.get_linewidth())
        self.assertAllEqual(beta.get_lines()[0].get_ydata(), [20.0, 21.0])
        self.assertAllEqual(linearity.get_lines()[0].get_ydata(), [5.0, 6.0])
        self.assertEqual([axis.get_yscale() for axis in figure.axes], ["log"] * 4)
        self.assertEqual([axis.get_xscale() for axis in figure.axes], ["linear"] * 4)
        self.assertEqual(
            legend(figure),
            ["a", "range over the step sizes", "loss at the point itself"],
        )

    def test_bands_of_runs_over_each_other_can_be_told_apart(self):
        runs = {"a": _records([1.0, 3.0, 2.0]), "b": _records([2.0, 4.0, 2.0])}
        axis = plots.landscape(runs).axes[1]
        colours = [tuple(fill.get_facecolor()[0][:3]) for fill in axis.collections[::2]]
        self.assertLen(set(colours), 2)
        for fill in axis.collections[::2]:
            self.assertLess(fill.get_alpha(), 0.3)
        edges = {line.get_color() for line in axis.get_lines()}
        self.assertLen(edges, 2)

    def test_values_that_are_not_finite_are_left_out_and_that_is_said(self):
        losses = ([1.0, 3.0, math.inf], [math.nan, 2.0, 0.5], [1.0, 2.0, 3.0])
        figure = plots.landscape({"a": _records(*losses)})
        low, high, _ = figure.axes[0].get_lines()
        self.assertAllEqual(low.get_ydata(), [1.0, 0.5, 1.0])
        self.assertAllEqual(high.get_ydata(), [3.0, 2.0, 3.0])
        note = "values that are not finite are left out"
        self.assertEqual([notes(axis) for axis in figure.axes[:2]], [[note]] * 2)
        self.assertEqual(legend(figure)[0], "a")

    def test_record_without_any_finite_value_is_a_gap(self):
        bad = [math.nan, math.inf, math.nan]
        runs = {"a": _records([1.0, 2.0, 3.0], bad, [1.0, 2.0, 4.0])}
        axis = plots.landscape(runs).axes[1]
        self.assertAllEqual(axis.get_lines()[1].get_ydata(), [30.0, math.nan, 40.0])
        self.assertEqual(notes(axis), [])
        (upright,) = axis.collections[1:]  # of the points between two gaps
        self.assertAllEqual(
            upright.get_segments(), [[[10, 10], [10, 30]], [[30, 10], [30, 40]]]
        )
        self.assertEqual(crosses(axis), [])

    def test_diverged_run_is_marked_at_its_last_finite_point(self):
        losses = ([1.0, 2.0, 3.0], [1.0, 2.0, 5.0], [math.nan] * 3)
        figure = plots.landscape({"a": _records(*losses), "b": _records([1.0] * 3)})
        self.assertEqual(legend(figure)[:2], ["a (diverged)", "b"])
        self.assertEqual(crosses(figure.axes[0]), [(20, 1.5)])
        self.assertEqual(crosses(figure.axes[1]), [(20, 50.0)])

    @parameterized.named_parameters(
        ("one", ["conv2"], 2), ("two", ["conv3", "conv2"], 2)
    )
    def test_layers(self, layers, factor):
        figure = plots.landscape({"a": _records([1.0, 3.0, 2.0])}, layers)
        expected = [f"{name}: gradient predictiveness" for name in layers]
        self.assertEqual(titles(figure), [*_GLOBAL, *expected])
        high = figure.axes[4 + layers.index("conv2")].get_lines()[1]
        self.assertAllClose(high.get_ydata(), [factor * 30.0])
        labelled = [axis for axis in figure.axes if axis.get_xlabel()]
        self.assertLen(labelled, 2)

    def test_random_direction_is_a_figure_of_its_own(self):
        along = _records(*[[1.0, 3.0, 2.0]] * 2)
        random = _records(*[[1.0, 5.0, 2.0]] * 2, kind="landscape_random")
        for draw, highest in ((plots.landscape, 3.0), (plots.landscape_random, 5.0)):
            figure = draw({"a": along + random}, log_steps=True)
            high = figure.axes[0].get_lines()[1]
            self.assertAllEqual(high.get_ydata(), [highest] * 2)
            self.assertEqual(figure.axes[0].get_xscale(), "log")


if __name__ == "__main__":
    tf.test.main()
