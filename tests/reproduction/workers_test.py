"""Tests of the processes that train: few starts of them, for each takes seconds."""

import contextlib
import glob
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from unittest import mock

import keras
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
_NOISY = {"norm": "noisy_batch_norm", "log_every": 5, "train_steps": 20}
_SECONDS = 120.0  # far more than anything takes


class WorkersTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())

    def _run(self, name, **options):
        run_dir = os.path.join(self.folder, name)
        options = {"learning_rate": 1e-6, "progress": False} | _LINEAR | options
        return Run(name, TrainConfig(run_dir=run_dir, **options))

    def test_results_do_not_depend_on_the_process_or_on_runs_before(self):
        names = ("first", "other", "wrong", "again")
        options = {"other": {"seed": 1}, "wrong": {"batch_size": 10**6}}
        runs = [self._run(name, **_NOISY | options.get(name, {})) for name in names]
        outcomes = {o.run.label: o for o in workers.train(runs, jobs=1)}
        self.assertCountEqual(outcomes, names)
        self.assertEqual([o.run for o in outcomes.values()], runs)  # one by one
        with self.subTest("errors are returned"):
            errors = {name: outcome.error for name, outcome in outcomes.items()}
            wrong = errors.pop("wrong")
            self.assertIsInstance(wrong, ValueError)
            self.assertRegex(str(wrong), "batch_size must be .*1000000")
            self.assertEqual(set(errors.values()), {None})
        with self.subTest("records"):
            here = self._run("here", **_NOISY)
            keras.backend.clear_session()
            build_trainer(here.config).train()
            expected = records_lib.read_records(here.config.run_dir)
            for name in ("first", "again"):
                self._assert_same(runs[names.index(name)], expected)
            with self.assertRaises(AssertionError):  # of another seed
                self._assert_same(runs[1], expected)
        with self.subTest("names"):
            self.assertEqual(*(_names(runs[i]) for i in (0, 3)))
        with self.subTest("seconds"):
            self.assertGreater(min(o.seconds for o in outcomes.values()), 0.0)

    def _assert_same(self, run, expected):
        found = records_lib.read_records(run.config.run_dir)
        self.assertEqual(len(found), len(expected))
        for record, other in zip(found, expected, strict=True):
            self.assertEqual(record.keys(), other.keys())
            self.assertEqual(record["kind"], other["kind"])
            for name in record.keys() - {"kind"}:
                self.assertAllClose(record[name], other[name], **_THREADS)

    def test_stopped_then_gone_on_with_then_died(self):
        endless = {"train_steps": 10**8, "log_every": 1, "eval_every": 0}
        endless["checkpoint_every"] = 0
        runs = [self._run("a", **endless)]
        runs += [self._run(name, **_NOISY) for name in ("b", "c", "d")]
        self._stop(runs)
        with self.subTest("stopping saves, and begins no other run"):
            step = _saved(runs[0])
            self.assertGreater(step, 0)
            self.assertEqual(_steps(runs[0]), list(range(1, step + 1)))
            self.assertRegex(
                _log(runs[0]), f"SIGTERM: stopping.*\nSaved at step {step};"
            )
            self.assertEqual(os.listdir(self.folder), ["a"])
        with self.subTest("a process that has died"):
            with _once_past(runs[0], step, _kill_children):
                with self.assertRaises(MemoryError) as caught:
                    list(workers.train(runs[:1], jobs=1))
            self.assertRegex(str(caught.exception), "^a worker .* has died.*--jobs")
        with self.subTest("the same call goes on from the checkpoint"):
            self.assertEqual(_saved(runs[0]), step)
            steps = _steps(runs[0])
            self.assertEqual(steps, list(range(1, steps[-1] + 1)))
            events = os.path.join(runs[0].config.run_dir, "events.out.*")
            self.assertLen(glob.glob(events), 2)  # one a process: none was removed

    def _stop(self, runs):
        """Breaks the loop over outcomes off by an exception, as a signal does."""
        before = signal.signal(signal.SIGUSR1, _raise_stopped)
        try:
            with _once_past(runs[0], 0, _signal_main_thread):
                with self.assertRaises(_Stopped):
                    with contextlib.closing(workers.train(runs, jobs=1)) as outcomes:
                        list(outcomes)
        finally:
            signal.signal(signal.SIGUSR1, before)


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


def _signal_main_thread():
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
