"""Tests of tfbn.training.run_directory."""

import datetime
import os
import tempfile

import tensorflow as tf

from tfbn.diagnostics import CovariateShift
from tfbn.diagnostics import records
from tfbn.training import TrainConfig
from tfbn.training import run_directory


class ChooseTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())

    def test_default_name_is_new_each_time(self):
        now = datetime.datetime(2026, 1, 2, 3, 4, 5)
        config = TrainConfig(norm="l1")
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        first = run_directory.choose(config, now)
        self.assertEqual(first, os.path.join("runs", "cifar10_vgg_l1_20260102-030405"))
        self.assertFalse(os.path.exists("runs"))
        os.makedirs(first)
        self.assertEqual(run_directory.choose(config, now), f"{first}-2")

    def test_folder_without_a_run_is_taken(self):
        config = TrainConfig(run_dir=self.folder)
        self.assertEqual(run_directory.choose(config), self.folder)

    def test_folder_with_a_run_is_refused(self):
        config = TrainConfig(run_dir=self.folder)
        run_directory.RunDirectory(self.folder, config)
        with self.assertRaisesRegex(ValueError, f"run_dir={self.folder}"):
            run_directory.choose(config)

    def test_folder_under_a_file_is_refused(self):
        path = os.path.join(self.folder, "file")
        with open(path, "w", encoding="utf-8"):
            pass
        with self.assertRaisesRegex(ValueError, f"{path} is no such folder"):
            run_directory.choose(TrainConfig(run_dir=os.path.join(path, "a", "b")))


class RunDirectoryTest(tf.test.TestCase):
    def test_flags_leave_out_where_the_run_lies(self):
        folder = self.get_temp_dir()
        config = TrainConfig(run_dir=folder, seed=7, norm_after=(4,))
        run_directory.RunDirectory(folder, config)
        with open(os.path.join(folder, "flags.cfg"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        self.assertIn("--seed=7", lines)
        self.assertIn("--norm_after=4", lines)
        self.assertStartsWith(lines[1], "# tfbn ")
        self.assertFalse([line for line in lines if line.startswith("--run_dir")])

    def test_records(self):
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        shifts = [CovariateShift("conv1", 0.0, 1.0, 2.0, 2.0)]
        with run_directory.RunDirectory(folder, TrainConfig()) as results:
            results.train(10, {"loss": 2.0, "learning_rate": 0.1})
            results.measurement("ics", 10, {"layers": [shifts[0]._asdict()]})
            results.evaluation(20, {"loss": 1.5})
        self.assertEqual(
            records.read_records(folder),
            [
                {"step": 10, "kind": "train", "loss": 2.0, "learning_rate": 0.1},
                {"step": 10, "kind": "ics", "layers": [shifts[0]._asdict()]},
                {"step": 20, "kind": "eval", "loss": 1.5},
            ],
        )


if __name__ == "__main__":
    tf.test.main()
