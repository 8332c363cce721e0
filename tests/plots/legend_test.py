"""Tests of tfbn.plots.legend."""

import tensorflow as tf
from absl.testing import parameterized

from tfbn.plots import legend
from tfbn.plots import panels
from tfbn.plots import runs


class LegendTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("one_row", ["none", "batch_norm", "least to greatest of the seeds"], 1),
        ("as_many_columns_as_fit", ["none", "batch_norm", 60 * "x", 20 * "y"], 2),
        ("none_beside_another", 3 * [80 * "x"], 3),
        ("one", ["a"], 1),
    )
    def test_rows(self, labels, expected):
        figure, _ = panels.grid("title", 1, 2)
        labels = [f"{label}{i}" for i, label in enumerate(labels)]
        drawn = [runs.Layers(r, {}) for r in runs.styled({x: [] for x in labels})]
        legend.add_legend(figure, drawn, {})
        figure.draw_without_rendering()
        texts = figure.legends[0].get_texts()
        heights = {round(text.get_window_extent().y0) for text in texts}
        self.assertLen(heights, expected)
        ends = [text.get_window_extent().x1 for text in texts]
        self.assertLessEqual(max(ends), figure.bbox.width)


if __name__ == "__main__":
    tf.test.main()
