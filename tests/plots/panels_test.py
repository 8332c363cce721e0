"""Tests of tfbn.plots.panels."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests.plots.helpers import notes
from tfbn.plots import panels
from tfbn.plots import runs


def _axis(rows=1, columns=1):
    return panels.grid("title", rows, columns)[1][0, 0]


def _curve(*values):
    (run,) = runs.styled({"a": []})
    return runs.Curve(run, np.arange(len(values)), np.array(values, dtype=float))


class PanelsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("zero", (0.0, 2.0), "log", ["zeros are not drawn"]),
        ("negative", (-1.0, 2.0), "log", ["values up to zero are not drawn"]),
        ("positive", (1.0, 2.0), "log", []),
        ("none_positive", (-1.0, 0.0), "linear", []),
        ("none_finite", (np.nan, np.inf), "linear", []),
        ("none", (), "linear", []),
    )
    def test_scale(self, values, expected, said):
        axis = _axis()
        panels.scale(axis, [_curve(*values)], log=True)
        self.assertEqual(axis.get_yscale(), expected)
        self.assertEqual(notes(axis), said)

    @parameterized.named_parameters(
        ("short", (2.0, 30.0), 20.0, "20"),
        ("below_one", (0.02, 3.0), 0.1, "0.1"),
        ("large", (1e3, 3e4), 1e4, "10,000"),
    )
    def test_numbers_of_a_short_log_axis_are_plain(self, limits, value, expected):
        axis = _axis()
        panels.scale(axis, [_curve(*limits)], log=True)
        axis.set_ylim(*limits)
        self.assertEqual(axis.yaxis.get_major_formatter()(value), expected)

    @parameterized.named_parameters(
        ("long", (-0.5, 1.0), (-0.5, 1.075)),  # a twentieth of 1.5 above
        ("short", (0.9999, 1.0), (0.95, 1.0025)),
        ("more_room_already", (0.0, 1.4), (0.0, 1.4)),
    )
    def test_axis_that_ends_at_an_ideal(self, limits, expected):
        axis = _axis()
        axis.set_ylim(limits)
        panels.include_ideal(axis, 1.0)
        self.assertAllClose(axis.get_ylim(), expected)

    def test_notes_are_said_once_and_one_over_the_other(self):
        axis = _axis()
        for text in ("one", "two", "one"):
            panels.note(axis, text)
        self.assertEqual(notes(axis), ["one", "two"])
        low, high = (text.get_position()[1] for text in axis.texts)
        self.assertLess(low, high)

    def test_note_gets_room_below_the_values(self):
        axis = _axis()
        axis.plot([0, 1], [0.0, 1.0])
        before = axis.get_ylim()[0]
        panels.note(axis, "one")
        self.assertLess(axis.get_ylim()[0], before)

    def test_symmetric_scale_is_linear_up_to_a_power_of_ten(self):
        axis = _axis()
        panels.symmetric_scale(axis, 0.3)
        self.assertEqual(axis.get_yscale(), "symlog")
        self.assertEqual(axis.yaxis.get_transform().linthresh, 1.0)

    @parameterized.named_parameters(
        ("alike", [0.0, 1.0], [2.0, 3.0], (0.0, 3.0)),
        ("five_times_as_wide", [0.0] * 3, [1.0, 1.0, 5.0], (0.0, 5.0)),
        ("too_wide", [0.0] * 3, [1.0, 1.0, 6.0], (0.0, 1.0)),
        ("too_far", [0.0, 0.0, 9.0], [1.0, 1.0, 10.0], (0.0, 1.0)),
        ("no_width", [2.0, 3.0, 900.0], [2.0, 3.0, 900.0], (2.0, 900.0)),
        ("one_point", [2.0], [2.0], (2.0, 2.0)),
    )
    def test_usual_range(self, low, high, expected):
        least, greatest = panels.usual_range(np.array(low), np.array(high))
        margin = 0.05 * (expected[1] - expected[0]) or 0.5
        self.assertAllClose((least + margin, greatest - margin), expected)

    def test_heads_of_columns_are_literal_and_fit(self):
        _, axes = panels.grid("title", 2, 4)
        panels.head_columns(axes, ["a$b$", "a long label that must be broken", "", ""])
        self.assertEqual(axes[0, 0].get_title(), "a$b$")
        self.assertFalse(axes[0, 0].title.get_parse_math())
        lines = axes[0, 1].get_title().split("\n")
        self.assertEqual(" ".join(lines), "a long label that must be broken")
        self.assertLess(max(map(len, lines)), 23)

    def test_long_titles_and_labels_are_broken(self):
        _, axes = panels.grid("title", 2, 4)
        axes[1, 2].set_title("a_layer_of_some_length: change by one update")
        panels.fit_titles(axes)
        panels.fit_label(axes[1, 0], "a_layer_of_even_more_length, unit 3\nvalue")
        lines = axes[1, 2].get_title().split("\n")
        self.assertGreater(len(lines), 1)
        self.assertLess(max(map(len, lines)), 23)
        lines = axes[1, 0].get_ylabel().split("\n")
        self.assertEqual(lines[-1], "value")
        self.assertLess(max(map(len, lines)), 25)

    def test_left_out_panel_hands_its_labels_up(self):
        _, axes = panels.grid("title", 2, 2)
        self.assertEqual(axes[0, 1].get_xlabel(), "")
        panels.leave_out_last(axes)
        self.assertLen(axes[0, 0].figure.axes, 3)
        self.assertEqual(axes[0, 1].get_xlabel(), "optimizer step")


if __name__ == "__main__":
    tf.test.main()
