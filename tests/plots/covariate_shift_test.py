"""Tests of tfbn.plots.covariate_shift."""

import math

import tensorflow as tf
from absl.testing import parameterized

from tests.plots.helpers import ics
from tests.plots.helpers import legend
from tests.plots.helpers import titles
from tfbn import plots


class CovariateShiftTest(tf.test.TestCase, parameterized.TestCase):
    def test_draws_the_records(self):
        runs = {"none": ics([0.1, 0.2], [0.9, 0.8]), "bn": ics([0.3, 0.4])}
        figure = plots.covariate_shift(runs, ["conv3"])
        distance, cosine = figure.axes
        self.assertEqual(titles(figure), ["conv3: distance", "conv3: cosine"])
        first, second = distance.get_lines()
        self.assertAllClose(first.get_xydata(), [[5, 0.2], [10, 0.4]])
        self.assertAllClose(second.get_xydata(), [[5, 0.6], [10, 0.8]])
        self.assertEqual(distance.get_yscale(), "log")
        ideal, first, _ = cosine.get_lines()
        self.assertAllEqual(ideal.get_ydata(), [1.0, 1.0])
        self.assertAllEqual(first.get_ydata(), [0.9, 0.8])
        low, high = cosine.get_ylim()
        self.assertTrue(0.45 < low < 0.5 and 1.0 < high < 1.05)  # the least is 0.5
        self.assertEqual(legend(figure), ["none", "bn", "ideal"])

    @parameterized.named_parameters(
        ("nine", 9, [2, 5, 9]),
        ("five", 5, [2, 3, 5]),
        ("four", 4, [2, 3, 4]),
        ("three", 3, [2, 3]),
        ("two", 2, [2]),
    )
    def test_default_layers_are_spread_and_leave_out_the_first(self, count, expected):
        names = [f"layer{i + 1}" for i in range(count)]
        figure = plots.covariate_shift({"a": ics([1.0, 2.0], names=names)})
        self.assertEqual(
            titles(figure)[::2], [f"layer{number}: distance" for number in expected]
        )

    def test_default_layers_are_in_every_run(self):
        runs = {"a": ics([1.0]), "b": ics([1.0], names=("conv1", "conv3"))}
        figure = plots.covariate_shift(runs)
        self.assertEqual(titles(figure), ["conv3: distance", "conv3: cosine"])

    def test_total_is_a_further_row(self):
        runs = {"a": ics([0.1, 0.2], total=True), "b": ics([0.3])}
        figure = plots.covariate_shift(runs)
        names = ["conv2", "conv3", "dense1", "all parameters"]
        self.assertEqual(titles(figure)[::2], [f"{name}: distance" for name in names])
        distance, cosine = figure.axes[-2:]
        lines = distance.get_lines()
        self.assertAllClose(lines[0].get_xydata(), [[5, 1.0], [10, 2.0]])
        self.assertEmpty(lines[1].get_xdata())
        self.assertAllEqual(cosine.get_lines()[1].get_ydata(), [0.25, 0.25])

    def test_layers_are_drawn_in_the_order_given(self):
        figure = plots.covariate_shift({"a": ics([1.0])}, ["dense1", "conv2"])
        self.assertEqual(titles(figure)[::2], ["dense1: distance", "conv2: distance"])

    def test_layer_of_zeros_has_a_linear_axis(self):
        figure = plots.covariate_shift({"a": ics([0.5, 0.5])}, ["conv1"])
        self.assertEqual(figure.axes[0].get_yscale(), "linear")
        self.assertAllEqual(figure.axes[0].get_lines()[0].get_ydata(), [0.0, 0.0])

    def test_undefined_cosine_is_no_divergence(self):
        rows = ics([0.5, 0.5], [0.5, math.nan])
        figure = plots.covariate_shift({"a": rows}, ["conv2"])
        self.assertEqual(legend(figure), ["a", "ideal"])
        self.assertNotIn("x", [line.get_marker() for line in figure.axes[1].lines])


if __name__ == "__main__":
    tf.test.main()
