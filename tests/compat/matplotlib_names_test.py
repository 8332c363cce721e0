"""Tests of tfbn._compat.matplotlib_names."""

from unittest import mock

import tensorflow as tf
from matplotlib import figure

from tfbn import _compat


class MatplotlibTest(tf.test.TestCase):
    def test_stop_aligning_ylabel(self):
        drawn = figure.Figure()
        above, last = drawn.subplots(2, 1)
        drawn.align_ylabels()
        grouper = drawn._align_label_groups["y"]
        self.assertTrue(grouper.joined(above, last))
        _compat.stop_aligning_ylabel(last)
        self.assertNotIn(last, grouper)
        last.remove()
        drawn.draw_without_rendering()
        with self.assertRaisesRegex(ImportError, "_align_label_groups.* matplotlib "):
            _compat.stop_aligning_ylabel(mock.Mock(figure=object()))


if __name__ == "__main__":
    tf.test.main()
