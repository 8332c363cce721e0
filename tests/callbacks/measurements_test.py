"""Tests of tfbn.callbacks.measurements: records, files, and what is left out."""

import contextlib
import glob
import io
import os

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tests.callbacks import small
from tfbn import callbacks
from tfbn import plots
from tfbn.recording import records


class MeasurementsTest(tf.test.TestCase):
    def test_files_and_figures(self):
        x, y = small.data()
        model = small.compiled("functional")
        folder = os.path.join(self.get_temp_dir(), "watched")
        watch = callbacks.Diagnostics(
            ["ics", "activations"], *small.probe(x, y), every=3, log_dir=folder
        )
        small.fit(model, x, y, watch)
        small.fit(model, x, y, watch, epochs=1)
        self.assertEqual([r["step"] for r in watch.records], [0, 0, 3, 3, 6, 6])
        self.assertEqual(records.read_runs([folder]), {"watched": watch.records})
        tags = {
            value.tag
            for path in glob.glob(os.path.join(folder, "events*"))
            for event in tf.data.TFRecordDataset(path)
            for value in tf.compat.v1.Event.FromString(event.numpy()).summary.value
        }
        self.assertIn("ics/total_distance", tags)
        drawn = plots.figures({"mine": watch.records})
        self.assertContainsSubset({"covariate_shift", "activation_ridges"}, drawn)

    def test_nan_goes_on(self):
        x, y = small.data()
        model = small.compiled("functional")
        folder = self.get_temp_dir()
        watch = callbacks.Diagnostics(
            ["landscape", "activations"], x * np.nan, y, log_dir=folder
        )
        history = small.fit(model, x, y, watch)
        self.assertEqual(history, small.fit(small.compiled("functional"), x, y))
        self.assertTrue(np.isnan(watch.history["landscape"][0]["loss"]))
        self.assertLen(records.read_records(folder), 2)

    def test_nothing_to_measure_is_said_once(self):
        x, y = small.data()
        inputs = keras.Input((4,))
        norm = tfbn.BatchRenorm(rmax=2.0, dmax=1.0)
        model = keras.Model(inputs, norm(keras.layers.Dense(2)(inputs)))
        model.compile("sgd", "mse", run_eagerly=True)
        watch = callbacks.Diagnostics(["theory"], *small.probe(x, y), every=1)
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            model.fit(x, y, batch_size=small.BATCH, callbacks=[watch], verbose=2)
        line = "Nothing to measure for theory: no layer normalises by the batch alone."
        lines = said.getvalue().splitlines()
        self.assertEqual(lines.count(line), 1)
        self.assertFalse([told for told in lines if told.startswith("Measured")])
        self.assertEqual(watch.records, [])
        self.assertEqual(watch.left_out, {"theory": line.split(": ")[1][:-1]})


if __name__ == "__main__":
    tf.test.main()
