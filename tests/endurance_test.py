"""Tests of scripts/endurance.py: of its parts; the checks themselves take too long."""

import os
import random
import shutil
import signal
import sys
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn.recording import summaries
from tfbn.training import checkpoints
from tfbn.training import run_directory

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

from _endurance import beacon as beacon_lib  # noqa: E402
from _endurance import comparison  # noqa: E402
from _endurance import kills  # noqa: E402
from _endurance import memory  # noqa: E402
from _endurance import processes  # noqa: E402
from _endurance import tables  # noqa: E402

_RECORDS = ['{"step": 1, "kind": "train"}\n', '{"step": 2, "kind": "train"}\n']
_SUMMARIES = [("train/loss", 0.5, 1), ("train/loss", 0.25, 2)]
_OTHER_SUMMARY = ("train/loss", 0.26, 2)


class BeaconTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        path = os.path.join(tempfile.mkdtemp(dir=self.get_temp_dir()), "beacon")
        beacon_lib.create(path)
        self.writer, self.reader = beacon_lib.Beacon(path), beacon_lib.Beacon(path)

    def test_start(self):
        self.assertEqual(self.reader.phase, "start")
        self.assertEqual((self.reader.step, self.reader.first), (-1, -1))

    def test_steps(self):
        self.writer.begin(7)
        self.writer.advance(4)
        self.writer.advance(1)
        self.assertEqual((self.reader.step, self.reader.first), (12, 7))

    def test_phases(self):
        for _ in range(2):
            with self.writer.during("checkpoint"):
                self.assertEqual(self.reader.phase, "checkpoint")
            self.assertEqual(self.reader.phase, "steps")
        self.assertEqual(self.reader.entries("checkpoint"), 2)
        self.assertEqual(self.reader.entries("evaluation"), 0)


class ComparisonTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.policies = []

    def _run(
        self,
        *,
        weight=1.0,
        saved_weight=1.0,
        name="dense",
        values=("a", 100),
        records=_RECORDS,
        events=_SUMMARIES,
        num_saved=1,
        other_file=None,
    ):
        """A made-up run directory; by default all of them are the same."""
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        policy = keras.DTypePolicy("float32")
        self.policies.append(policy)  # kept, or the next one may get its address
        dense = keras.layers.Dense(1, name=name, dtype=policy)
        relu = keras.layers.Activation("relu", name="relu", dtype=policy)
        x = keras.Input((1,), name="x")
        model = keras.Model(x, relu(dense(x)), name="model")
        dense.kernel.assign([[weight]])
        model.save(os.path.join(folder, run_directory.MODEL_FILE))
        dense.kernel.assign([[saved_weight]])
        state = checkpoints.PlainState()
        run, position = values
        state.values = {"run": run, "files": {"records.jsonl": position}}
        kept = checkpoints.Checkpoints(
            os.path.join(folder, "checkpoints"), kept=1, model=model, state=state
        )
        kept.restore()
        for step in range(10, 10 + num_saved):
            kept.save(step)
        _write(os.path.join(folder, "records.jsonl"), *records)
        _write(os.path.join(folder, "flags.cfg"), "--seed=0\n")
        if other_file:
            _write(os.path.join(folder, other_file))
        writer = summaries.SummaryWriter(folder)
        for event in events:
            writer.scalar(*event)
        writer.close()
        return folder

    def test_same(self):
        differences, counts = comparison.compare(self._run(), self._run())
        self.assertEqual(differences, [])
        self.assertContainsSubset({"records": 2, "summaries": 2, "flags": 1}, counts)
        self.assertEqual(counts["model"], 3)  # kernel, bias, configuration
        self.assertGreaterEqual(counts["checkpoint"], 3)

    def test_differs_by_design(self):
        other = self._run(values=("a", 101), num_saved=3)
        newest = os.path.join(other, "checkpoints", "ckpt-12")
        for name in tf.io.gfile.glob(f"{newest}.*"):
            os.rename(name, name.replace("ckpt-12", "ckpt-10"))
        self.assertEqual(comparison.compare(self._run(), other)[0], [])

    @parameterized.named_parameters(
        ("last_bit", {"weight": float(np.nextafter(np.float32(1), 2))}, "model: "),
        ("configuration", {"name": "other"}, "model: config.json differs"),
        ("checkpoint", {"saved_weight": 1.0 + 2.0**-23}, "checkpoint: .*kernel"),
        ("plain_values", {"values": ("b", 100)}, "checkpoint: state/.*'a', 'b'"),
        ("double_line", {"records": _RECORDS + _RECORDS[1:]}, "records: 3 is missing"),
        ("gap", {"records": _RECORDS[:1]}, "records: 2 is missing"),
        ("half_a_line", {"records": [_RECORDS[0], _RECORDS[1][:-1]]}, "records: 2 dif"),
        (
            "summary",
            {"events": [*_SUMMARIES[:1], ("train/loss", 0.26, 2)]},
            "summ.*: 2",
        ),
        ("summary_twice", {"events": _SUMMARIES + _SUMMARIES[1:]}, "summaries: 3 is m"),
        ("order", {"events": _SUMMARIES[::-1]}, "summaries: 1 differs"),
        (
            "left_over",
            {"other_file": ".partial.1.model.keras"},
            "files: .*partial.* is",
        ),
    )
    def test_found(self, change, pattern):
        differences, _ = comparison.compare(self._run(), self._run(**change))
        self.assertRegex("\n".join(differences), f"^{pattern}")

    def test_signed_zero(self):
        differences, _ = comparison.compare(
            self._run(weight=0.0, saved_weight=0.0),
            self._run(weight=-0.0, saved_weight=-0.0),
        )
        self.assertLen(differences, 2)

    def test_newest_checkpoint(self):
        folder = self._run()
        checkpoints = os.path.join(folder, "checkpoints")
        newest, older = (
            os.path.join(checkpoints, f"ckpt-{step}.index") for step in (10, 9)
        )
        shutil.copy(newest, older)
        self.assertEqual(comparison.newest_checkpoint(folder), 10)


