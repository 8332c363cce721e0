"""Tests of tfbn.plots."""

import math
import os

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from matplotlib import colors
from matplotlib.figure import Figure

from tfbn import plots

_NAMES = ("conv1", "conv2", "conv3", "conv4", "dense1")


def _train(losses, **columns):
    """Returns train records at the steps 10, 20, ..."""
    return [
        {"step": 10 * (i + 1), "kind": "train", "loss": loss}
        | {name: values[i] for name, values in columns.items()}
        for i, loss in enumerate(losses)
    ]


def _test(losses, **columns):
    rows = _train(losses, **columns)
    return [row | {"kind": "eval", "step": row["step"] * 2} for row in rows]


def _ics(distances, cosines=None, names=_NAMES):
    """Returns ics records at the steps 5, 10, ...; layer i has i times the distance."""
    cosines = cosines or [0.5] * len(distances)
    return [
        {
            "step": 5 * (t + 1),
            "kind": "ics",
            "layers": [
                {"name": name, "distance": i * d, "cosine": c if i else 1.0}
                for i, name in enumerate(names)
            ],
        }
        for t, (d, c) in enumerate(zip(distances, cosines, strict=True))
    ]


def _lines(axis, label_colour):
    return [li for li in axis.get_lines() if li.get_color() == label_colour]


def _legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def _titles(figure):
    return [axis.get_title() for axis in figure.axes]


class LearningCurvesTest(tf.test.TestCase, parameterized.TestCase):
    def test_draws_the_records(self):
        train = _train([2.0, 1.5, 1.0], accuracy=[0.1, 0.2, 0.3])
        test = _test([2.5, 1.8], accuracy=[0.1, 0.15])
        figure = plots.learning_curves({"vgg": train + test})
        self.assertEqual(_titles(figure), ["Loss", "Accuracy"])
        loss, accuracy = figure.axes
        thin, points = loss.get_lines()
        self.assertAllEqual(thin.get_xydata(), [[10, 2.0], [20, 1.5], [30, 1.0]])
        self.assertAllEqual(points.get_xydata(), [[20, 2.5], [40, 1.8]])
        self.assertEqual((thin.get_marker(), points.get_marker()), ("None", "o"))
        self.assertLess(thin.get_linewidth(), points.get_linewidth())
        self.assertAllEqual(accuracy.get_lines()[0].get_ydata(), [0.1, 0.2, 0.3])
        self.assertEqual(loss.get_xlabel(), "optimizer step")
        self.assertEqual(loss.get_yscale(), "linear")
        self.assertEqual(_legend(figure), ["vgg", "training", "test"])

    def test_unsorted_records_are_drawn_by_step(self):
        figure = plots.learning_curves({"a": _train([3.0, 2.0, 1.0])[::-1]})
        self.assertAllEqual(figure.axes[0].get_lines()[0].get_xdata(), [10, 20, 30])

    def test_no_accuracy_no_panel(self):
        figure = plots.learning_curves({"dln": _train([3.0, 2.0])})
        self.assertEqual(_titles(figure), ["Loss"])
        self.assertEqual(_legend(figure), ["dln", "training"])

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
        figure = plots.learning_curves({"a": _train(losses), "b": _test(other)})
        self.assertEqual(figure.axes[0].get_yscale(), scale)

    def test_many_records_get_a_smoothed_line_over_the_faint_records(self):
        losses = 2.0 + np.random.default_rng(0).normal(size=300)
        losses[100] = math.nan
        figure = plots.learning_curves({"a": _train(losses)})
        raw, smooth = figure.axes[0].get_lines()
        self.assertAllEqual(raw.get_ydata(), losses)
        self.assertLess(raw.get_alpha(), 0.5)
        self.assertAllClose(smooth.get_ydata()[150], losses[145:156].mean())
        self.assertAllClose(smooth.get_ydata()[102], np.nanmean(losses[97:108]))
        self.assertAllClose(smooth.get_ydata()[0], losses[:6].mean())
        self.assertAllEqual(np.flatnonzero(np.isnan(smooth.get_ydata())), [100])

    def test_on_a_log_axis_the_logarithms_are_smoothed(self):
        losses = np.geomspace(1e6, 1.0, 240)
        figure = plots.learning_curves({"a": _train(losses)})
        smooth = figure.axes[0].get_lines()[1].get_ydata()
        self.assertAllClose(smooth[4:-4], losses[4:-4])

    def test_diverged_run_is_marked_at_its_last_finite_point(self):
        runs = {
            "bad": _train([2.0, 7.0, math.inf, math.nan]),
            "gap": _train([2.0, math.nan, 1.0]),
        }
        figure = plots.learning_curves(runs)
        self.assertEqual(_legend(figure), ["bad (diverged)", "gap", "training"])
        crosses = [li for li in figure.axes[0].get_lines() if li.get_marker() == "x"]
        self.assertLen(crosses, 1)
        self.assertAllEqual(crosses[0].get_xydata(), [[20, 7.0]])
        drawn = figure.axes[0].get_lines()[0].get_ydata()
        self.assertAllEqual(np.isfinite(drawn), [True, True, False, False])

    def test_run_without_any_finite_value(self):
        figure = plots.learning_curves({"bad": _train([math.nan] * 3)})
        self.assertEqual(_legend(figure), ["bad (diverged)", "training"])

    def test_runs_differ_in_colour_or_dash_also_beyond_the_palette(self):
        runs = {str(i): _train([2.0, 1.0]) for i in range(12)}
        lines = plots.learning_curves(runs).axes[0].get_lines()
        looks = {(line.get_color(), line.get_linestyle()) for line in lines}
        self.assertLen(looks, 12)

    def test_single_record_is_visible(self):
        (line,) = plots.learning_curves({"a": _train([2.0])}).axes[0].get_lines()
        self.assertEqual(line.get_marker(), ".")

    def test_log_steps(self):
        runs = {"a": _train([2.0, 1.0])}
        linear, log = (
            plots.learning_curves(runs, log_steps=flag).axes[0].get_xscale()
            for flag in (False, True)
        )
        self.assertEqual((linear, log), ("linear", "log"))

    def test_labels_are_taken_literally(self):
        figure = plots.learning_curves({"_a$b$": _train([2.0, 1.0])})
        self.assertEqual(_legend(figure)[0], "_a$b$")
        self.assertFalse(figure.legends[0].get_texts()[0].get_parse_math())

    def test_nothing_to_draw(self):
        with self.assertRaisesRegex(ValueError, r"Received: runs=\['a'\]"):
            plots.learning_curves({"a": _ics([1.0])})


