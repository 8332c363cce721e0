"""Tests of tfbn.training.run_directory."""

import datetime
import glob
import os
import tempfile

import tensorflow as tf

from tfbn.diagnostics import CovariateShift
from tfbn.experiment import TrainConfig
from tfbn.recording import records
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

    def test_folder_with_a_run_of_the_same_flags_is_taken(self):
        config = TrainConfig(run_dir=self.folder, norm_after=(4,))
        with run_directory.RunDirectory(self.folder, config):
            pass
        self.assertEqual(run_directory.choose(config), self.folder)

    def test_other_flags_are_refused_and_named(self):
        with run_directory.RunDirectory(self.folder, TrainConfig()):
            pass
        config = TrainConfig(run_dir=self.folder, norm_after=(4,), seed=3)
        with self.assertRaisesRegex(
            ValueError,
            rf"run_dir={self.folder} and --norm_after=4 \(the run: \), --seed=3 \(the "
            "run: 0\\). Give the run's flags",
        ):
            run_directory.choose(config)

    def test_folder_in_use_is_refused(self):
        config = TrainConfig(run_dir=self.folder)
        with run_directory.RunDirectory(self.folder, config):
            with self.assertRaisesRegex(ValueError, "must not be in use"):
                run_directory.choose(config)
            with self.assertRaisesRegex(ValueError, "must not be in use"):
                run_directory.RunDirectory(self.folder, config)

    def test_ended_run_without_checkpoints_is_refused(self):
        config = TrainConfig(run_dir=self.folder)
        with run_directory.RunDirectory(self.folder, config):
            pass
        with open(os.path.join(self.folder, "model.keras"), "w"):
            pass
        with self.assertRaisesRegex(ValueError, "has no checkpoints/"):
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
        with run_directory.RunDirectory(folder, config):
            pass
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
            results.begin()
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

    def test_goes_back_to_positions(self):
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        with run_directory.RunDirectory(folder, TrainConfig()) as results:
            results.begin()
            results.train(10, {"loss": 2.0})
            results.evaluation(10, {"loss": 1.5})
            positions = results.positions()
            results.train(20, {"loss": 1.0})
        with run_directory.RunDirectory(folder, TrainConfig()) as results:
            results.begin(positions)
            results.train(20, {"loss": 1.0})
        # A process that ends before it has positions: what it wrote goes.
        with run_directory.RunDirectory(folder, TrainConfig()) as results:
            self.assertIsNone(results.missing(positions))
            results.begin(positions)
            self.assertEqual(
                results.positions().keys() - positions.keys(), _new(results)
            )
            self.assertEqual(results.last_evaluation(), {"loss": 1.5})
        steps = [(r["kind"], r["step"]) for r in records.read_records(folder)]
        self.assertEqual(steps, [("train", 10), ("eval", 10)])
        summaries = [
            (value.tag, event.step)
            for path in glob.glob(os.path.join(folder, "events.out.tfevents.*"))
            for event in tf.compat.v1.train.summary_iterator(path)
            for value in event.summary.value
        ]
        self.assertEqual(summaries, [("train/loss", 10), ("eval/loss", 10)])

    def test_missing_records_are_told(self):
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        with run_directory.RunDirectory(folder, TrainConfig()) as results:
            results.begin()
            results.train(10, {"loss": 2.0})
            positions = results.positions()
            size = positions["records.jsonl"]
            os.truncate(os.path.join(folder, "records.jsonl"), 5)
            self.assertRegex(
                results.missing(positions), rf"{size} bytes of .*, which has 5"
            )
            self.assertIsNone(results.missing({}))

    def test_sweeps_half_written_files(self):
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        os.makedirs(os.path.join(folder, "figures"))
        names = (".partial.7.model.keras", "figures/.partial.7.curves.png")
        for name in names:
            with open(os.path.join(folder, name), "w"):
                pass
        with run_directory.RunDirectory(folder, TrainConfig()):
            pass
        for name in names:
            self.assertFalse(os.path.exists(os.path.join(folder, name)))


def _new(results):
    """The names of the event files that only the last process wrote."""
    paths = glob.glob(os.path.join(results.path, "events.out.tfevents.*"))
    return {os.path.basename(max(paths, key=os.path.getmtime))}


if __name__ == "__main__":
    tf.test.main()
