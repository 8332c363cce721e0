"""Tests of tfbn.training.run_directory."""

import glob
import os
import tempfile

import tensorflow as tf

from tfbn.diagnostics import CovariateShift
from tfbn.recording import records
from tfbn.training import Setting
from tfbn.training import run_directory


def _settings(**values):
    """Settings of which `seed` affects results and `every` does not."""
    values = {"seed": "0", "every": "5", **values}
    return [Setting(n, v, "0", n != "every") for n, v in values.items()]


class CheckTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())

    def _run(self, **values):
        with run_directory.RunDirectory(self.folder, _settings(**values)):
            pass

    def test_a_folder_without_a_run_or_with_the_same_is_accepted(self):
        run_directory.check(self.folder, _settings())
        self._run()
        run_directory.check(self.folder, _settings())
        run_directory.check(self.folder, _settings(every="7"))
        # A setting that the run does not have yet has its default there.
        run_directory.check(self.folder, _settings(new="0"))

    def test_others_are_refused_and_named(self):
        self._run()
        with self.assertRaisesRegex(
            ValueError,
            rf"run_dir={self.folder} and --seed=3 \(the run: 0\), --new=4 \(the run: 0"
            r"\)\. Give the run's settings",
        ):
            run_directory.check(self.folder, _settings(seed="3", every="7", new="4"))

    def test_a_run_that_stops_may_skip(self):
        self._run(on_nonfinite="stop")
        run_directory.check(self.folder, _settings(on_nonfinite="skip"))
        self._run(on_nonfinite="skip")
        with self.assertRaisesRegex(ValueError, r"--on_nonfinite=stop \(the run: skip"):
            run_directory.check(self.folder, _settings(on_nonfinite="stop"))

    def test_a_folder_in_use_is_refused(self):
        with run_directory.RunDirectory(self.folder, _settings()):
            for use in (run_directory.check, run_directory.RunDirectory):
                with self.assertRaisesRegex(ValueError, "must not be in use"):
                    use(self.folder, _settings())

    def test_an_ended_run_without_checkpoints_is_refused(self):
        self._run()
        with open(os.path.join(self.folder, "model.keras"), "w"):
            pass
        with self.assertRaisesRegex(ValueError, "has no checkpoints/"):
            run_directory.check(self.folder, _settings())

    def test_a_folder_under_a_file_is_refused(self):
        path = os.path.join(self.folder, "file")
        with open(path, "w", encoding="utf-8"):
            pass
        with self.assertRaisesRegex(ValueError, f"{path} is no such folder"):
            run_directory.check(os.path.join(path, "a", "b"), _settings())

    def test_unused(self):
        self.assertEqual(run_directory.unused(self.folder), f"{self.folder}-2")
        os.makedirs(f"{self.folder}-2")
        self.assertEqual(run_directory.unused(self.folder), f"{self.folder}-3")


class RunDirectoryTest(tf.test.TestCase):
    def test_flags(self):
        folder = self.get_temp_dir()
        with run_directory.RunDirectory(folder, _settings(), header="Repeat it"):
            pass
        with open(os.path.join(folder, "flags.cfg"), encoding="utf-8") as file:
            first, second, *lines = file.read().splitlines()
        self.assertEqual(first, "# Repeat it")
        self.assertStartsWith(second, "# tfbn ")
        self.assertEqual(lines, ["--seed=0", "--every=5"])

    def test_records(self):
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        shifts = [CovariateShift("conv1", 0.0, 1.0, 2.0, 2.0)]
        with run_directory.RunDirectory(folder, _settings()) as results:
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
        with run_directory.RunDirectory(folder, _settings()) as results:
            results.begin()
            results.train(10, {"loss": 2.0})
            results.evaluation(10, {"loss": 1.5})
            positions = results.positions()
            results.train(20, {"loss": 1.0})
        with run_directory.RunDirectory(folder, _settings()) as results:
            results.begin(positions)
            results.train(20, {"loss": 1.0})
        # A process that ends before it has positions: what it wrote goes.
        with run_directory.RunDirectory(folder, _settings()) as results:
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
        with run_directory.RunDirectory(folder, _settings()) as results:
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
        with run_directory.RunDirectory(folder, _settings()):
            pass
        for name in names:
            self.assertFalse(os.path.exists(os.path.join(folder, name)))


def _new(results):
    """The names of the event files that only the last process wrote."""
    paths = glob.glob(os.path.join(results.path, "events.out.tfevents.*"))
    return {os.path.basename(max(paths, key=os.path.getmtime))}


if __name__ == "__main__":
    tf.test.main()
