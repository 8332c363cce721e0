"""Tests of tfbn.plots.heat_map."""

import math

import matplotlib
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from matplotlib import colors

from tests.plots.helpers import legend
from tests.plots.helpers import titles
from tfbn import plots
from tfbn.plots.runs import NothingToDraw

_NAN, _INF = math.nan, math.inf

# A colour map has 256 colours, between two of which no part differs by more.
_COLOUR_STEP = 0.02


def _table(values, **options):
    rows, columns = np.shape(values)
    options = {"title": "Table", "rows": "abcdefgh"[:rows]} | options
    options = {"columns": [str(i) for i in range(columns)]} | options
    return plots.HeatTable(values=values, **options)


def _draw(*tables):
    return plots.heat_map(tables, title="Heat")


def _axis(values, **options):
    return _draw(_table(values, **options)).axes[0]


def _colours(axis):
    """Returns the colours of the cells, row by row."""
    (mesh,) = axis.collections
    mesh.update_scalarmappable()
    return mesh.get_facecolors().reshape(-1, 4)[:, :3]


def _texts(axis):
    """Returns what is written where: (row, column) -> text."""
    return {
        tuple(int(i) for i in text.get_position()[::-1]): text.get_text()
        for text in axis.texts
    }


def _bar(axis):
    (bar,) = axis.child_axes
    return bar


