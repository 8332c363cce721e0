"""Tests of tfbn.plots.log_ticks."""

import tensorflow as tf
from absl.testing import parameterized
from matplotlib.figure import Figure

from tfbn.plots import log_ticks


def _axis(*limits):
    axis = Figure().subplots()
    axis.set_yscale("log")
    log_ticks.set_log_ticks(axis)
    axis.set_ylim(*limits)
    return axis


class LogTicksTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ((0.005, 20.0), ["0.01", "0.1", "1", "10"]),
        ((0.05, 4.0), ["0.1", "0.3", "1", "3"]),
        ((0.2, 9.0), ["0.3", "1", "3"]),
        ((3.0, 60.0), ["3", "10", "30"]),
        ((4.0, 60.0), ["5", "10", "20", "50"]),
        ((1.2e3, 4.7e4), ["3,000", "10,000", "30,000"]),
        ((2e6, 4e7), [r"$3 \times 10^{6}$", "$10^{7}$", r"$3 \times 10^{7}$"]),
        ((1e-4, 9e1), [f"$10^{{{i}}}$" for i in range(-4, 2)]),
        ((1e-2, 1e10), [f"$10^{{{i}}}$" for i in range(-2, 11, 2)]),
        ((1.3, 2.3), ["1.4", "1.6", "1.8", "2", "2.2"]),
    )
    def test_three_to_seven_labels_of_round_numbers(self, limits, expected):
        axis = _axis(*limits)
        axis.figure.draw_without_rendering()
        labels = [label.get_text() for label in axis.get_yticklabels()]
        self.assertEqual(labels, expected)
        minor = [label.get_text() for label in axis.get_yticklabels(minor=True)]
        self.assertEqual(set(minor) - {""}, set())

    def test_turned_over_and_degenerate(self):
        ticks = log_ticks.LogTicks()
        self.assertAllClose(ticks.tick_values(60.0, 4.0), [5.0, 10.0, 20.0, 50.0])
        self.assertEqual(ticks.tick_values(2.0, 2.0), [])


if __name__ == "__main__":
    tf.test.main()
