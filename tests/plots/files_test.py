"""Tests of tfbn.plots.files."""

import os

import tensorflow as tf
from absl.testing import parameterized
from matplotlib.figure import Figure

from tests.plots.helpers import train
from tfbn import plots


class SaveTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.directory = os.path.join(self.get_temp_dir(), "new", "figures")
        self.figures = {"curves": plots.learning_curves({"a": train([2.0, 1.0])})}

    @parameterized.parameters(("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml"))
    def test_writes(self, file_format, signature):
        (path,) = plots.save(self.figures, self.directory, file_format)
        self.assertEqual(path, os.path.join(self.directory, f"curves.{file_format}"))
        with open(path, "rb") as file:
            self.assertTrue(file.read().startswith(signature))
        self.assertEqual(os.listdir(self.directory), [os.path.basename(path)])

    def test_replaces_and_follows_dpi(self):
        (path,) = plots.save(self.figures, self.directory, dpi=100)
        coarse = os.path.getsize(path)
        plots.save(self.figures, self.directory, dpi=20)
        self.assertLess(os.path.getsize(path), coarse)

    def test_failure_keeps_the_old_file_and_leaves_no_part(self):
        (path,) = plots.save(self.figures, self.directory)
        with open(path, "rb") as file:
            before = file.read()

        class Broken(Figure):
            def savefig(self, name, **unused):
                with open(name, "wb") as file:
                    file.write(b"half")
                raise OSError("disk full")

        with self.assertRaisesRegex(OSError, "disk full"):
            plots.save({"curves": Broken()}, self.directory)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before)
        self.assertEqual(os.listdir(self.directory), ["curves.png"])

    def test_unknown_format(self):
        with self.assertRaisesRegex(ValueError, "png, pdf, svg.*file_format='jpg'"):
            plots.save(self.figures, self.directory, "jpg")
        self.assertFalse(os.path.exists(self.directory))

    def test_long_legend_does_not_cover_the_panels(self):
        runs = {f"a_run_with_a_rather_long_name_{i}": train([2.0]) for i in range(14)}
        figure = plots.learning_curves(runs)
        plots.save({"curves": figure}, self.directory, dpi=50)
        legend = figure.legends[0].get_window_extent()
        panel = figure.axes[0].get_tightbbox()
        self.assertLessEqual(legend.y1, panel.y0)
        self.assertGreater(panel.height, legend.height)


if __name__ == "__main__":
    tf.test.main()
