"""Tests of the processes that train: few starts of them, for each takes seconds."""

import contextlib
import glob
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from unittest import mock

import keras
import pytest
import tensorflow as tf

from tfbn import environment
from tfbn.experiment import TrainConfig
from tfbn.experiment import build_trainer
from tfbn.recording import records as records_lib
from tfbn.reproduction import workers
from tfbn.reproduction.plan import Run
from tfbn.training import run_directory

# The same operations in the same order, but shared out among other numbers of threads.
_THREADS = {"rtol": 1e-6, "atol": 0.0}

_LINEAR = {"model": "deep_linear", "dataset": "gaussian", "linear_depth": 3}
_NOISY = {"norm": "noisy_batch_norm", "log_every": 5, "train_steps": 10}
_SECONDS = 120.0  # far more than anything takes


@pytest.mark.long
class WorkersTest(tf.test.TestCase):
    """A worker trains runs until it is stopped; another one goes on, and dies."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        endless = {"train_steps": 10**8, "log_every": 1, "eval_every": 0}
        options = {
            "first": _NOISY,
            "other": _NOISY | {"seed": 1},
            "wrong": _NOISY | {"batch_size": 10**6},
            "again": _NOISY,
            "endless": endless | {"checkpoint_every": 0},
            "next": _NOISY,
        }
        cls.runs = {name: cls._run(name, **o) for name, o in options.items()}
        cls._train_until_stopped()
        cls.left = os.listdir(cls.folder)
        cls.endless = cls.runs["endless"]
        cls.saved, cls.steps, cls.log = (f(cls.endless) for f in (_saved, _steps, _log))

    @classmethod
    def _run(cls, name, **options):
        run_dir = os.path.join(cls.folder, name)
        options = {"learning_rate": 1e-6, "progress": False} | _LINEAR | options
        return Run(name, TrainConfig(run_dir=run_dir, **options))

    @classmethod
    def _train_until_stopped(cls):
        """Breaks the loop over outcomes off by an exception, as a signal does."""
        cls.outcomes = []
        before = signal.signal(signal.SIGUSR1, _raise_stopped)
        try:
            with _once_past(cls.runs["endless"], 0, _stop):
                runs = list(cls.runs.values())
                with contextlib.closing(workers.train(runs, jobs=1)) as outcomes:
                    for outcome in outcomes:
                        cls.outcomes.append(outcome)
        except _Stopped:
            pass
        finally:
            signal.signal(signal.SIGUSR1, before)

    def test_outcomes(self):
        found = {outcome.run.label: outcome.error for outcome in self.outcomes}
        # One by one; errors are returned.
        self.assertEqual(list(found), ["first", "other", "wrong", "again"])
        wrong = found.pop("wrong")
        self.assertIsInstance(wrong, ValueError)
        self.assertRegex(str(wrong), "batch_size must be .*1000000")
        self.assertEqual(set(found.values()), {None})
        for outcome in self.outcomes:
            self.assertBetween(outcome.run.seconds, 0.0, outcome.seconds + 0.1)

    def test_results_do_not_depend_on_the_process_or_on_runs_before(self):
        here = self._run("here", **_NOISY)
        keras.backend.clear_session()
        build_trainer(here.config).train()
        expected = records_lib.read_records(here.config.run_dir)
        for name in ("first", "again"):
            self._assert_same(self.runs[name], expected)
        with self.assertRaises(AssertionError):  # of another seed
            self._assert_same(self.runs["other"], expected)
        self.assertEqual(*(_names(self.runs[name]) for name in ("first", "again")))

    def _assert_same(self, run, expected):
        found = records_lib.read_records(run.config.run_dir)
        self.assertEqual(len(found), len(expected))
        for record, other in zip(found, expected, strict=True):
            self.assertEqual(record.keys(), other.keys())
            self.assertEqual(record["kind"], other["kind"])
            for name in record.keys() - {"kind"}:
                self.assertAllClose(record[name], other[name], **_THREADS)

    def test_stopping_saves_and_begins_no_other_run(self):
        self.assertGreater(self.saved, 0)
        self.assertEqual(self.steps, list(range(1, self.saved + 1)))
        # Not by the SIGINT that it got before.
        self.assertRegex(self.log, rf"SIGTERM: stopping.*\nSaved at step {self.saved};")
        self.assertNotIn("Ctrl-C", self.log)
        self.assertNotIn("next", self.left)

    def test_the_same_call_goes_on_and_a_process_that_has_died(self):
        with _once_past(self.endless, self.saved, _kill_children):
            with self.assertRaises(MemoryError) as caught:
                list(workers.train([self.endless], jobs=1))
        self.assertRegex(str(caught.exception), "^a worker .* has died.*--jobs")
        self.assertEqual(_saved(self.endless), self.saved)
        steps = _steps(self.endless)
        self.assertGreater(len(steps), self.saved)
        self.assertEqual(steps, list(range(1, steps[-1] + 1)))
        events = os.path.join(self.endless.config.run_dir, "events.out.*")
        self.assertLen(glob.glob(events), 2)  # one a process: none was removed


class ParentTest(tf.test.TestCase):
    def test_without_it_the_run_ends_and_then_the_worker(self):
        ended, parent = threading.Event(), mock.Mock()
        parent.is_alive.return_value = False
        self.addCleanup(workers._ending.clear)
        self.addCleanup(signal.signal, signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        # As during a run, which is over when the signal has been taken.
        signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
        with (
            mock.patch.object(workers, "_SECONDS_BETWEEN_CHECKS", 0.01),
            mock.patch.object(os, "_exit") as exit_,
        ):
            arguments = threading.Event(), parent
            with workers._training:
                thread = threading.Thread(
                    target=workers._end_with_parent, args=arguments
                )
                thread.start()
                self.assertTrue(ended.wait(_SECONDS))
                exit_.assert_not_called()
            thread.join()
        exit_.assert_called_once_with(1)
        with self.assertRaises(SystemExit):  # no other run begins
            workers._train(None)


class ThreadsTest(tf.test.TestCase):
    def test_told_to_the_processes_alone(self):
        names = "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"
        kept = {names[0]: "7"}  # the other one is not set
        with (
            mock.patch.dict(os.environ, kept),
            mock.patch.object(environment, "num_cores", return_value=8),
        ):
            os.environ.pop(names[1], None)
            for jobs, expected in ((1, "8"), (3, "2"), (16, "1")):
                with workers._pool(jobs):
                    self.assertEqual([os.environ[n] for n in names], [expected] * 2)
                self.assertEqual(os.environ[names[0]], "7")
                self.assertNotIn(names[1], os.environ)

    def test_no_runs_start_no_process(self):
        with mock.patch.object(multiprocessing.Process, "start") as start:
            self.assertEqual(list(workers.train([], jobs=2)), [])
        start.assert_not_called()


class _Stopped(Exception):
    pass


def _raise_stopped(number, frame):
    raise _Stopped


def _stop():
    """After what Ctrl-C in a terminal sends to the processes that train."""
    for process in multiprocessing.active_children():
        os.kill(process.pid, signal.SIGINT)
    time.sleep(0.2)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)


def _kill_children():
    for process in multiprocessing.active_children():
        process.kill()


@contextlib.contextmanager
def _once_past(run, step, act):
    """In the block's time, acts as soon as a run has recorded ten steps after one."""

    def watch():
        begin = time.monotonic()
        while _last_step(run) < step + 10 and time.monotonic() - begin < _SECONDS:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _steps(run):
    return [r["step"] for r in records_lib.read_records(run.config.run_dir, "train")]


def _last_step(run):
    path = os.path.join(run.config.run_dir, records_lib.FILE_NAME)
    return _steps(run)[-1] if os.path.exists(path) and os.path.getsize(path) else 0


def _saved(run):
    """The step of the newest checkpoint."""
    newest = tf.train.latest_checkpoint(
        os.path.join(run.config.run_dir, run_directory.CHECKPOINTS)
    )
    return int(newest.rpartition("-")[2])


def _log(run):
    with open(os.path.join(run.config.run_dir, "log.txt"), encoding="utf-8") as file:
        return file.read()


def _names(run):
    """The names of the layers in a run's saved model."""
    model = keras.saving.load_model(
        os.path.join(run.config.run_dir, run_directory.MODEL_FILE)
    )
    return [layer.name for layer in model.layers]


if __name__ == "__main__":
    tf.test.main()
