"""Tests of tfbn.plots.surface."""

import math
import warnings

import numpy as np
import tensorflow as tf
from matplotlib.colors import LogNorm

from tests.plots.helpers import legend
from tests.plots.helpers import notes
from tfbn import plots

_RADII = [-1.0, 0.0, 1.0]


def _records(*losses):
    """Returns records at the steps 1000, 2000, ..."""
    return [
        {
            "step": 1000 * (t + 1),
            "kind": "surface_2d" if np.ndim(values) == 2 else "surface",
            "radii": _RADII,
            "losses": values,
        }
        for t, values in enumerate(losses)
    ]


def _plane(first, second, offset=1.0):
    """Returns losses that rise by `first` and `second` along the two directions."""
    x, y = np.meshgrid(_RADII, _RADII, indexing="ij")
    return (offset + first * x + second * y).tolist()


class CurvesTest(tf.test.TestCase):
    def test_draws_the_last_record_of_each_run(self):
        runs = {
            "a": _records([9.0, 9.0, 9.0], [3.0, 1.0, 2.0]),
            "b": _records([4.0] * 3),
        }
        figure = plots.surface(runs)
        (axis,) = figure.axes
        a, b = axis.get_lines()[:2]
        self.assertAllEqual(a.get_xydata(), [[-1, 3.0], [0, 1.0], [1, 2.0]])
        self.assertAllEqual(b.get_ydata(), [4.0] * 3)
        self.assertEqual(legend(figure), ["a, step 2,000", "b, step 1,000"])
        self.assertEqual(axis.get_yscale(), "linear")

    def test_chosen_step(self):
        runs = {"a": _records([9.0, 8.0, 9.0], [3.0, 1.0, 2.0])}
        line = plots.surface(runs, step=1500).axes[0].get_lines()[0]
        self.assertAllEqual(line.get_ydata(), [9.0, 8.0, 9.0])

    def test_wide_losses_have_a_logarithmic_axis(self):
        (axis,) = plots.surface({"a": _records([math.inf, 0.1, 50.0])}).axes
        self.assertEqual(axis.get_yscale(), "log")
        self.assertAllEqual(axis.get_lines()[0].get_ydata(), [math.nan, 0.1, 50.0])

    def test_nothing_to_draw(self):
        for rows in ([], _records([math.nan] * 3)):
            with self.assertRaisesRegex(ValueError, "No run has finite losses"):
                plots.surface({"a": rows})


class MapsTest(tf.test.TestCase):
    def test_first_direction_is_to_the_right_second_is_up(self):
        figure = plots.surface({"a": _records(_plane(0.5, 0.0))})
        axis, bar = figure.axes
        filled = axis.collections[0]
        extents = [path.get_extents() for path in filled.get_paths() if len(path)]
        self.assertLess(extents[0].x1, 0.0)
        self.assertGreater(extents[-1].x0, 0.0)
        self.assertAllEqual((extents[0].y0, extents[0].y1), (-1.0, 1.0))
        self.assertEqual(axis.get_xlabel(), "first direction")
        self.assertEqual(axis.get_ylabel(), "second direction")
        self.assertEqual(axis.get_title(), "a, step 1,000")
        self.assertEqual(bar.get_ylabel(), "loss")
        (centre,) = axis.get_lines()
        self.assertAllEqual(centre.get_xydata(), [[0.0, 0.0]])

    def test_levels_are_logarithmic_over_more_than_a_decade(self):
        wide = [[1.0, 2.0, 5.0], [9.0, 20.0, 50.0], [90.0, 95.0, 100.0]]
        for losses, kind in ((wide, True), (_plane(0.1, 0.1), False)):
            axis = plots.surface({"a": _records(losses)}).axes[0]
            levels = axis.collections[0].levels
            self.assertIs(isinstance(axis.collections[0].norm, LogNorm), kind)
            steps = np.diff(np.log(levels) if kind else levels)
            self.assertAllClose(steps, np.full_like(steps, steps[0]))
            self.assertAllClose(levels[0], np.min(losses))

    def test_runs_share_the_levels(self):
        runs = {"a": _records(_plane(0.1, 0.1)), "b": _records(_plane(0.1, 0.1, 3.0))}
        left, right, _ = plots.surface(runs).axes
        self.assertAllClose(left.collections[0].levels, right.collections[0].levels)
        self.assertEqual(right.get_title(), "b, step 1,000")

    def test_losses_that_are_not_finite(self):
        losses = _plane(0.5, 0.1)
        losses[2][2] = math.inf
        axis = plots.surface({"a": _records(losses)}).axes[0]
        self.assertEqual(notes(axis), ["grey: not finite"])
        self.assertAllInRange(axis.collections[0].levels, 0.4, 1.6)

    def test_constant_losses_fill_the_map_with_the_lowest_level(self):
        for loss in (1.0, 0.0, -3.0, 1e6):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                figure = plots.surface({"a": _records(_plane(0.0, 0.0, loss))})
                figure.draw_without_rendering()
            filled, lines = figure.axes[0].collections
            self.assertEqual(filled.levels[0], loss)
            self.assertAllGreater(np.diff(filled.levels), 0.0)
            lowest, *higher = filled.get_paths()
            self.assertAllEqual(lowest.get_extents(), [[-1.0, -1.0], [1.0, 1.0]])
            self.assertEmpty(np.concatenate([p.vertices for p in higher]))
            self.assertEmpty(np.concatenate([p.vertices for p in lines.get_paths()]))

    def test_curves_and_maps_have_panels_of_their_own(self):
        runs = {"a": _records([3.0, 1.0, 2.0]), "b": _records(_plane(0.5, 0.1))}
        figure = plots.surface(runs)
        curve, contours = figure.axes[:2]
        self.assertAllEqual(curve.get_lines()[0].get_ydata(), [3.0, 1.0, 2.0])
        self.assertEqual(contours.get_title(), "b, step 1,000")
        self.assertEqual(legend(figure), ["a, step 1,000"])

    def test_a_run_with_both_has_both(self):
        records = _records([3.0, 1.0, 2.0], _plane(0.5, 0.1), [9.0, 8.0, 9.0])
        figure = plots.surface({"a": records})
        curve, contours = figure.axes[:2]
        self.assertAllEqual(curve.get_lines()[0].get_ydata(), [9.0, 8.0, 9.0])
        self.assertEqual(contours.get_title(), "a, step 2,000")
        self.assertEqual(legend(figure), ["a, step 3,000"])
        figure = plots.surface({"a": records}, step=1500)
        (curve,) = figure.axes
        self.assertAllEqual(curve.get_lines()[0].get_ydata(), [3.0, 1.0, 2.0])


if __name__ == "__main__":
    tf.test.main()
