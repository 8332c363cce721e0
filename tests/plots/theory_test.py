"""Tests of tfbn.plots.theory."""

import math

import tensorflow as tf

from tests.plots.helpers import by_layer
from tests.plots.helpers import legend
from tests.plots.helpers import notes
from tfbn import plots


def _entry(error, norm, printed):
    return {"relative_error": error, "norm": norm, "printed_bound": printed}


def _two_layers():
    rows = by_layer(
        "theory", _entry(1e-7, 2.0, 1.0), _entry(4e-7, 2.0, 1.8), name="one"
    )
    other = by_layer(
        "theory", _entry(1e-6, 1.0, 0.5), _entry(3e-6, 1.0, 0.25), name="two"
    )
    for row, extra in zip(rows, other, strict=True):
        row["layers"] += extra["layers"]
    return rows


def _dots(axis):
    return [line for line in axis.get_lines() if line.get_marker() == "o"]


class TheoryTest(tf.test.TestCase):
    def test_draws_median_and_range_over_the_steps(self):
        figure = plots.theory({"a": _two_layers()})
        errors, bounds = figure.axes
        self.assertAllClose(_dots(errors)[0].get_xydata(), [[0, 2.5e-7], [1, 2e-6]])
        self.assertAllClose(_dots(bounds)[0].get_xydata(), [[0, 0.7], [1, 0.375]])
        segments = bounds.collections[0].get_segments()
        self.assertAllClose(segments, [[[0, 0.5], [0, 0.9]], [[1, 0.25], [1, 0.5]]])
        self.assertEqual((errors.get_yscale(), bounds.get_yscale()), ("log", "linear"))
        for axis in figure.axes:
            names = [label.get_text() for label in axis.get_xticklabels()]
            self.assertEqual(names, ["one", "two"])
        (one,) = (line for line in bounds.get_lines() if line.get_linestyle() == "--")
        self.assertAllEqual(one.get_ydata(), [1.0, 1.0])
        self.assertEqual(
            legend(figure), ["a", "median, and range over the steps", "equality"]
        )

    def test_runs_are_beside_each_other(self):
        dots = _dots(plots.theory({"a": _two_layers(), "b": _two_layers()}).axes[0])
        self.assertAllClose(dots[0].get_xdata(), [-0.1, 0.9])
        self.assertAllClose(dots[1].get_xdata(), [0.1, 1.1])

    def test_values_that_cannot_be_drawn_are_left_out(self):
        entries = (
            _entry(1e-7, 2.0, -1.0), _entry(0.0, 0.0, 0.0), _entry(math.nan, 1.0, 1.0)
        )  # fmt: skip
        figure = plots.theory({"a": by_layer("theory", *entries)})
        errors, bounds = figure.axes
        self.assertAllClose(_dots(errors)[0].get_ydata(), [1e-7])
        self.assertEqual(notes(errors), ["zeros are not drawn"])
        self.assertAllClose(_dots(bounds)[0].get_ydata(), [0.25])
        only_bad = plots.theory({"a": by_layer("theory", entries[2] | {"norm": 0.0})})
        self.assertEmpty(_dots(only_bad.axes[0])[0].get_ydata())


if __name__ == "__main__":
    tf.test.main()
