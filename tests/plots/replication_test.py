"""Tests of tfbn.plots.replication."""

import tensorflow as tf

from tests.plots.helpers import by_layer
from tests.plots.helpers import legend
from tests.plots.helpers import titles
from tfbn import plots


def _entry(distance, cosine):
    return {
        "distance": distance,
        "cosine": cosine,
        "gradient_sum": 3 * distance,
        "distance_faulty": 100 * distance,
        "cosine_faulty": cosine / 10,
    }


class ReplicationTest(tf.test.TestCase):
    def test_draws_the_records(self):
        rows = by_layer(
            "replication", _entry(1.0, -0.5), _entry(2.0, 0.4), name="conv5"
        )
        figure = plots.replication({"a": rows})
        self.assertEqual(
            titles(figure),
            [
                "conv5: distance",
                "distance, faulty",
                "conv5: |cosine|",
                "|cosine|, faulty",
                "conv5: gradient sum",
            ],
        )
        values = [axis.get_lines()[-1].get_ydata() for axis in figure.axes]
        expected = [[1, 2], [100, 200], [0.5, 0.4], [0.05, 0.04], [3, 6]]
        self.assertAllClose(values, expected)
        self.assertAllEqual(figure.axes[0].get_lines()[0].get_xdata(), [10, 20])
        scales = [axis.get_yscale() for axis in figure.axes]
        self.assertEqual(scales, ["log", "log", "linear", "linear", "log"])
        self.assertEqual(legend(figure), ["a", "ideal"])

    def test_right_and_faulty_have_the_same_axis(self):
        rows = by_layer("replication", _entry(1.0, -0.5), _entry(2.0, 0.4))
        axes = plots.replication({"a": rows}).axes
        self.assertAllClose(axes[0].get_ylim(), axes[1].get_ylim())
        self.assertAllClose(axes[2].get_ylim(), axes[3].get_ylim())
        self.assertGreater(axes[0].get_ylim()[1], 200.0)


if __name__ == "__main__":
    tf.test.main()