class KillsTest(tf.test.TestCase):
    def _aims(self, number, phases=beacon_lib.PHASES, seed=0):
        return kills.aims(number, 3, phases, random.Random(seed))

    def test_aims(self):
        aims = self._aims(20)
        self.assertLen(aims, 26)
        killed = [phase for number, phase in aims if number == signal.SIGKILL]
        self.assertLen(killed, 20)
        self.assertEqual(killed[-2:], ["model", "figures"])  # after them is nothing
        self.assertGreaterEqual(killed.count("checkpoint"), 5)
        self.assertGreaterEqual(killed.count("evaluation"), 4)
        self.assertContainsSubset(beacon_lib.PHASES, killed)
        for number in (signal.SIGTERM, signal.SIGINT):
            phases = [phase for other, phase in aims if other == number]
            self.assertCountEqual(phases, ["steps", "evaluation", "checkpoint"])
        self.assertEqual(aims, self._aims(20))
        self.assertNotEqual(aims, self._aims(20, seed=1))

    def test_few_aims_and_a_run_without_measurements(self):
        phases = [phase for phase in beacon_lib.PHASES if phase != "measurement"]
        for number in range(20):
            aims = self._aims(number, phases)
            self.assertLen(aims, number + 6)
            self.assertNotIn((signal.SIGKILL, "measurement"), aims)

    def test_interruptions(self):
        good = {"signal": "SIGTERM", "status": 143, "saved": 8, "step": 8}
        good["repeated"] = 0
        killed = {**good, "signal": "SIGKILL", "status": -9, "saved": None}
        self.assertEqual(
            kills.wrong_interruptions([good, {**killed, "repeated": 2}]), []
        )
        for change, pattern in (
            ({"status": 1}, "^SIGTERM: exit status 1$"),
            ({"status": 130}, "^SIGTERM: exit status 130$"),
            ({"saved": 4}, "^SIGTERM: stopped at step 8, saved at 4, "),
            ({"repeated": 4}, "4 steps repeated$"),
        ):
            (wrong,) = kills.wrong_interruptions([{**good, **change}])
            self.assertRegex(wrong, pattern)

    def test_steps_made_again(self):
        endings = [{"step": step, "repeated": 0} for step in (12, 30, -1)]
        kills.account(endings[:1], 7)
        kills.account(endings, 28)
        self.assertEqual([ending["repeated"] for ending in endings], [5, 2, 0])
        kills.account([], 0)  # the first process

    def test_both_runs_have_one_name(self):
        """Figures show it, and are compared."""
        experiment = kills._Experiment("renorm", [], "folder", None, None)
        whole, ended = experiment._run("whole"), experiment._run("ended")
        self.assertNotEqual(whole, ended)
        self.assertEqual(os.path.basename(whole), os.path.basename(ended))

    def _killed_in_its_second_checkpoint(self):
        """The run's folder, its process, and where the signal found it."""
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        run = os.path.join(folder, "run")
        flags = "--model=mlp --dataset=shapes --batch_size=4 --checkpoint_every=2"
        flags = [*flags.split(), f"--run_dir={run}", "--noprogress"]
        process = processes.Process(flags, os.path.join(folder, "process"))
        aim = processes.Aim(signal.SIGKILL, "checkpoint", 2, 0.0)
        found = process.hit(aim)
        self.assertEqual(process.wait(), -signal.SIGKILL)
        return run, process, found

    @pytest.mark.long
    def test_a_process_is_killed_where_it_was_aimed_at(self):
        run, process, found = self._killed_in_its_second_checkpoint()
        if found == ("steps", 4):  # a busy machine let the signal wait; not twice
            run, process, found = self._killed_in_its_second_checkpoint()
        self.assertEqual((found, process.beacon.first), (("checkpoint", 4), 0))
        self.assertEqual(comparison.newest_checkpoint(run), 2)
        self.assertEqual(process.printed(), f"Run directory: {run}\n")


