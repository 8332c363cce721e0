"""Tests of tfbn.plots.noise_scale."""

import numpy as np
import tensorflow as tf

from tests.plots.helpers import legend
from tests.plots.helpers import notes
from tests.plots.helpers import titles
from tfbn import plots

_TRACES = [3.0, 1.0, 2.0, 2.0, 2.0, 4.0]


def _records(norms, traces=tuple(_TRACES)):
    """Of one layer too, whose estimates are half of the whole."""
    rows = []
    for i, (norm, trace) in enumerate(zip(norms, traces, strict=False)):
        values = {"squared_norm": norm, "covariance_trace": trace}
        half = {name: value / 2 for name, value in values.items()}
        sizes = {"small_batch": 8, "large_batch": 32}
        layers = [{"name": "conv1", **half}]
        row = {"step": 10 * i, "kind": "noise_scale", **values, **sizes}
        rows.append(row | {"layers": layers})
    return rows


class NoiseScaleTest(tf.test.TestCase):
    def test_ratio_of_means_and_not_mean_of_ratios(self):
        norms = [0.5, 0.25, -0.1, 0.35, 0.5, 0.4]
        figure = plots.noise_scale({"a": _records(norms)})
        ratio, batch_size = figure.axes[0].get_lines()
        # Over five, and fewer at the ends.
        windows = [range(max(0, i - 2), min(6, i + 3)) for i in range(6)]
        sums = [[sum(v[i] for i in w) for w in windows] for v in (_TRACES, norms)]
        self.assertAllEqual(ratio.get_xdata(), [0, 10, 20, 30, 40, 50])
        self.assertAllClose(ratio.get_ydata(), np.divide(*sums))
        self.assertEqual(batch_size.get_ydata(), [32, 32])
        for axis, values in zip(figure.axes[1:], (_TRACES, norms), strict=True):
            shown = np.where(np.array(values) > 0, values, np.nan)
            self.assertAllEqual(axis.get_lines()[0].get_ydata(), shown)
        self.assertEqual(notes(figure.axes[2]), ["values up to zero are not drawn"])
        self.assertEqual(legend(figure), ["a", "batch size"])

    def test_no_ratio_where_the_mean_is_not_positive(self):
        figure = plots.noise_scale({"a": _records([1.0] * 3 + [-9.0] * 3)})
        ratio = figure.axes[0].get_lines()[0].get_ydata()
        self.assertAllEqual(np.isfinite(ratio), [True] + [False] * 5)
        self.assertIn("mean of |G|² is not positive", notes(figure.axes[0])[0])

    def test_layers_have_rows(self):
        figure = plots.noise_scale({"a": _records([1.0] * 6)}, ["conv1"])
        names = ["noise scale", "noise of one example", "squared gradient"]
        heads = [f"{row}: noise scale" for row in ("all parameters", "conv1")]
        self.assertEqual(titles(figure), [heads[0], *names[1:], heads[1], *names[1:]])
        whole, layer = (figure.axes[i].get_lines()[0].get_ydata() for i in (2, 5))
        self.assertAllEqual(whole, 2.0 * layer)


if __name__ == "__main__":
    tf.test.main()
