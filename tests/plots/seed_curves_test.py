"""Tests of tfbn.plots.seed_curves."""

import gc
import math
import warnings

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.plots.helpers import by_layer
from tests.plots.helpers import crosses
from tests.plots.helpers import evaluations
from tests.plots.helpers import ics
from tests.plots.helpers import legend
from tests.plots.helpers import notes
from tests.plots.helpers import titles
from tests.plots.helpers import train
from tfbn import plots
from tfbn.plots.runs import COLOURS
from tfbn.plots.runs import NothingToDraw

_SEEDS = "each seed"


def _panel(groups, value="loss", kind="train", title="Loss", ylabel="loss", **options):
    return plots.SeedPanel(groups, kind, value, title, ylabel, **options)


def _seeds(*losses):
    """Returns a run a seed."""
    return [train(values) for values in losses]


def _draw(*panels, **options):
    return plots.seed_curves(panels, title="Seeds", **options)


def _axis(losses, **options):
    """Returns the panel of one label's seeds."""
    return _draw(_panel({"a": _seeds(*losses)}, **options)).axes[0]


def _lines(axis, colour=COLOURS[0]):
    """Returns the lines of the seeds, and their mean behind them."""
    lines = [line for line in axis.get_lines() if line.get_marker() != "x"]
    return [line for line in lines if line.get_color() == colour]


class MeansTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("arithmetic", False, lambda table: table.mean(axis=0)),
        ("geometric", True, lambda table: table.prod(axis=0) ** (1 / 3)),
    )
    def test_each_seed_and_their_mean(self, log, mean_of):
        table = np.array([[1.0, 3.0, 5.0], [2.0, 9.0, 1.0], [6.0, 6.0, 2.0]])
        axis = _axis(table, log=log)
        *seeds, mean = _lines(axis)
        self.assertAllEqual(mean.get_xdata(), [10, 20, 30])
        self.assertAllClose(mean.get_ydata(), mean_of(table))
        for seed, values in zip(seeds, table, strict=True):
            self.assertAllEqual(seed.get_xdata(), [10, 20, 30])
            self.assertAllEqual(seed.get_ydata(), values)
            self.assertLess(seed.get_linewidth(), mean.get_linewidth() / 2)
        self.assertEqual(axis.get_xlabel(), "optimizer step")

    @parameterized.named_parameters(("linear", False), ("logarithmic", True))
    def test_long_series_are_smoothed_seed_by_seed(self, log):
        table = np.exp(np.random.default_rng(0).normal(size=(2, 120)))
        *seeds, mean = _lines(_axis(table, log=log))
        to, back = (np.log, np.exp) if log else (np.asarray, np.asarray)
        windows = [to(table[:, max(i - 2, 0) : i + 3]).mean(axis=1) for i in range(120)]
        self.assertAllClose(mean.get_ydata(), [back(w.mean()) for w in windows])
        for i, seed in enumerate(seeds):
            self.assertAllClose(seed.get_ydata(), [back(w[i]) for w in windows])

    def test_single_seed_is_one_line(self):
        figure = _draw(_panel({"a": _seeds([3.0, 2.0])}))
        (line,) = _lines(figure.axes[0])
        self.assertAllEqual(line.get_ydata(), [3.0, 2.0])
        self.assertEqual(legend(figure), ["a"])

    def test_single_step_is_visible(self):
        lines = _lines(_axis([[2.0], [4.0]]))
        self.assertEqual([line.get_marker() for line in lines], [".", ".", "."])
        values = [line.get_xydata()[0] for line in lines]
        self.assertAllEqual(values, [[10, 2.0], [10, 4.0], [10, 3.0]])

    def test_only_steps_that_all_seeds_have(self):
        axis = _axis([[1.0, 2.0, 3.0], [3.0, 4.0]])
        self.assertAllEqual(_lines(axis)[-1].get_xydata(), [[10, 2.0], [20, 3.0]])
        self.assertEqual(notes(axis), ["only steps that all seeds have"])
        self.assertEqual(notes(_axis([[1.0, 2.0], [3.0, 4.0]])), [])

    def test_steps_in_between_and_out_of_order(self):
        seeds = [train([1.0, 2.0, 3.0, 4.0])[::-1], evaluations([10.0, 20.0])]
        seeds[1] = [record | {"kind": "train"} for record in seeds[1]]
        mean = _lines(_draw(_panel({"a": seeds})).axes[0])[-1]
        self.assertAllEqual(mean.get_xydata(), [[20, 6.0], [40, 12.0]])

    def test_no_step_in_common(self):
        seeds = [train([1.0]), train([1.0, 2.0])[1:]]
        with self.assertRaisesRegex(ValueError, r"groups\['a'\], whose 2 .*'train'"):
            _draw(_panel({"a": seeds}))