def _luminance(colour):
    """Returns the relative luminance of sRGB, as WCAG 2 defines it."""
    rgb = np.array(colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


class CellsTest(tf.test.TestCase, parameterized.TestCase):
    def test_first_row_is_at_the_top_first_column_at_the_left(self):
        axis = _axis([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], text="{:.1f}")
        (mesh,) = axis.collections
        self.assertAllEqual(mesh.get_array(), [[1, 2, 3], [4, 5, 6]])
        self.assertAllEqual(mesh.get_coordinates()[0, 0], [-0.5, -0.5])
        self.assertAllEqual(mesh.get_coordinates()[-1, -1], [2.5, 1.5])
        bottom, top = axis.get_ylim()
        self.assertGreater(bottom, top)
        self.assertEqual(_texts(axis)[0, 2], "3.0")
        self.assertEqual(_texts(axis)[1, 0], "4.0")
        rows, columns = axis.get_yticklabels(), axis.get_xticklabels()
        self.assertEqual([label.get_text() for label in rows], ["a", "b"])
        self.assertEqual([label.get_text() for label in columns], ["0", "1", "2"])
        self.assertAllEqual(axis.get_yticks(), [0, 1])

    @parameterized.named_parameters(
        ("linear", {}, [0.0, 0.09, 1.0]),
        ("logarithmic", {"log": True}, [0.0, 0.5, 1.0]),
        ("low_is_good", {"low_is_good": True}, [1.0, 0.91, 0.0]),
        ("limits", {"limits": (0.0, 20.0)}, [0.05, 0.5, 1.0]),
        ("logarithmic_limits", {"log": True, "limits": (10.0, 1e3)}, [0, 0, 0.5]),
    )
    def test_colours(self, options, expected):
        axis = _axis([[1.0, 10.0, 100.0]], **options)
        viridis = matplotlib.colormaps["viridis"](expected)[:, :3]
        self.assertAllClose(_colours(axis), viridis, atol=_COLOUR_STEP)

    def test_good_is_bright(self):
        for low_is_good in (False, True):
            axis = _axis([[1.0, 2.0, 3.0]], low_is_good=low_is_good)
            brightness = [_luminance(colour) for colour in _colours(axis)]
            self.assertEqual(np.argmax(brightness), 0 if low_is_good else 2)

    def test_not_measured_is_white_and_empty(self):
        figure = _draw(_table([[1.0, _NAN, 3.0]]))
        axis = figure.axes[0]
        mask = axis.collections[0].get_array().mask
        self.assertAllEqual(mask, [[False, True, False]])
        self.assertEqual(axis.get_facecolor(), (1.0, 1.0, 1.0, 1.0))
        self.assertEqual(_texts(axis), {(0, 0): "1", (0, 1): "", (0, 2): "3"})
        self.assertEqual(legend(figure), ["not measured"])
        self.assertEmpty(axis.patches)

    def test_never_is_hatched_grey_with_the_word(self):
        figure = _draw(_table([[1.0, 2.0], [_INF, 3.0]]))
        axis = figure.axes[0]
        (patch,) = axis.patches
        self.assertAllClose(patch.get_center(), [0, 1])
        self.assertNotEmpty(patch.get_hatch())
        red, green, blue, _ = patch.get_facecolor()
        self.assertTrue(red == green == blue and 0.5 < red < 1.0)
        self.assertEqual(_texts(axis)[1, 0], "never")
        mask = axis.collections[0].get_array().mask
        self.assertAllEqual(mask, [[False, False], [True, False]])
        self.assertEmpty(figure.legends)

    def test_infinity_is_no_end_of_the_colours(self):
        viridis = matplotlib.colormaps["viridis"]
        axis = _axis([[1.0, 2.0, _INF, _NAN]])
        expected = [viridis(0.0)[:3], viridis(1.0)[:3]]
        self.assertAllClose(_colours(axis)[:2], expected, atol=_COLOUR_STEP)

    def test_text_stands_out_from_its_cell(self):
        for low_is_good in (False, True):
            axis = _axis([np.linspace(0, 1, 24)], low_is_good=low_is_good)
            for text, cell in zip(axis.texts, _colours(axis), strict=True):
                pair = sorted(map(_luminance, (text.get_color(), cell)))
                self.assertGreater((pair[1] + 0.05) / (pair[0] + 0.05), 4.5)

    def test_texts_are_literal(self):
        options = {"rows": ["a$x$"], "columns": ["b$x$", "c"], "title": "d$x$"}
        axis = _axis([[1.0, 2.0]], text="${:.0f}$", **options)
        labels = [*axis.get_yticklabels(), *axis.get_xticklabels(), *axis.texts]
        for text in [axis.title, *labels, *_bar(axis).get_yticklabels()]:
            self.assertFalse(text.get_parse_math())
        self.assertEqual(_texts(axis)[0, 1], "$2$")


class BarTest(tf.test.TestCase, parameterized.TestCase):
    def test_has_the_label_and_the_format(self):
        axis = _axis([[0.1, 0.9]], text="{:.0%}", colour_label="share")
        bar = _bar(axis)
        self.assertEqual(bar.get_ylabel(), "share")
        self.assertAllClose(bar.get_ylim(), [0.1, 0.9])
        ticks = [label.get_text() for label in bar.get_yticklabels()]
        self.assertEqual(ticks, [f"{place:.0%}" for place in bar.get_yticks()])

    def test_short_logarithmic_bar_has_ticks(self):
        bar = _bar(_axis([[2.0, 5.0]], log=True))
        self.assertAllClose(bar.get_yticks(), np.geomspace(2.0, 5.0, 4))

    @parameterized.named_parameters(
        ("neither", (1.0, 3.0), []),
        ("below", (2.0, 3.0), ["below"]),
        ("above", (1.0, 2.0), ["above"]),
        ("both", (1.5, 2.5), ["below", "above"]),
    )
    def test_arrows_tell_of_values_beyond_the_limits(self, limits, expected):
        arrows = _bar(_axis([[1.0, 3.0]], limits=limits)).patches
        heights = [arrow.get_path().vertices[:, 1].mean() for arrow in arrows]
        places = ["below" if height < 0 else "above" for height in heights]
        self.assertEqual(places, expected)

    def test_equal_values(self):
        for value, log in ((3.0, False), (0.0, False), (-2.0, False), (5.0, True)):
            axis = _axis([[value, value]], log=log)
            low, high = _bar(axis).get_ylim()
            self.assertTrue(low < value < high)

    def test_nothing_finite_has_no_bar(self):
        figure = _draw(_table([[_INF, _NAN]]), _table([[1.0, 2.0]]))
        self.assertEqual([len(axis.child_axes) for axis in figure.axes], [0, 1])


class LayoutTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("one", 1, (2, 3), {}, [0]),
        ("pair", 2, (2, 7), {"ylabel": "network", "colour_label": "steps"}, [0, 0]),
        ("pair_of_wide_texts", 2, (4, 7), {"text": "{:,.2f}"}, [0, 1]),
        ("pair_of_long_labels", 2, (4, 7), {"rows": ["a label of a row"] * 4}, [0, 1]),
        ("pair_of_high_tables", 2, (6, 7), {"ylabel": "network"}, [0, 0]),
        ("five", 5, (2, 4), {}, [0, 0, 0, 1, 1]),
        ("one_that_is_very_wide", 1, (2, 30), {}, [0]),
    )
    def test_cells_are_squarish_and_hold_their_texts(self, count, size, options, rows):
        values = np.random.default_rng(0).uniform(1000, 9999, size)
        values[0, 0] = _INF
        table = _table(values, **({"text": "{:.0f}"} | options))
        figure = _draw(*[table] * count)
        figure.draw_without_rendering()
        drawn, paper = figure.get_tightbbox(), figure.bbox_inches
        self.assertAllGreaterEqual(drawn.min - paper.min, 0.0)
        self.assertAllLessEqual(drawn.max - paper.max, 0.0)
        found = [axis.get_subplotspec().rowspan.start for axis in figure.axes]
        self.assertEqual(found, rows)
        for axis in figure.axes:
            box = axis.get_window_extent()
            width, height = box.width / size[1], box.height / size[0]
            self.assertBetween(width / height, 0.75, 1.7)
            widest = max(text.get_window_extent().width for text in axis.texts)
            self.assertLess(widest, width)
            self.assertAllClose(_bar(axis).get_window_extent().height, box.height)

    def test_figure_is_no_wider_than_it_has_to_be(self):
        tables = {(2, 1): 7.0, (2, 3): 10.0, (30, 1): 13.8}
        for (columns, count), width in tables.items():
            figure = _draw(*[_table([[1.0] * columns])] * count)
            self.assertAllClose(figure.get_figwidth(), width, atol=0.1)

    def test_long_labels_of_columns_are_aslant(self):
        for label, expected in (("0.1", 0.0), ("a_layer_of_some_length", 45.0)):
            axis = _axis([[1.0] * 7], columns=[label] * 7)
            (rotation,) = {text.get_rotation() for text in axis.get_xticklabels()}
            self.assertEqual(rotation, expected)

    def test_tables_of_different_sizes(self):
        first = _table([[1.0, 2.0]], title="x", xlabel="rate", ylabel="network")
        figure = _draw(first, _table([[1.0]] * 3, title="y"))
        self.assertEqual(titles(figure), ["x", "y"])
        self.assertEqual([axis.get_xlabel() for axis in figure.axes], ["rate", ""])
        self.assertEqual([axis.get_ylabel() for axis in figure.axes], ["network", ""])
        self.assertEqual(figure.get_suptitle(), "Heat")


class ErrorsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("too_few", {"columns": "abc"}, r"\[\[1.0, 2.0\]\], 1 rows and 3 columns"),
        ("ragged", {"values": [[1.0], [1.0, 2.0]]}, r"Received: values=\[\[1.0\], "),
        ("texts", {"values": [["x", "y"]]}, r"Received: values=\[\['x', 'y'\]\]"),
        ("none", {"rows": [], "values": []}, r"values=\[\], 0 rows"),
        ("minus_infinity", {"values": [[1.0, -_INF]]}, "-infinity. Received: -inf"),
        ("log_of_zero", {"values": [[1.0, 0.0]], "log": True}, "than 0.*: 0 among"),
        ("limits_fall", {"limits": (2.0, 1.0)}, "low < high.*=.2.0, 1.0"),
        ("limits_equal", {"limits": (1.0, 1.0)}, "low < high.*=.1.0, 1.0"),
        ("limits_infinite", {"limits": (1.0, _INF)}, "limits must be finite.*inf"),
        ("log_limits", {"limits": (0.0, 1.0), "log": True}, "low > 0.*=.0.0, 1.0"),
        ("format", {"text": "{:d}"}, "text='{:d}'"),
        ("format_of_two", {"text": "{} {}"}, "text='{} {}'"),
    )
    def test_tables(self, options, message):
        table = {"title": "", "rows": "a", "columns": "xy", "values": [[1.0, 2.0]]}
        with self.assertRaisesRegex(ValueError, message):
            plots.HeatTable(**(table | options))

    def test_zero_and_negative_values_are_fine_on_a_linear_scale(self):
        self.assertEqual(_texts(_axis([[0.0, -1.0]]))[0, 1], "-1")

    def test_nothing_to_draw(self):
        with self.assertRaisesRegex(ValueError, r"tables=\[\]"):
            plots.heat_map([], title="none")
        with self.assertRaisesRegex(NothingToDraw, r"tables=\['Table', 'Table'\]"):
            _draw(_table([[_NAN]]), _table([[_NAN]]))
        figure = _draw(_table([[_NAN]]), _table([[_INF]]))
        self.assertLen(figure.axes, 2)


if __name__ == "__main__":
    tf.test.main()
