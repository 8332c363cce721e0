"""Tests of scripts/reproduce.py from outside, by its cheapest experiment.

Most run the script's main in this process: a start from the shell costs seconds.
"""

import contextlib
import os
import signal
import subprocess
import sys
from unittest import mock

import pytest
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn.recording import records

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

from tfbn.reproduction import workers  # noqa: E402

_REPRODUCE = os.path.join(_SCRIPTS, "reproduce.py")
_NAME = "ioffe_2015_fig1_sigmoid"
_SECONDS = 120.0  # far more than anything takes


def _arguments(out):
    return _NAME, "--scale=smoke", "--jobs=1", f"--out={out}"


class WrongInputTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.out = os.path.join(self.get_temp_dir(), "out")

    @parameterized.named_parameters(
        (
            "nothing",
            (),
            "Name what to reproduce, among all, santurkar, ioffe_2017, .*",
        ),
        (
            "name",
            ("santurka",),
            "What to reproduce must be among all, .* Received: 'santurka'. "
            "Did you mean 'santurkar'.*",
        ),
        (
            "experiment",
            ("all", "ioffe_2015_fig1_sigmod"),
            f".* Received: 'ioffe_2015_fig1_sigmod'. Did you mean '{_NAME}'.*",
        ),
        (
            "scale",
            ("all", "--scale=large"),
            ".*--scale=large.* <smoke\\|cpu\\|paper>.*",
        ),
        ("jobs", ("all", "--jobs=0"), "flag --jobs=0: 0 is not a positive integer"),
        ("flag", ("all", "--data=x"), "Unknown command line flag 'data'.*"),
        ("no_records", (_NAME, "--notrain"), f"--notrain needs records of {_NAME}, .*"),
    )
    def test_is_one_line(self, arguments, pattern):
        status, out, err = _reproduce(f"--out={self.out}", *arguments)
        self.assertEqual((status, out), (2, ""))
        self.assertRegex(err, rf"\Areproduce.py: error: {pattern}\n\Z")
        self.assertFalse(os.path.exists(self.out))

    def test_list(self):
        status, out, err = _reproduce("--list", "--scale=paper", f"--out={self.out}")
        self.assertEqual((status, err), (0, ""))
        head, _, *rows = [line.split("|") for line in out.splitlines()]
        self.assertEqual(head[-2].strip(), "runs (paper)")
        listed = {row[1].strip(): row[-2].strip() for row in rows}
        self.assertLen(listed, 14)
        self.assertEqual(listed[_NAME], "0 of 6")
        _, out, _ = _reproduce("--list", "ioffe_2015", f"--out={self.out}")
        self.assertLen(out.splitlines(), 2 + 2)
        self.assertFalse(os.path.exists(self.out))


class FromTheShellTest(tf.test.TestCase):
    def test_ctrl_c(self):
        """That the processes which train wait for this one is in workers_test."""
        out = os.path.join(self.get_temp_dir(), "out")
        with mock.patch.object(workers, "train", side_effect=KeyboardInterrupt):
            status, _, err = _reproduce(*_arguments(out))
        self.assertEqual((status, err), (130, "reproduce.py: interrupted\n"))

    @pytest.mark.long
    def test_sigterm_then_the_rest_then_nothing_then_all_again(self):
        out = self.out = os.path.join(self.get_temp_dir(), "out")
        status, told, err = _terminated(out)
        self.assertEqual((status, err), (143, ""))
        head, first = told.splitlines()
        self.assertRegex(head, f"^2 runs, 2 of them to train, 1 at a .* {out}$")
        self.assertRegex(first, r"^\[1/2, \d+ min\] none, seed 0: \d+ s$")
        with self.subTest("the rest"):
            status, told, err = _reproduce(*_arguments(out))
            self.assertEqual((status, err), (0, ""), told)
            head, trained, *about = told.splitlines()
            self.assertStartsWith(head, "2 runs, 1 of them to train, ")
            self.assertRegex(trained, r"^\[1/1, \d+ min\] batch_norm, seed 0: \d+ s$")
            self._check_told(about)
        with self.subTest("records"):
            self._check_records()
        place = about[-2].strip()
        page = _read(place)
        with self.subTest("nothing"):
            with mock.patch.object(workers, "_trained", side_effect=AssertionError):
                status, told, err = _reproduce(*_arguments(out))
            self.assertEqual((status, err), (0, ""))
            self.assertStartsWith(told, "2 runs, 0 of them to train, ")
            self.assertEqual(told.splitlines()[1:], about)
            self.assertEqual(_read(place), page)
        with self.subTest("only drawn"):
            os.remove(place)
            status, told, err = _reproduce(*_arguments(out), "--notrain")
            self.assertEqual((status, err, told.splitlines()), (0, "", about))
            self.assertEqual(_read(place), page)
        with self.subTest("list"):
            self.assertRegex(_reproduce("--list", *_arguments(out))[1], r"\| 2 of 2 ")
        with self.subTest("all again"):
            self._check_rerun()

    def _check_told(self, told):
        self.assertEqual(told[0], f"{_NAME}: 4 open")
        self.assertLen(told, 5)
        report = os.path.join(self.out, "report")
        figures = [
            f"figures/{_NAME}_{key}.png" for key in ("accuracies", "percentiles")
        ]
        names = (*figures, "README.md", "index.html")
        expected = [os.path.join(report, name) for name in names]
        self.assertEqual([line.strip() for line in told[1:]], expected)
        for path in expected:
            self.assertGreater(os.path.getsize(path), 1000)

    def _check_records(self):
        """Every step of both runs is recorded, as if nothing had happened."""
        for folder in _run_dirs(self.out):
            steps = {
                kind: [r["step"] for r in records.read_records(folder, kind)]
                for kind in ("train", "activations", "eval")
            }
            self.assertEqual(steps["train"], [20])
            self.assertEqual(steps["activations"], [0, 5, 10, 15])
            self.assertEqual(steps["eval"], [20])

    def _check_rerun(self):
        out = self.out
        for error, status, line in (
            (
                RuntimeError("lost"),
                1,
                r"failed: none, seed 0 \(.*/seed0\): Run.*: lost",
            ),
            (ValueError("wrong"), 2, "reproduce.py: error: wrong"),
        ):
            asked = []

            def train(runs, *, jobs, asked=asked, error=error):
                asked += [run.label for run in runs]
                yield workers.Outcome(runs[0], 1.0, error)

            with mock.patch.object(workers, "train", train):
                ending = _reproduce(*_arguments(out), "--rerun")
            self.assertEqual(asked, ["none", "batch_norm"])
            self.assertEqual(ending[0], status)
            self.assertRegex(ending[2], rf"\A{line}\n\Z")
            self.assertEqual(_run_dirs(out), [])


def _terminated(out):
    """What timeout does, once the first run has ended: all processes get SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, _REPRODUCE, *_arguments(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=_ROOT,
        start_new_session=True,
    )
    lines = process.stdout.readline() + process.stdout.readline()
    os.killpg(process.pid, signal.SIGTERM)
    rest, err = process.communicate(timeout=_SECONDS)
    return process.returncode, lines + rest, err


def _reproduce(*arguments):
    with contextlib.ExitStack() as stack:
        handler = signal.getsignal(signal.SIGTERM)
        stack.callback(signal.signal, signal.SIGTERM, handler)
        return testing_utils.run_script(_REPRODUCE, *arguments)


def _run_dirs(out):
    return sorted(tf.io.gfile.glob(os.path.join(out, "runs", "*", "seed*")))


def _read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


if __name__ == "__main__":
    tf.test.main()
