"""Tests of tfbn.recording.summaries: what an event file holds, read back."""

import glob
import math
import os
import tempfile

import numpy as np
import tensorflow as tf

from tfbn.recording import summaries


class SummaryWriterTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        self.writer = summaries.SummaryWriter(self.folder)

    def read(self):
        """A list of `(tag, step, value, plugin)` of the closed event file."""
        self.writer.close()
        (path,) = glob.glob(os.path.join(self.folder, "events.out.tfevents.*"))
        return [
            (
                value.tag,
                event.step,
                tf.make_ndarray(value.tensor).tolist(),
                value.metadata.plugin_data.plugin_name,
            )
            for event in tf.compat.v1.train.summary_iterator(path)
            for value in event.summary.value
        ]

    def values(self):
        """A dict from tag to value, of scalars."""
        found = self.read()
        self.assertEqual({plugin for *_, plugin in found}, {"scalars"})
        self.assertLen({tag for tag, *_ in found}, len(found))
        return {tag: value for tag, _, value, _ in found}

    def test_scalars(self):
        self.writer.scalar("a/b", 0.5, 3)
        self.writer.scalar("a/b", np.float64(2.0), 70_000_000_000)
        self.assertEqual(
            self.read(),
            [
                ("a/b", 3, 0.5, "scalars"),
                ("a/b", 70_000_000_000, 2.0, "scalars"),
            ],
        )

    def test_values_that_are_not_finite(self):
        for step, value in enumerate((math.nan, math.inf, -math.inf)):
            self.writer.scalar("a", value, step)
        found = [value for _, _, value, _ in self.read()]
        self.assertAllEqual(found, [math.nan, math.inf, -math.inf])

    def test_histogram_has_a_row_a_bin(self):
        self.writer.histogram("h", [-1.0, 0.0, 0.5], [3, 4], 2)
        rows = [[-1.0, 0.0, 3.0], [0.0, 0.5, 4.0]]
        self.assertEqual(self.read(), [("h", 2, rows, "histograms")])

    def test_metadata_is_what_tensorboard_asks_for(self):
        self.writer.scalar("a", 1.0, 0)
        self.writer.histogram("h", [0.0, 1.0], [1], 0)
        self.writer.close()
        (path,) = glob.glob(os.path.join(self.folder, "*"))
        classes = {
            value.tag: value.metadata.data_class
            for event in tf.compat.v1.train.summary_iterator(path)
            for value in event.summary.value
        }
        self.assertEqual(classes, {"a": 1, "h": 2})  # scalar, tensor

    def test_layers_and_totals_have_tags_of_their_own(self):
        layers = [
            {"name": "one", "distance": 1.0, "cosine": 0.5},
            {"name": "two", "distance": 2.0, "cosine": math.nan},
        ]
        total = {"distance": 3.0, "cosine": 0.25}
        self.writer.measurement("ics", 4, {"layers": layers, "total": total})
        found = self.values()
        self.assertTrue(math.isnan(found.pop("ics/cosine/two")))
        self.assertEqual(
            found,
            {
                "ics/total_distance": 3.0,
                "ics/total_cosine": 0.25,
                "ics/distance/one": 1.0,
                "ics/cosine/one": 0.5,
                "ics/distance/two": 2.0,
            },
        )

    def test_lists_are_bands(self):
        values = {
            "beta": 4.0,
            "step_sizes": [0.1, 0.2],
            "losses": [1.5, 3.0, 0.5],
            "layers": [{"name": "one", "gradient_distances": [2.0, 1.0]}],
        }
        self.writer.measurement("landscape", 0, values)
        self.assertEqual(
            self.values(),
            {
                "landscape/beta": 4.0,
                "landscape/losses_lower": 0.5,
                "landscape/losses_upper": 3.0,
                "landscape/gradient_distances_lower/one": 1.0,
                "landscape/gradient_distances_upper/one": 2.0,
            },
        )

    def test_what_has_no_value_is_left_out(self):
        values = {
            "eigenvalue": 2.0,
            "iterations": 3,
            "nodes": [1.0, 2.0],
            "weights": [0.5, 0.5],
            "note": "text",
            "losses": [],
            "layers": [{"name": "one", "gamma_error": None}],
        }
        self.writer.measurement("curvature", 0, values)
        self.assertEqual(
            self.values(),
            {"curvature/eigenvalue": 2.0} | {"curvature/iterations": 3.0},
        )

    def test_histograms_of_layers(self):
        layer = {"name": "one", "histogram": {"edges": [0.0, 1.0, 2.0]}}
        layer["histogram"]["counts"] = [5, 6]
        self.writer.measurement("activations", 9, {"layers": [layer]})
        rows = [[0.0, 1.0, 5.0], [1.0, 2.0, 6.0]]
        tag = "activations/histogram/one"
        self.assertEqual(self.read(), [(tag, 9, rows, "histograms")])

    def test_bands_with_a_loss_that_is_not_finite(self):
        self.writer.measurement("landscape", 0, {"losses": [1.0, math.nan, math.inf]})
        self.writer.measurement("landscape", 1, {"losses": [math.nan, 1.0]})
        found = self.read()
        self.assertLen(found, 4)
        for _, _, value, _ in found:
            self.assertAllEqual(value, math.nan)


if __name__ == "__main__":
    tf.test.main()
