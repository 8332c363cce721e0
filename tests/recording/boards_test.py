"""Tests of tfbn.recording.boards: images and hyperparameters, read back."""

import glob
import os
import struct
import sys
from unittest import mock

import tensorflow as tf

from tfbn.recording import boards

_FLAGS = """# Repeat this run: python scripts/train.py --flagfile=THIS_FILE
--batch_size=64
--learning_rate=0.5
--deterministic=true
--norm=batch_renorm
--layers=a=b
--run_dir=runs/here
"""


def _png(width, height):
    """The begin of a file, as far as its size."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)


class BoardsTest(tf.test.TestCase):
    def events(self, suffix):
        (path,) = glob.glob(os.path.join(self.get_temp_dir(), f"*{suffix}"))
        return [
            (event.step, value)
            for event in tf.compat.v1.train.summary_iterator(path)
            for value in event.summary.value
        ]

    def test_figures_replace_those_before(self):
        folder = self.get_temp_dir()
        path = os.path.join(folder, "curves.png")
        for width in (3, 1500):
            with open(path, "wb") as file:
                file.write(_png(width, 20))
            boards.write_figures(folder, [path], 7)
        ((step, value),) = self.events(".figures.v2")
        self.assertEqual((step, value.tag), (7, "figures/curves"))
        self.assertEqual(value.metadata.plugin_data.plugin_name, "images")
        self.assertEqual(value.metadata.data_class, 3)  # a sequence of blobs
        strings = tf.make_ndarray(value.tensor).tolist()
        self.assertEqual(strings, [b"1500", b"20", _png(1500, 20)])

    def test_hparams_are_the_flags(self):
        flagfile = os.path.join(self.get_temp_dir(), "flags.cfg")
        with open(flagfile, "w", encoding="utf-8") as file:
            file.write(_FLAGS)
        with mock.patch("importlib.util.find_spec", return_value=None):
            self.assertFalse(boards.write_hparams(self.get_temp_dir(), flagfile))
        package = mock.MagicMock()
        names = ("tensorboard", "tensorboard.plugins", "tensorboard.plugins.hparams")
        with (
            mock.patch.dict(sys.modules, dict.fromkeys(names, package)),
            mock.patch("importlib.util.find_spec", return_value=package),
        ):
            self.assertTrue(boards.write_hparams(self.get_temp_dir(), flagfile))
        package.api.hparams.assert_called_once_with(
            {
                "batch_size": 64.0,
                "learning_rate": 0.5,
                "deterministic": True,
                "norm": "batch_renorm",
                "layers": "a=b",
            }
        )


if __name__ == "__main__":
    tf.test.main()
