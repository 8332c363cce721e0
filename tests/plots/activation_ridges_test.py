"""Tests of tfbn.plots.activation_ridges."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.plots.helpers import by_layer
from tests.plots.helpers import notes
from tfbn import plots

_HEIGHT = 1.7


def _histogram(edges, counts):
    return {"histogram": {"edges": edges, "counts": counts}}


def _at(centre, width=1.0):
    edges = centre + width * np.linspace(-1.0, 1.0, 9)
    return _histogram(edges.tolist(), [1, 2, 4, 8, 8, 4, 2, 1])


def _steps(axis):
    """Returns the labelled steps, from the top."""
    return [label.get_text() for label in axis.get_yticklabels()][::-1]


class ActivationRidgesTest(tf.test.TestCase, parameterized.TestCase):
    def test_draws_the_densities_the_earliest_on_top(self):
        early = _histogram([0.0, 1.0, 3.0], [4, 4])  # densities 4 and 2
        late = _histogram([-1.0, 1.0, 2.0], [4, 8])  # densities 2 and 8
        figure = plots.activation_ridges({"a": by_layer("activations", early, late)})
        (axis,) = figure.axes
        top, bottom = axis.get_lines()
        self.assertAllClose(
            top.get_xydata(),
            [[0, 1], [0.5, 1 + _HEIGHT], [2, 1 + _HEIGHT / 2], [3, 1]],
        )
        self.assertAllClose(
            bottom.get_xydata(), [[-1, 0], [0, _HEIGHT / 4], [1.5, _HEIGHT], [2, 0]]
        )
        self.assertGreater(bottom.get_zorder(), top.get_zorder())
        self.assertEqual(_steps(axis), ["10", "20"])
        self.assertEqual(axis.get_title(), "a")
        self.assertIn("bn", axis.get_ylabel())
        low, high = axis.get_xlim()
        self.assertTrue(-1.5 < low < -0.9 and 2.9 < high < 3.5)

    @parameterized.named_parameters(
        ("even", False, 4, ["10", "340", "670", "1,000"]),
        ("logarithmic", True, 4, ["10", "50", "220", "1,000"]),
        ("one", False, 1, ["10"]),
    )
    def test_spacing_of_the_steps(self, log_steps, count, expected):
        runs = {"a": by_layer("activations", *[_at(0.0)] * 100)}
        options = {"num_steps": count, "log_steps": log_steps}
        (axis,) = plots.activation_ridges(runs, **options).axes
        self.assertEqual(_steps(axis), expected)

    def test_runs_in_columns_layers_in_rows_with_one_x_axis_a_row(self):
        rows = by_layer("activations", _at(0.0), name="conv1")
        rows[0]["layers"] += [{"name": "conv2"} | _at(5.0), {"name": "fc"} | _at(90.0)]
        other = by_layer("activations", _at(2.0), name="conv1")
        other[0]["layers"] += [{"name": "conv2"} | _at(7.0), {"name": "fc"} | _at(91.0)]
        axes = plots.activation_ridges({"a": rows, "b": other}).axes
        limits = [axis.get_xlim() for axis in axes]
        self.assertAllEqual(limits[0], limits[1])
        self.assertAllEqual(limits[2], limits[3])
        self.assertTrue(3.7 < limits[0][0] < 4.0 and 8.0 < limits[0][1] < 8.3)
        self.assertTrue(88.8 < limits[2][0] < 89.1)
        self.assertEqual([axis.get_title() for axis in axes[:2]], ["a", "b"])

    @parameterized.named_parameters(("alike", 2.0, True), ("far_wider", 3.0, False))
    def test_runs_of_far_wider_distributions_have_an_x_axis_of_their_own(
        self, width, shared
    ):
        runs = {
            "a": by_layer("activations", *[_at(0.0)] * 3),
            "b": by_layer("activations", *[_at(0.0, width=width)] * 3),
        }
        left, right = plots.activation_ridges(runs).axes
        self.assertEqual(left.get_xlim() == right.get_xlim(), shared)
        self.assertEqual("x axes differ" in left.get_ylabel(), not shared)
        self.assertEqual((notes(left), notes(right)), ([], []))
        for axis, end in (left, width if shared else 1.0), (right, width):
            self.assertAllInRange(np.abs(axis.get_xlim()), 0.95 * end, 1.1 * end)

    def test_ridge_far_wider_than_the_others_is_cut_and_low(self):
        runs = {
            "bn": by_layer("activations", *[_at(0.0)] * 3),
            "none": by_layer("activations", _at(0.0), _at(0.0, width=1e4)),
        }
        left, right = plots.activation_ridges(runs).axes
        self.assertAllInRange(np.abs(left.get_xlim()), 0.9, 1.3)
        self.assertEqual((notes(left), notes(right)), ([], ["goes on beyond the axis"]))
        usual, wide = (line.get_ydata() for line in right.get_lines())
        self.assertAllClose(usual.max(), 1 + _HEIGHT)
        self.assertLess(wide.max(), 1e-3)

    def test_histograms_without_finite_edges_are_left_out(self):
        bad = _histogram([math.nan] * 3, [0, 0])
        empty = _histogram([0.0, 1.0, 2.0], [0, 0])
        runs = {"a": by_layer("activations", _at(0.0), bad, empty, {"histogram": None})}
        (axis,) = plots.activation_ridges(runs).axes
        self.assertEqual(_steps(axis), ["10"])
        only_bad = {"a": by_layer("activations", bad)}
        with self.assertRaisesRegex(ValueError, "No run has histograms"):
            plots.activation_ridges(only_bad)


if __name__ == "__main__":
    tf.test.main()
