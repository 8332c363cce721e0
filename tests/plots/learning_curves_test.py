"""Tests of tfbn.plots.learning_curves."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.plots.helpers import evaluations
from tests.plots.helpers import legend
from tests.plots.helpers import titles
from tests.plots.helpers import train
from tfbn import plots


class LearningCurvesTest(tf.test.TestCase, parameterized.TestCase):
    def test_draws_the_records(self):
        rows = train([2.0, 1.5, 1.0], accuracy=[0.1, 0.2, 0.3])
        rows += evaluations([2.5, 1.8], accuracy=[0.1, 0.15])
        figure = plots.learning_curves({"vgg": rows})
        self.assertEqual(titles(figure), ["Loss", "Accuracy"])
        loss, accuracy = figure.axes
        thin, points = loss.get_lines()
        self.assertAllEqual(thin.get_xydata(), [[10, 2.0], [20, 1.5], [30, 1.0]])
        self.assertAllEqual(points.get_xydata(), [[20, 2.5], [40, 1.8]])
        self.assertEqual((thin.get_marker(), points.get_marker()), ("None", "o"))
        self.assertLess(thin.get_linewidth(), points.get_linewidth())
        self.assertAllEqual(accuracy.get_lines()[0].get_ydata(), [0.1, 0.2, 0.3])
        self.assertEqual(loss.get_xlabel(), "optimizer step")
        self.assertEqual(loss.get_yscale(), "linear")
        self.assertEqual(legend(figure), ["vgg", "training", "test"])

    def test_training_and_test_differ_in_colour(self):
        """Towards white by one half, and towards black by three tenths."""
        rows = train([2.0, 1.5]) + evaluations([2.5, 1.8])
        (axis,) = plots.learning_curves({"a": rows}).axes
        colours = [line.get_color() for line in axis.get_lines()]
        # #0072B2: (0 + 255) / 2, (114 + 255) / 2, ...; and 0.7 of each.
        self.assertEqual(colours, ["#80b8d8", "#00507d"])

    def test_unsorted_records_are_drawn_by_step(self):
        figure = plots.learning_curves({"a": train([3.0, 2.0, 1.0])[::-1]})
        self.assertAllEqual(figure.axes[0].get_lines()[0].get_xdata(), [10, 20, 30])

    def test_no_accuracy_no_panel(self):
        figure = plots.learning_curves({"dln": train([3.0, 2.0])})
        self.assertEqual(titles(figure), ["Loss"])
        self.assertEqual(legend(figure), ["dln", "training"])

    @parameterized.named_parameters(
        ("two_decades", [100.0, 1.0], "linear"),
        ("more", [101.0, 1.0], "log"),
        ("more_over_two_runs", [5.0, 4.0], "log", [0.01]),
        ("zero_beside_a_wide_span", [1e3, 1.0, 0.0], "log"),
        ("zero_beside_a_narrow_span", [2.0, 1.0, 0.0], "linear"),
        ("negative", [1e3, 1.0, -1.0], "linear"),
        ("infinity_does_not_count", [2.0, 1.0, math.inf], "linear"),
    )
    def test_loss_axis(self, losses, scale, other=(2.0,)):
        figure = plots.learning_curves({"a": train(losses), "b": evaluations(other)})
        self.assertEqual(figure.axes[0].get_yscale(), scale)

    def test_many_records_get_a_smoothed_line_over_the_faint_records(self):
        losses = 2.0 + np.random.default_rng(0).normal(size=300)
        losses[100] = math.nan
        figure = plots.learning_curves({"a": train(losses)})
        raw, smooth = figure.axes[0].get_lines()
        self.assertAllEqual(raw.get_ydata(), losses)
        self.assertLess(raw.get_alpha(), 0.5)
        self.assertAllClose(smooth.get_ydata()[150], losses[145:156].mean())
        self.assertAllClose(smooth.get_ydata()[102], np.nanmean(losses[97:108]))
        self.assertAllClose(smooth.get_ydata()[0], losses[:6].mean())
        self.assertAllEqual(np.flatnonzero(np.isnan(smooth.get_ydata())), [100])

    def test_on_a_log_axis_the_logarithms_are_smoothed(self):
        losses = np.geomspace(1e6, 1.0, 240)
        figure = plots.learning_curves({"a": train(losses)})
        smooth = figure.axes[0].get_lines()[1].get_ydata()
        self.assertAllClose(smooth[4:-4], losses[4:-4])

    def test_diverged_run_is_marked_at_its_last_finite_point(self):
        runs = {
            "bad": train([2.0, 7.0, math.inf, math.nan]),
            "gap": train([2.0, math.nan, 1.0]),
        }
        figure = plots.learning_curves(runs)
        self.assertEqual(legend(figure), ["bad (diverged)", "gap", "training"])
        crosses = [li for li in figure.axes[0].get_lines() if li.get_marker() == "x"]
        self.assertLen(crosses, 1)
        self.assertAllEqual(crosses[0].get_xydata(), [[20, 7.0]])
        drawn = figure.axes[0].get_lines()[0].get_ydata()
        self.assertAllEqual(np.isfinite(drawn), [True, True, False, False])

    def test_runs_differ_in_colour_or_dash_also_beyond_the_palette(self):
        runs = {str(i): train([2.0, 1.0]) for i in range(12)}
        lines = plots.learning_curves(runs).axes[0].get_lines()
        looks = {(line.get_color(), line.get_linestyle()) for line in lines}
        self.assertLen(looks, 12)

    def test_single_record_is_visible(self):
        (line,) = plots.learning_curves({"a": train([2.0])}).axes[0].get_lines()
        self.assertEqual(line.get_marker(), ".")


if __name__ == "__main__":
    tf.test.main()
