"""Tests of tfbn.plots.renorm."""

import tensorflow as tf

from tests.plots.helpers import legend
from tests.plots.helpers import titles
from tfbn import plots

_VALUES = {
    "r_largest": [1.0, 4.0, 2.0],
    "common_scale": [1.0, 2.0, 1.5],
    "rmax": [1.0, 1.0, 3.0],
    "d_largest": [0.5, 8.0, 2.0],
    "d_median": [0.1, 0.4, 0.2],
    "dmax": [0.0, 0.0, 5.0],
    "r_clipped": [0.0, 1.0, 0.0],
    "d_clipped": [1.0, 1.0, 0.25],
}


def _records(**layers):
    return [
        {
            "step": 10 * i,
            "kind": "renorm",
            "layers": [
                {"name": name} | {k: factor * v[i] for k, v in _VALUES.items()}
                for name, factor in layers.items()
            ],
        }
        for i in range(3)
    ]


class RenormTest(tf.test.TestCase):
    def test_lines_of_a_layer(self):
        figure = plots.renorm({"a": _records(norm1=1.0, norm2=0.5)}, ["norm2"])
        self.assertEqual(
            titles(figure), ["norm2: r", "norm2: |d|", "norm2: channels clipped"]
        )
        drawn = [
            list(line.get_ydata()) for axis in figure.axes for line in axis.get_lines()
        ]
        halves = [[0.5 * v for v in values] for values in _VALUES.values()]
        halves[5][:2] = drawn[5][:2]  # zeros, which a logarithmic axis has no place for
        self.assertAllEqual(drawn[5][:2], [float("nan")] * 2)
        self.assertAllClose(drawn, halves)
        labels = ["a", "largest", "mean of r, median of |d|", "bound", "share of d"]
        self.assertEqual(legend(figure), labels)

    def test_a_row_for_each_layer(self):
        runs = {"a": _records(n1=1.0, n2=1.0, n3=1.0), "b": _records(n1=1.0, n2=1.0)}
        figure = plots.renorm(runs)
        self.assertEqual(titles(figure)[::3], ["n2: r"])
        figure = plots.renorm(runs, ["n3", "n1"])
        self.assertEqual(titles(figure)[::3], ["n3: r", "n1: r"])
        self.assertLen(figure.axes[3].get_lines(), 6)


if __name__ == "__main__":
    tf.test.main()
