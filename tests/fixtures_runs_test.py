"""Runs that released versions of tfbn began go on, and end as they did then.

Their run directories are in tests/fixtures/<version>/runs/; write_runs.py beside them
says how they were made. Nothing here names a version: a new folder is tested too.
"""

import dataclasses
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from tests.fixtures import write_runs
from tfbn import plots
from tfbn.experiment import build_trainer
from tfbn.recording import records
from tfbn.training.step import Steps

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(_ROOT, "scripts"))

from tfbn.commands import flagfiles  # noqa: E402

# On other processors, kernels add in another order: whole runs without oneDNN, or with
# its SSE4.1 kernels, differ by 2e-6. Relative to the value or array, or to 1.
SAME_RUN = 1e-4

FOLDERS = {
    path.parent.name: path
    for path in sorted(pathlib.Path(write_runs.__file__).parent.glob("[0-9]*/runs"))
}
INTERRUPTED = {
    f"{version}_{path.stem}": path.with_suffix("")
    for version, folder in FOLDERS.items()
    for path in sorted(folder.glob("*.jsonl"))
}

# What every folder holds, and a figure of what each run measured.
FIGURES = {"vgg": "activation_moments", "deep_linear": "covariate_shift"}


class FixturesRunsTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(write_runs.small_data())

    def trainer(self, path):
        """Of a copy of a run directory, with the flags in it."""
        run_dir = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), path.name)
        shutil.copytree(path, run_dir)
        flags = os.path.join(run_dir, "flags.cfg")
        self.skip_runs_of_a_newer_keras(flags)
        config = dataclasses.replace(flagfiles.from_file(flags), run_dir=run_dir)
        return build_trainer(config)

    def skip_runs_of_a_newer_keras(self, flags):
        """Checkpoints hold Keras's optimizers, which later versions know."""
        (version,) = re.findall(r"keras ([\d.]+),", pathlib.Path(flags).read_text())
        if _order(version) > _order(keras.__version__):
            self.skipTest(f"written with Keras {version}")

    @parameterized.named_parameters(*INTERRUPTED.items())
    @pytest.mark.long
    def test_interrupted_run(self, path):
        trainer = self.trainer(path)
        with mock.patch.object(
            Steps, "run", autospec=True, side_effect=Steps.run
        ) as run:
            evaluation = trainer.train()
        made = sum(call.args[2] for call in run.call_args_list)
        self.assertEqual(made, trainer.step - _step_of_checkpoint(path))
        found = _lines(os.path.join(trainer.run_dir, "records.jsonl"))
        self.assert_same_records(found, _lines(f"{path}.jsonl"))
        self.assertEqual(
            found[-1], {"step": trainer.step, "kind": "eval", **evaluation}
        )
        self.assert_same_variables(trainer, path, SAME_RUN)
        self.assert_summaries_go_with(found, trainer.run_dir)
        figures = plots.figures(records.read_runs([trainer.run_dir]))
        self.assertContainsSubset(["learning_curves", FIGURES[path.name]], figures)

    def assert_same_records(self, actual, expected):
        """The same lines in the same order: no gap, and none twice."""
        self.assertEqual(_places(actual), _places(expected))
        for one, other in zip(actual, expected, strict=True):
            one, other = dict(_leaves(one)), dict(_leaves(other))
            self.assertEqual(list(one), list(other))
            for name, value in other.items():
                if isinstance(value, str):
                    self.assertEqual(one[name], value)
                else:
                    self.assertAllClose(
                        one[name], value, rtol=SAME_RUN, atol=SAME_RUN, msg=name
                    )

    def assert_same_variables(self, trainer, path, tolerance):
        """Of the model, as they are beside `path`."""
        with np.load(f"{path}.npz") as arrays:
            expected = list(arrays.values())
        self.assertNotEmpty(expected)
        for one, other in zip(write_runs.variables(trainer), expected, strict=True):
            self.assertEqual(one.dtype, other.dtype)
            if one.dtype.kind != "f":  # steps and seeds
                self.assertAllEqual(one, other)
            else:
                bound = tolerance * max(1.0, np.max(np.abs(other)))
                self.assertAllClose(one, other, rtol=0.0, atol=bound)

    def assert_summaries_go_with(self, lines, run_dir):
        """Each summary is there once, at the steps of the records."""
        tags = [
            (value.tag, event.step)
            for path in pathlib.Path(run_dir).glob("events.out.tfevents.*")
            for event in tf.compat.v1.train.summary_iterator(str(path))
            for value in event.summary.value
        ]
        self.assertCountEqual(tags, set(tags))
        for kind in ("train", "eval"):
            steps = [step for tag, step in tags if tag == f"{kind}/loss"]
            expected = [line["step"] for line in records.select(lines, kind)]
            self.assertCountEqual(steps, expected)

    @parameterized.named_parameters(*FOLDERS.items())
    def test_complete_run(self, folder):
        path, whole = folder / write_runs.COMPLETE, folder / "deep_linear"
        trainer = self.trainer(path)
        saved = keras.models.load_model(path / "model.keras")
        with mock.patch.object(Steps, "run", side_effect=AssertionError("trained")):
            evaluation = trainer.train()
        lines = _lines(f"{whole}.jsonl")
        self.assertEqual(
            lines[-1], {"step": trainer.step, "kind": "eval", **evaluation}
        )
        self.assertEqual(_lines(os.path.join(trainer.run_dir, "records.jsonl")), lines)
        # Read, not computed: to the bit.
        self.assert_same_variables(trainer, whole, tolerance=0.0)
        for one, other in zip(saved.weights, trainer.model.weights, strict=True):
            self.assertAllEqual(one.numpy(), other.numpy())

    @parameterized.named_parameters(*FOLDERS.items())
    def test_a_folder_is_complete(self, folder):
        for name in (*FIGURES, write_runs.COMPLETE):
            self.assertTrue((folder / name / "flags.cfg").is_file(), name)
            self.assertNotEmpty(list((folder / name / "checkpoints").glob("*.index")))
        self.assertTrue((folder / write_runs.COMPLETE / "model.keras").is_file())
        for name in FIGURES:
            self.assertIn(f"{folder.parent.name}_{name}", INTERRUPTED)
            self.assertFalse((folder / name / "model.keras").exists(), name)
            lines = _lines(folder / name / "records.jsonl")
            self.assertLess(len(lines), len(_lines(folder / f"{name}.jsonl")))

    @parameterized.named_parameters(*FOLDERS.items())
    def test_a_folder_holds_nothing_of_the_machine(self, folder):
        for path in folder.rglob("*"):
            self.assertNotRegex(path.name, r"\.lock|partial")
            if path.name in ("flags.cfg", "checkpoint"):
                self.assertNotRegex(path.read_text(encoding="utf-8"), r"[=\"]/|run_dir")


def _order(version):
    return [int(number) for number in re.findall(r"\d+", version)]


def _step_of_checkpoint(path):
    (index,) = path.glob("checkpoints/ckpt-*.index")
    return int(index.stem.removeprefix("ckpt-"))


def _lines(path):
    """All records of a file as they are: `read_records` leaves repeated ones out."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _places(lines):
    return [(line["kind"], line["step"]) for line in lines]


def _leaves(value, name=""):
    """`(name, value)` of a record, less histograms: rounding moves their counts."""
    if isinstance(value, dict):
        items = [(k, v) for k, v in value.items() if k != "histogram"]
    elif isinstance(value, list):
        items = enumerate(value)
    else:
        yield name, value
        return
    for key, item in items:
        yield from _leaves(item, f"{name}/{key}")


if __name__ == "__main__":
    tf.test.main()
