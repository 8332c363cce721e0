"""Tests of tfbn.plots.activations."""

import math

import numpy as np
import tensorflow as tf

from tests.plots.helpers import by_layer
from tests.plots.helpers import crosses
from tests.plots.helpers import legend
from tests.plots.helpers import notes
from tests.plots.helpers import titles
from tfbn import plots


def _moments(mean, **others):
    return {"mean": mean, "variance": mean**2} | others


def _changes(mean, size=0.1):
    changes = {"mean_change": size, "variance_change": 2 * size}
    drifts = {"mean_drift": 3 * size, "variance_drift": 4 * size}
    return _moments(mean, **changes, **drifts)


class ActivationMomentsTest(tf.test.TestCase):
    def test_draws_the_records(self):
        rows = by_layer("activations", _changes(1.0), _changes(-2.0, 0.2))
        figure = plots.activation_moments({"a": rows})
        values = [axis.get_lines()[-1].get_ydata() for axis in figure.axes]
        mean_row = [[1, -2], [0.1, 0.2], [0.3, 0.6]]
        self.assertAllClose(values, mean_row + [[1, 4], [0.2, 0.4], [0.4, 0.8]])
        self.assertAllEqual(figure.axes[0].get_lines()[0].get_xdata(), [10, 20])
        headings = ("moments", "change by one update", "drift since the start")
        self.assertEqual(titles(figure)[:3], [f"bn: {text}" for text in headings])
        scales = [axis.get_yscale() for axis in figure.axes]
        self.assertEqual(scales, ["linear", "log", "linear"] * 2)
        self.assertEqual(legend(figure), ["a"])

    def test_what_nobody_recorded_is_left_out(self):
        rows = by_layer("activations", _moments(1.0, mean_change=None), _moments(2.0))
        figure = plots.activation_moments({"a": rows})
        self.assertEqual(titles(figure), ["bn: moments", ""])

    def test_drift_starts_after_the_zero_of_the_first_record(self):
        rows = by_layer("activations", _changes(1.0, 0.0), _changes(1.0, 0.1))
        axis = plots.activation_moments({"a": rows}).axes[2]
        self.assertAllClose(axis.get_lines()[0].get_xydata(), [[20, 0.3]])
        self.assertEqual(notes(axis), [])

    def test_one_run_that_blows_up_leaves_the_others_readable(self):
        runs = {
            "a": by_layer("activations", *map(_changes, [1.0, 1.1, 1.0, -0.9])),
            "b": by_layer("activations", *map(_changes, [1.0, 30.0, 1e5, math.nan])),
        }
        figure = plots.activation_moments(runs)
        self.assertEqual(figure.axes[0].get_yscale(), "symlog")
        self.assertEqual(figure.axes[3].get_yscale(), "log")
        self.assertEqual(legend(figure), ["a", "b (diverged)"])
        self.assertEqual(crosses(figure.axes[0]), [(30, 1e5)])

    def test_layers(self):
        names = ("conv1", "conv2", "conv3", "conv4")
        layers = [{"name": n} | _moments(i) for i, n in enumerate(names)]
        runs = {"a": [{"step": 1, "kind": "activations", "layers": layers}]}
        default = titles(plots.activation_moments(runs))[::2]
        self.assertEqual(default, [f"conv{i}: moments" for i in (2, 3, 4)])
        figure = plots.activation_moments(runs, ["conv1"], log_steps=True)
        self.assertEqual(titles(figure)[0], "conv1: moments")
        self.assertEqual(figure.axes[0].get_xscale(), "log")
        with self.assertRaisesRegex(ValueError, "conv1, .*layers=conv9"):
            plots.activation_moments(runs, ["conv9"])


def _percentiles(low, middle, high, unit=7):
    return {"percentiles": [low, middle, high], "unit": unit}


class ActivationPercentilesTest(tf.test.TestCase):
    def test_draws_the_records(self):
        entries = (_percentiles(-1.0, 0.5, 1.0), _percentiles(-2.0, 0.25, 3.0))
        figure = plots.activation_percentiles(
            {"none": by_layer("activations", *entries), "bn": []}
        )
        (axis,) = figure.axes
        (path,) = axis.collections[0].get_paths()
        corners = {tuple(point) for point in path.vertices.tolist()}
        self.assertEqual(corners, {(10, -1), (10, 1), (20, -2), (20, 3)})
        low, high, median = axis.get_lines()
        self.assertAllEqual(low.get_ydata(), [-1.0, -2.0])
        self.assertAllEqual(high.get_ydata(), [1.0, 3.0])
        self.assertAllEqual(median.get_xydata(), [[10, 0.5], [20, 0.25]])
        self.assertEqual((axis.get_title(), axis.get_ylabel()), ("none", "bn, unit 7"))
        self.assertEqual(legend(figure), ["15th to 85th percentile", "median"])

    def test_runs_share_a_value_axis_which_outliers_do_not_blow_up(self):
        usual = [_percentiles(-1.0, 0.0, 1.0)] * 3
        blown_up = [*usual, _percentiles(-1e6, 0.0, 1e6), _percentiles(*[math.nan] * 3)]
        runs = {
            "bn": by_layer("activations", *usual),
            "none": by_layer(
                "activations",
                *blown_up,
            ),
        }
        runs["none"] += [{"step": 60, "kind": "train", "loss": math.nan}]
        left, right = plots.activation_percentiles(runs).axes
        self.assertAllEqual(left.get_ylim(), right.get_ylim())
        self.assertAllInRange(np.abs(left.get_ylim()), 1.0, 1.6)
        self.assertEqual((notes(left), notes(right)), ([], ["goes on beyond the axis"]))
        self.assertEqual(right.get_title(), "none (diverged)")
        self.assertEqual(crosses(right), [(40, 0.0)])

    def test_no_records(self):
        rows = by_layer("activations", _moments(1.0))
        with self.assertRaisesRegex(ValueError, "No run has percentiles"):
            plots.activation_percentiles({"a": rows})


if __name__ == "__main__":
    tf.test.main()
