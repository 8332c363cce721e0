"""Tests of tfbn.plots.renorm_bounds."""

import math

import tensorflow as tf

from tests.plots.helpers import legend
from tests.plots.helpers import train
from tfbn import plots


class RenormBoundsTest(tf.test.TestCase):
    def test_draws_the_runs_that_have_bounds(self):
        renorm = train([1.0] * 3, rmax=[1.0, 2.0, 3.0], dmax=[0.0, 2.5, math.inf])
        figure = plots.renorm_bounds({"bn": train([1.0]), "renorm": renorm})
        rmax, dmax = (axis.get_lines() for axis in figure.axes)
        self.assertAllEqual(rmax[0].get_xydata(), [[10, 1.0], [20, 2.0], [30, 3.0]])
        self.assertAllEqual(dmax[0].get_ydata(), [0.0, 2.5, math.nan])
        self.assertLen(dmax, 1)  # an infinite bound is no divergence
        self.assertEqual(legend(figure), ["renorm"])

    def test_equal_schedules_stay_visible(self):
        rows = train([1.0] * 2, rmax=[1.0, 2.0], dmax=[0.0, 1.0])
        lines = plots.renorm_bounds({"a": rows, "b": rows}).axes[0].get_lines()
        self.assertGreater(lines[0].get_linewidth(), lines[1].get_linewidth())


if __name__ == "__main__":
    tf.test.main()
