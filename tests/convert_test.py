"""Tests of scripts/convert.py."""

import os
import sys
import tempfile
import zipfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from keras import layers

import tfbn
from tests import testing_utils

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPT = os.path.join(_ROOT, "scripts", "convert.py")
sys.path.insert(0, os.path.dirname(_SCRIPT))


class ConvertTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        folder = self.enter_context(tempfile.TemporaryDirectory())
        self.source, self.target, self.back = (
            os.path.join(folder, f"{name}.keras") for name in ("in", "out", "back")
        )
        self.model = testing_utils.one_layer_model(layers.BatchNormalization(), (3,))
        testing_utils.set_random_state(self.model, np.random.default_rng(0))
        self.model.save(self.source)

    def _convert(self, *arguments):
        return testing_utils.run_script(_SCRIPT, *arguments)

    def test_there_and_back(self):
        bounds = ("--rmax=1.5", "--dmax=0.5")
        result = self._convert(self.source, self.target, "--to=batch_renorm", *bounds)
        self.assertEqual(result[0], 0, result[2])
        self.assertIn("1 BatchNormalization by 1 BatchRenorm.", result[1])
        layer = keras.models.load_model(self.target).layers[-1]
        self.assertIsInstance(layer, tfbn.BatchRenorm)
        self.assertEqual((layer.rmax, layer.dmax), (1.5, 0.5))
        status, _, error = self._convert(self.target, self.back, "--to=keras")
        self.assertEqual(status, 0, error)
        with zipfile.ZipFile(self.back) as archive:
            self.assertNotIn(b"tfbn", archive.read("config.json"))
        back = keras.models.load_model(self.back)
        self.assertIs(type(back.layers[-1]), layers.BatchNormalization)
        for weight, other in zip(self.model.weights, back.weights, strict=True):
            self.assertAllEqual(weight, other)

    @parameterized.parameters(
        (("in.keras",), "two .keras files must be given.*in.keras"),
        (("in.keras", "out.h5"), "two .keras files"),
        (("no.keras", "out.keras"), "no.keras, which does not exist"),
        (("in.keras", "in.keras"), "OUT must not exist.*--overwrite"),
        (("in.keras", "out.keras", "--rmax=2"), "left out without --to=batch_renorm"),
        (("in.keras", "out.keras", "--where=b"), "where must name.*'b'"),
    )
    def test_one_line(self, arguments, message):
        folder = os.path.dirname(self.source)
        paths = [os.path.join(folder, a) if a[0] != "-" else a for a in arguments]
        status, _, error = self._convert(*paths, "--to=keras")
        self.assertEqual(status, 2)
        self.assertRegex(error, f"^convert.py: error: .*{message}.*\n$")
        self.assertEqual(os.listdir(folder), ["in.keras"])


if __name__ == "__main__":
    tf.test.main()