class NotFiniteTest(tf.test.TestCase):
    def test_such_values_are_left_out_and_the_end_is_marked(self):
        seeds = _seeds([1.0, 7.0, math.inf, math.nan], [3.0, math.nan, 5.0, 4.0])
        figure = _draw(_panel({"a": seeds, "b": _seeds([1.0], [2.0])}))
        axis = figure.axes[0]
        first, second, mean = _lines(axis)
        self.assertAllEqual(mean.get_ydata(), [2.0, 7.0, 5.0, 4.0])
        self.assertAllEqual(first.get_ydata(), [1.0, 7.0, math.nan, math.nan])
        self.assertAllEqual(second.get_ydata(), [3.0, math.nan, 5.0, 4.0])
        self.assertEqual(crosses(axis), [(20, 7.0)])
        self.assertEqual(notes(axis), ["values that are not finite are left out"])
        self.assertEqual(legend(figure), ["a (diverged)", "b", _SEEDS])

    def test_gap_where_no_seed_is_finite(self):
        axis = _axis([[1.0, math.nan, 3.0], [2.0, math.inf, 4.0]])
        for line in _lines(axis):
            self.assertAllEqual(np.isfinite(line.get_ydata()), [True, False, True])
        self.assertEqual(crosses(axis), [])

    def test_all_seeds_diverge(self):
        axis = _axis([[1.0, 9.0, math.nan], [2.0, math.nan, math.nan]])
        self.assertAllEqual(_lines(axis)[-1].get_ydata(), [1.5, 9.0, math.nan])
        self.assertEqual(crosses(axis), [(20, 9.0), (10, 2.0)])

    def test_single_seed_that_diverges_is_marked(self):
        self.assertEqual(crosses(_axis([[1.0, 9.0, math.nan]])), [(20, 9.0)])

    def test_an_end_after_the_steps_that_all_seeds_have_is_not_marked(self):
        seeds = _seeds([1.0, 2.0, 9.0, math.nan], [2.0, 3.0])
        figure = _draw(_panel({"a": seeds}))
        self.assertEqual(crosses(figure.axes[0]), [])
        self.assertEqual(legend(figure), ["a (diverged)", _SEEDS])

    def test_a_label_that_diverges_in_one_panel_says_so_in_the_legend(self):
        fine, bad = ({"a": _seeds([1.0, end])} for end in (2.0, math.nan))
        for groups in ([fine, bad], [bad, fine]):
            self.assertEqual(legend(_draw(*map(_panel, groups))), ["a (diverged)"])


class ValuesTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("number", {"value": "accuracy"}, [0.1, 0.2, 0.3]),
        ("function", {"value": lambda r: r["loss"] - r["step"]}, [-8, -17, -29]),
        (
            "function_that_leaves_out",
            {"value": lambda r: r["loss"] if r["step"] != 20 else None},
            [2.0, 1.0],
        ),
    )
    def test_of_the_record(self, options, expected):
        rows = train([2.0, 3.0, 1.0], accuracy=[0.1, 0.2, 0.3])
        rows += evaluations([9.0], accuracy=[9.0])
        (line,) = _lines(_draw(_panel({"a": [rows]}, **options)).axes[0])
        self.assertAllClose(line.get_ydata(), expected)

    @parameterized.named_parameters(
        ("number", "distance", [2.0, 8.0]),
        ("function", lambda entry: entry["distance"] * entry["step"], [10.0, 80.0]),
    )
    def test_of_a_layer(self, value, expected):
        groups = {"a": [ics([1.0, 4.0])]}
        panel = _panel(groups, kind="ics", value=value, layer="conv3")
        (line,) = _lines(_draw(panel).axes[0])
        self.assertAllEqual(line.get_ydata(), expected)

    def test_no_number(self):
        with self.assertRaisesRegex(ValueError, "must be a number.*'x'"):
            _draw(_panel({"a": _seeds([1.0])}, value=lambda record: "x"))

    def test_groups_and_seeds_without_such_records_are_left_out(self):
        groups = {
            "none": [evaluations([1.0])],
            "empty": [],
            "some": [train([1.0]), evaluations([1.0]), train([3.0])],
        }
        figure = _draw(_panel(groups))
        self.assertEqual(legend(figure), ["some", _SEEDS])
        mean = _lines(figure.axes[0], COLOURS[2])[-1]
        self.assertAllEqual(mean.get_xydata(), [[10, 2.0]])

    def test_a_panel_with_nothing_says_so(self):
        groups = {"a": _seeds([1.0])}
        figure = _draw(_panel(groups), _panel(groups, kind="eval", title="Test"))
        self.assertEqual(titles(figure), ["Loss", "Test"])
        self.assertEqual(notes(figure.axes[1]), ["nothing was recorded"])
        self.assertEmpty(figure.axes[1].get_yticks())

    def test_nothing_to_draw(self):
        entries = by_layer("curvature", {"eigenvalue": 1.0})
        groups = {"a": [entries], "b": []}
        panels = [
            _panel(groups),
            _panel(groups, "eigenvalue", "curvature", "Curvature", layer="other"),
        ]
        message = r"'Loss' \(kind 'train'\) or 'Curvature' .*runs=\['a', 'b'\]"
        with self.assertRaisesRegex(NothingToDraw, message):
            _draw(*panels)


