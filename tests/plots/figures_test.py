"""Tests of tfbn.plots.figures."""

import inspect

import tensorflow as tf
from absl.testing import parameterized
from matplotlib import colors
from matplotlib.figure import Figure

from tests.plots.example_records import example_runs
from tests.plots.helpers import by_layer
from tests.plots.helpers import evaluations
from tests.plots.helpers import ics
from tests.plots.helpers import legend
from tests.plots.helpers import titles
from tests.plots.helpers import train
from tfbn import plots


class FiguresTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("nothing", [], []),
        ("train", train([1.0]), ["learning_curves"]),
        ("eval", evaluations([1.0]), ["learning_curves"]),
        ("ics", ics([1.0]), ["covariate_shift"]),
        ("ics_of_one_layer", ics([1.0], names=("conv1",)), []),
        (
            "all",
            train([1.0], rmax=[1.0], dmax=[0.0]) + ics([1.0]),
            ["learning_curves", "covariate_shift", "renorm_bounds"],
        ),
    )
    def test_draws_what_there_is_data_for(self, rows, expected):
        drawn = plots.figures({"a": rows})
        self.assertEqual(list(drawn), expected)
        for figure in drawn.values():
            self.assertIsInstance(figure, Figure)

    def test_arguments_are_passed_on(self):
        rows = train([1.0]) + ics([1.0])
        drawn = plots.figures({"a": rows}, layers=["conv4"], log_steps=True)
        self.assertEqual(titles(drawn["covariate_shift"])[0], "conv4: distance")
        for figure in drawn.values():
            self.assertEqual(figure.axes[0].get_xscale(), "log")

    def test_every_figure_of_the_example_runs(self):
        runs = example_runs(steps=16)
        drawn = plots.figures(runs)
        self.assertEqual(tuple(drawn), plots.FIGURE_NAMES)
        for name, figure in drawn.items():
            with self.subTest(name):
                for axis in figure.axes:
                    self.assertNotEmpty([*axis.lines, *axis.collections])
                self.assertNotEmpty(figure.axes[0].get_ylabel())
                self.assertNotEmpty(figure.get_suptitle())
                self.assertTrue(all(map(legend, [figure] * len(figure.legends))))

    @parameterized.parameters(*plots.FIGURE_NAMES)
    def test_errors_of_every_figure(self, name):
        draw = getattr(plots, name)
        with self.assertRaisesRegex(ValueError, r"No run has .*runs=\['a'\]"):
            draw({"a": []})
        if "layers" in inspect.signature(draw).parameters:
            message = "`layers` must be among .*dense.*Received: layers=conv99"
            with self.assertRaisesRegex(ValueError, message):
                draw(example_runs(steps=8), layers=["conv99"])

    def test_only_the_figures_named_in_their_order(self):
        runs = {"a": train([1.0]) + ics([1.0])}
        names = ["covariate_shift", "learning_curves"]
        self.assertEqual(list(plots.figures(runs, names=names)), names)
        self.assertEqual(list(plots.figures(runs, names=names[1:])), names[1:])

    @parameterized.named_parameters(
        ("unknown", ["loss"], "among learning_curves, .*Received: names=loss"),
        ("none", [], "among learning_curves, .*Received: names="),
        ("without_records", ["learning_curves", "theory"], "kind 'theory'"),
    )
    def test_names_that_cannot_be_drawn(self, names, message):
        with self.assertRaisesRegex(ValueError, message):
            plots.figures({"a": train([1.0])}, names=names)

    def test_each_figure_draws_its_own_layers(self):
        rows = train([1.0]) + ics([1.0])
        rows += by_layer("activations", {"mean": 1.0, "variance": 1.0}, name="relu1")
        rows += by_layer("theory", {"relative_error": 1e-7}, name="norm1")
        drawn = plots.figures({"a": rows}, layers=["relu1", "conv4"])
        expected = ["learning_curves", "covariate_shift", "activation_moments"]
        self.assertEqual(list(drawn), expected)
        self.assertEqual(titles(drawn["covariate_shift"])[0], "conv4: distance")
        self.assertLen(drawn["covariate_shift"].axes, 2)
        self.assertEqual(titles(drawn["activation_moments"])[0], "relu1: moments")
        with self.assertRaisesRegex(ValueError, "dense1, relu1, norm1.*layers=conv9"):
            plots.figures({"a": rows}, layers=["conv9"])
        with self.assertRaisesRegex(ValueError, "records of relu1 of kind 'ics'"):
            plots.figures({"a": rows}, layers=["relu1"], names=["covariate_shift"])

    def test_total_can_be_chosen(self):
        drawn = plots.figures({"a": ics([1.0], total=True)}, layers=["all parameters"])
        self.assertLen(drawn["covariate_shift"].axes, 2)

    def test_layers_that_only_some_figures_have_leave_the_whole_of_others(self):
        rows = ics([1.0]) + [
            {"step": 1, "kind": "landscape", "losses": [1.0, 2.0]},
            {"step": 1, "kind": "curvature", "eigenvalue": 1.0},
        ]
        drawn = plots.figures({"a": rows}, layers=["conv4"])
        self.assertEqual(list(drawn), ["covariate_shift", "landscape", "curvature"])
        self.assertEqual(titles(drawn["curvature"]), ["all parameters"])

    def test_layers_without_ics_records(self):
        with self.assertRaisesRegex(ValueError, "kind 'ics'"):
            plots.figures({"a": train([1.0])}, layers=["conv2"])

    def test_a_run_has_one_colour_in_all_figures(self):
        runs = {
            "bn": train([1.0, 2.0]),
            "renorm": train([1.0] * 2, rmax=[1.0] * 2, dmax=[0.0] * 2) + ics([1.0]),
        }
        drawn = plots.figures(runs)
        # Its lines there are paler or darker.
        first, second, _ = drawn["learning_curves"].legends[0].get_lines()
        wanted = second.get_color()
        self.assertNotEqual(wanted, first.get_color())
        for name in ("covariate_shift", "renorm_bounds"):
            line = drawn[name].axes[0].get_lines()[0]
            self.assertTrue(colors.same_color(line.get_color(), wanted))


if __name__ == "__main__":
    tf.test.main()