class CovariateShiftTest(tf.test.TestCase, parameterized.TestCase):
    def test_draws_the_records(self):
        runs = {"none": _ics([0.1, 0.2], [0.9, 0.8]), "bn": _ics([0.3, 0.4])}
        figure = plots.covariate_shift(runs, ["conv3"])
        distance, cosine = figure.axes
        self.assertEqual(_titles(figure), ["conv3: distance", "conv3: cosine"])
        first, second = distance.get_lines()
        self.assertAllClose(first.get_xydata(), [[5, 0.2], [10, 0.4]])
        self.assertAllClose(second.get_xydata(), [[5, 0.6], [10, 0.8]])
        self.assertEqual(distance.get_yscale(), "log")
        ideal, first, _ = cosine.get_lines()
        self.assertAllEqual(ideal.get_ydata(), [1.0, 1.0])
        self.assertAllEqual(first.get_ydata(), [0.9, 0.8])
        low, high = cosine.get_ylim()
        self.assertTrue(-1.2 < low < -1.0 and 1.0 < high < 1.2)
        self.assertEqual(_legend(figure), ["none", "bn", "ideal"])

    @parameterized.named_parameters(
        ("nine", 9, [2, 5, 9]),
        ("five", 5, [2, 3, 5]),
        ("four", 4, [2, 3, 4]),
        ("three", 3, [2, 3]),
        ("two", 2, [2]),
    )
    def test_default_layers_are_spread_and_leave_out_the_first(self, count, expected):
        names = [f"layer{i + 1}" for i in range(count)]
        figure = plots.covariate_shift({"a": _ics([1.0, 2.0], names=names)})
        self.assertEqual(
            _titles(figure)[::2], [f"layer{number}: distance" for number in expected]
        )

    def test_default_layers_are_in_every_run(self):
        runs = {"a": _ics([1.0]), "b": _ics([1.0], names=("conv1", "conv3"))}
        figure = plots.covariate_shift(runs)
        self.assertEqual(_titles(figure), ["conv3: distance", "conv3: cosine"])

    def test_layers_are_drawn_in_the_order_given(self):
        figure = plots.covariate_shift({"a": _ics([1.0])}, ["dense1", "conv2"])
        self.assertEqual(_titles(figure)[::2], ["dense1: distance", "conv2: distance"])

    @parameterized.parameters((["conv2", "conv9"],), ([],))
    def test_unknown_layers(self, layers):
        message = (
            "must be among conv1, conv2, conv3, conv4, dense1.*"
            f"Received: layers={','.join(layers)}"
        )
        with self.assertRaisesRegex(ValueError, message):
            plots.covariate_shift({"a": _ics([1.0])}, layers)

    def test_no_layer_besides_the_first(self):
        with self.assertRaisesRegex(ValueError, "No layer besides the first"):
            plots.covariate_shift({"a": _ics([1.0], names=("conv1",))})

    def test_no_records(self):
        with self.assertRaisesRegex(ValueError, "kind 'ics'"):
            plots.covariate_shift({"a": _train([1.0])})

    def test_zeros_on_the_log_axis_are_left_out_and_that_is_said(self):
        figure = plots.covariate_shift({"a": _ics([0.5, 0.0, 0.5])}, ["conv2"])
        values = figure.axes[0].get_lines()[0].get_ydata()
        self.assertAllEqual(values, [0.5, math.nan, 0.5])
        self.assertEqual(
            [text.get_text() for text in figure.axes[0].texts], ["zeros are not drawn"]
        )

    def test_layer_of_zeros_has_a_linear_axis(self):
        figure = plots.covariate_shift({"a": _ics([0.5, 0.5])}, ["conv1"])
        self.assertEqual(figure.axes[0].get_yscale(), "linear")
        self.assertAllEqual(figure.axes[0].get_lines()[0].get_ydata(), [0.0, 0.0])

    def test_undefined_cosine_is_no_divergence(self):
        rows = _ics([0.5, 0.5], [0.5, math.nan])
        figure = plots.covariate_shift({"a": rows}, ["conv2"])
        self.assertEqual(_legend(figure), ["a", "ideal"])
        self.assertNotIn("x", [line.get_marker() for line in figure.axes[1].lines])

    def test_diverged_run(self):
        rows = _ics([0.5, 0.6, math.nan], [0.5, 0.4, math.nan])
        figure = plots.covariate_shift({"a": rows}, ["conv2"])
        self.assertEqual(_legend(figure), ["a (diverged)", "ideal"])
        for axis, value in zip(figure.axes, (0.6, 0.4), strict=True):
            (cross,) = (line for line in axis.lines if line.get_marker() == "x")
            self.assertAllClose(cross.get_xydata(), [[10, value]])

    def test_run_that_lacks_the_layer(self):
        runs = {"a": _ics([0.5]), "b": _ics([0.5], names=("conv1", "conv2"))}
        figure = plots.covariate_shift(runs, ["conv3"])
        self.assertLen([li for li in figure.axes[0].lines if li.get_xdata().size], 1)