class LooksTest(tf.test.TestCase, parameterized.TestCase):
    def test_a_label_has_the_same_look_in_all_panels(self):
        first = {str(i): _seeds([2.0, 1.0]) for i in range(7)}
        second = {"new": first["0"], "3": first["0"], "0": first["0"]}
        figure = _draw(_panel(first), _panel(second))
        looks = [
            [(line.get_color(), line.get_linestyle()) for line in axis.get_lines()]
            for axis in figure.axes
        ]
        self.assertEqual([colour for colour, _ in looks[0]], list(COLOURS))
        # Two solid ones, then some that leave what is behind them visible.
        dashes = [dash for _, dash in looks[0]]
        self.assertEqual(dashes, ["-", "-", "--", "--", "--", "-", "-"])
        expected = [(COLOURS[0], "-"), (COLOURS[3], "--"), (COLOURS[0], "--")]
        self.assertEqual(looks[1], expected)
        handles = figure.legends[0].get_lines()
        shown = [(line.get_color(), line.get_linestyle()) for line in handles]
        self.assertEqual(shown, looks[0] + expected[2:])
        self.assertEqual(legend(figure), [*map(str, range(7)), "new"])

    def test_panels_of_one_axis(self):
        low, high, other = (
            {"a": _seeds(values)} for values in ([0.1, 0.3], [0.2, 0.6], [0.9, 0.8])
        )
        named = {"same_axis": "accuracy"}
        panels = [_panel(low, **named), _panel(other), _panel(high, **named)]
        first, own, last = _draw(*panels).axes
        self.assertAllClose(first.get_ylim(), last.get_ylim())
        # A margin of a twentieth of each panel's own range.
        self.assertAllClose(first.get_ylim(), (0.1 - 0.01, 0.6 + 0.02))
        self.assertAllClose(own.get_ylim(), (0.8 - 0.005, 0.9 + 0.005))

    @parameterized.named_parameters(
        ("narrow", [2.0, 1.0], None, "linear"),
        ("wide", [101.0, 1.0], None, "log"),
        ("wide_and_negative", [101.0, -1.0], None, "linear"),
        ("narrow_but_asked_for", [2.0, 1.0], True, "log"),
        ("wide_but_declined", [101.0, 1.0], False, "linear"),
    )
    def test_scale_of_the_value_axis(self, losses, log, expected):
        self.assertEqual(_axis([losses], log=log).get_yscale(), expected)

    @parameterized.named_parameters(
        ("both", (-1.0, 3.0), False, (-1.0, 3.0)),
        ("low", (0.0, None), False, (0.0, None)),
        ("high", (None, 7.0), False, (None, 7.0)),
        ("logarithmic", (0.1, 50.0), True, (0.1, 50.0)),
        ("zero_of_a_logarithmic_axis", (0.0, 50.0), True, (None, 50.0)),
    )
    def test_limits(self, limits, log, expected):
        losses = [[2.0, 1.0]]
        own = _axis(losses, log=log).get_ylim()
        wanted = [o if e is None else e for o, e in zip(own, expected, strict=True)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            axis = _axis(losses, log=log, limits=limits)
        self.assertAllClose(axis.get_ylim(), wanted)

    def test_ideal(self):
        figure = _draw(_panel({"a": _seeds([3.0, 2.0])}, ideal=1.0))
        ideal, line = figure.axes[0].get_lines()
        self.assertAllEqual(ideal.get_ydata(), [1.0, 1.0])
        self.assertEqual((ideal.get_linestyle(), line.get_linestyle()), ("--", "-"))
        self.assertEqual(legend(figure), ["a", "ideal"])

    def test_rows_of_panels(self):
        groups = {"a": _seeds([3.0, 2.0])}
        panels = [_panel(groups, title=str(i)) for i in range(4)]
        figure = _draw(*panels)
        self.assertEqual(titles(figure), ["0", "1", "2", "3"])
        labels = [axis.get_xlabel() != "" for axis in figure.axes]
        self.assertEqual(labels, [False, True, True, True])
        for options, expected in ({}, [0, 0, 0, 1]), ({"columns": 1}, [0, 1, 2, 3]):
            axes = _draw(*panels, **options).axes
            rows = [axis.get_subplotspec().rowspan.start for axis in axes]
            self.assertEqual(rows, expected)

    def test_panels_that_are_not_there_are_forgotten(self):
        gc.disable()  # or it depends on the moment at which they leave the memory
        self.addCleanup(gc.enable)
        figure = _draw(*[_panel({"a": _seeds([3.0, 2.0])})] * 4)
        figure.draw_without_rendering()
        self.assertLen(figure.axes, 4)

    @parameterized.named_parameters(("alike", 5, True), ("not_alike", 6, False))
    def test_step_axis_is_shared_by_panels_of_like_length(self, length, shared):
        short, long = ({"a": _seeds([1.0] * n)} for n in (4, length))
        left, right = _draw(_panel(short), _panel(long)).axes
        self.assertEqual(left.get_xlim() == right.get_xlim(), shared)

    def test_texts(self):
        groups = {"_a$b$": _seeds([1.0])}
        label = "a label of some length, of the value"
        panels = [_panel(groups, title="c$d$", ylabel=y) for y in (label, "$g_t + g$")]
        figure = _draw(*panels)
        self.assertEqual(figure.get_suptitle(), "Seeds")
        self.assertEqual(legend(figure), ["_a$b$"])
        left, right = figure.axes
        self.assertFalse(left.title.get_parse_math())
        lines = left.get_ylabel().split("\n")
        self.assertEqual((len(lines), " ".join(lines)), (2, label))
        self.assertEqual(right.get_ylabel(), "$g_t + g$")


class ErrorsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("falling", (2.0, 1.0), "low < high.*limits=.2.0, 1.0"),
        ("equal", (1.0, 1.0), "low < high.*limits=.1.0, 1.0"),
        ("not_finite", (0.0, math.inf), "limits must be finite.*inf"),
    )
    def test_limits(self, limits, message):
        with self.assertRaisesRegex(ValueError, message):
            _panel({}, limits=limits)

    def test_a_run_in_place_of_seeds(self):
        with self.assertRaisesRegex(ValueError, r"groups\['a'\].*in brackets"):
            _panel({"a": train([1.0])})

    def test_panels_and_columns(self):
        with self.assertRaisesRegex(ValueError, r"panels=\[\]"):
            plots.seed_curves([], title="none")
        with self.assertRaisesRegex(ValueError, "columns=0"):
            _draw(_panel({"a": _seeds([1.0])}), columns=0)


if __name__ == "__main__":
    tf.test.main()