class MemoryTest(tf.test.TestCase):
    def test_growth(self):
        samples = [{"step": s, "mib": 300.0 + 0.002 * s} for s in range(0, 5100, 100)]
        self.assertAllClose(memory.growth(samples, 0), 2.0, 1e-9, 1e-9)
        for sample in samples[:21]:  # a warm-up that grows by more
            sample["mib"] += 0.01 * (sample["step"] - 2000)
        self.assertAllClose(memory.growth(samples, 2000), 2.0, 1e-9, 1e-9)
        self.assertGreater(memory.growth(samples, 0), 5.0)

    def test_peaks_and_falls_hide_no_growth_and_are_none(self):
        samples = [
            {"step": s, "mib": 300.0 + s // 500 - 20.0 * (s >= 3000) + 9.0 * (s % 3)}
            for s in range(1, 6100, 100)
        ]
        self.assertAllClose(memory.growth(samples, 1), 2.0, 1e-9, 1e-9)
        falling = [{"step": s, "mib": 900.0 - s} for s in range(0, 3100, 100)]
        self.assertEqual(memory.growth(falling, 0), 0.0)

    def test_traces(self):
        def square(x):
            return x * x

        function = tf.function(square)
        function(tf.constant(1.0))
        before = memory.traces()
        function(tf.constant([1.0]))
        after = memory.traces()
        (name,) = (
            name for name in after if name.endswith("test_traces.<locals>.square")
        )
        self.assertEqual((before[name], after[name]), (1, 2))
        self.assertEqual(memory.paired(before, after)[name], [1, 2])


class TablesTest(tf.test.TestCase):
    def test_failures(self):
        row = {
            "run": "all",
            "mib_per_1000_steps": 0.49,
            "functions": {"f": [2, 2], "g": [1, 1]},
        }
        killed = {"configuration": "noise", "differences": []}
        self.assertEqual(self._failures([killed], [row]), [])
        killed["differences"] = ["records: 3 differs"]
        row = {
            **row,
            "mib_per_1000_steps": 0.51,
            "functions": {"f": [2, 4], "g": [1, 1]},
        }
        self.assertEqual(
            self._failures([killed], [row]),
            [
                "kills: noise: records: 3 differs",
                "memory: all: grows by 0.51 MiB every 1,000 steps",
                "memory: all: f was traced 2 times after the warm-up",
            ],
        )

    def _failures(self, killed, remembered):
        checks = {"kills": {"rows": killed}, "memory": {"rows": remembered}}
        return tables.failures({"checks": checks})


class WrongInputTest(tf.test.TestCase):
    def test_is_one_line(self):
        script = os.path.join(_SCRIPTS, "endurance.py")
        message = (
            f"--from must name a file that --out has written. Received: {__file__}."
        )
        self.assertEqual(
            testing_utils.run_script(script, f"--from={__file__}"),
            (2, "", f"endurance.py: error: {message}\n"),
        )


def _write(path, *lines):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)


if __name__ == "__main__":
    tf.test.main()