class RenormBoundsTest(tf.test.TestCase):
    def test_draws_the_runs_that_have_bounds(self):
        renorm = _train([1.0] * 3, rmax=[1.0, 2.0, 3.0], dmax=[0.0, 2.5, math.inf])
        figure = plots.renorm_bounds({"bn": _train([1.0]), "renorm": renorm})
        rmax, dmax = (axis.get_lines() for axis in figure.axes)
        self.assertAllEqual(rmax[0].get_xydata(), [[10, 1.0], [20, 2.0], [30, 3.0]])
        self.assertAllEqual(dmax[0].get_ydata(), [0.0, 2.5, math.nan])
        self.assertLen(dmax, 1)  # an infinite bound is no divergence
        self.assertEqual(_legend(figure), ["renorm"])

    def test_equal_schedules_stay_visible(self):
        rows = _train([1.0] * 2, rmax=[1.0, 2.0], dmax=[0.0, 1.0])
        lines = plots.renorm_bounds({"a": rows, "b": rows}).axes[0].get_lines()
        self.assertGreater(lines[0].get_linewidth(), lines[1].get_linewidth())

    def test_no_bounds(self):
        with self.assertRaisesRegex(ValueError, "rmax or dmax"):
            plots.renorm_bounds({"a": _train([1.0])})


class FiguresTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("nothing", [], []),
        ("train", _train([1.0]), ["learning_curves"]),
        ("eval", _test([1.0]), ["learning_curves"]),
        ("ics", _ics([1.0]), ["covariate_shift"]),
        ("ics_of_one_layer", _ics([1.0], names=("conv1",)), []),
        (
            "all",
            _train([1.0], rmax=[1.0], dmax=[0.0]) + _ics([1.0]),
            ["learning_curves", "covariate_shift", "renorm_bounds"],
        ),
    )
    def test_draws_what_there_is_data_for(self, rows, expected):
        drawn = plots.figures({"a": rows})
        self.assertEqual(list(drawn), expected)
        for figure in drawn.values():
            self.assertIsInstance(figure, Figure)

    def test_arguments_are_passed_on(self):
        rows = _train([1.0]) + _ics([1.0])
        drawn = plots.figures({"a": rows}, layers=["conv4"], log_steps=True)
        self.assertEqual(_titles(drawn["covariate_shift"])[0], "conv4: distance")
        for figure in drawn.values():
            self.assertEqual(figure.axes[0].get_xscale(), "log")

    def test_layers_without_ics_records(self):
        with self.assertRaisesRegex(ValueError, "kind 'ics'"):
            plots.figures({"a": _train([1.0])}, layers=["conv2"])

    def test_a_run_has_one_colour_in_all_figures(self):
        runs = {
            "bn": _train([1.0, 2.0]),
            "renorm": _train([1.0] * 2, rmax=[1.0] * 2, dmax=[0.0] * 2) + _ics([1.0]),
        }
        drawn = plots.figures(runs)
        wanted = drawn["learning_curves"].axes[0].get_lines()[1].get_color()
        self.assertNotEqual(
            wanted, drawn["learning_curves"].axes[0].lines[0].get_color()
        )
        for name in ("covariate_shift", "renorm_bounds"):
            line = drawn[name].axes[0].get_lines()[0]
            self.assertTrue(colors.same_color(line.get_color(), wanted))


class SaveTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = os.path.join(self.get_temp_dir(), "new", "figures")
        self.figures = {"curves": plots.learning_curves({"a": _train([2.0, 1.0])})}

    @parameterized.parameters(("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"))
    def test_writes(self, file_format, signature):
        (path,) = plots.save(self.figures, self.directory, file_format)
        self.assertEqual(path, os.path.join(self.directory, f"curves.{file_format}"))
        with open(path, "rb") as file:
            self.assertTrue(file.read().startswith(signature))
        self.assertEqual(os.listdir(self.directory), [os.path.basename(path)])

    def test_replaces_and_follows_dpi(self):
        (path,) = plots.save(self.figures, self.directory, dpi=100)
        coarse = os.path.getsize(path)
        plots.save(self.figures, self.directory, dpi=20)
        self.assertLess(os.path.getsize(path), coarse)

    def test_failure_keeps_the_old_file_and_leaves_no_part(self):
        (path,) = plots.save(self.figures, self.directory)
        with open(path, "rb") as file:
            before = file.read()

        class Broken(Figure):
            def savefig(self, name, **unused):
                with open(name, "wb") as file:
                    file.write(b"half")
                raise OSError("disk full")

        with self.assertRaisesRegex(OSError, "disk full"):
            plots.save({"curves": Broken()}, self.directory)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertEqual(os.listdir(self.directory), ["curves.png"])

    def test_unknown_format(self):
        with self.assertRaisesRegex(ValueError, "png, pdf, svg.*file_format='jpg'"):
            plots.save(self.figures, self.directory, "jpg")
        self.assertFalse(os.path.exists(self.directory))

    def test_long_legend_does_not_cover_the_panels(self):
        runs = {f"a_run_with_a_rather_long_name_{i}": _train([2.0]) for i in range(14)}
        figure = plots.learning_curves(runs)
        plots.save({"curves": figure}, self.directory, dpi=50)
        legend = figure.legends[0].get_window_extent()
        panel = figure.axes[0].get_tightbbox()
        self.assertLessEqual(legend.y1, panel.y0)
        self.assertGreater(panel.height, legend.height)


if __name__ == "__main__":
    tf.test.main()
