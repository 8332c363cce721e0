"""Trains runs in worker processes, several at a time.

A worker trains one run after another, so it imports TensorFlow once. It ends with the
process that started it, however that ends; a run in progress saves a checkpoint first.
"""

import concurrent.futures
import contextlib
import functools
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

import keras

from tfbn import data
from tfbn import environment
from tfbn.experiment import build_trainer
from tfbn.files import atomic
from tfbn.reproduction.plan import Run

_SECONDS_BETWEEN_CHECKS = 0.5

# In a worker: held during a run; set when no other run may begin.
_training = threading.Lock()
_ending = threading.Event()


class Outcome(NamedTuple):
    """How a run ended: its time in the worker, and the error if it failed."""

    run: Run
    seconds: float
    error: Exception | None


def train(runs: Iterable[Run], *, jobs: int) -> Iterator[Outcome]:
    """Trains runs, `jobs` at a time; each resumes from its last checkpoint.

    Closing the iterator, or an exception in the loop over it, stops the runs in
    progress at their next step, with a checkpoint.

    Args:
        runs: runs with different folders.
        jobs: int > 0, the number of workers, which divide the cores between them.

    Yields:
        An `Outcome` as soon as a run has ended.

    Raises:
        MemoryError: if a worker has died.
    """
    with _pool(jobs) as pool:
        futures = {pool.submit(_train, run): run for run in runs}
        for future in concurrent.futures.as_completed(futures):
            try:
                yield Outcome(futures[future], *future.result())
            except BrokenProcessPool as error:
                raise MemoryError(
                    "a worker process has died, possibly because memory ran out. "
                    "Start again to resume from the last checkpoints; lower --jobs if "
                    "it happens again."
                ) from error


@contextlib.contextmanager
def _pool(jobs):
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = concurrent.futures.ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(stop,)
    )
    with _threads(max(1, environment.num_cores() // jobs)):
        try:
            yield pool
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _threads(number):
    """Limits TensorFlow's threads in the processes started within the context.

    For networks as small as those of the scales smoke and cpu, one run on each core
    makes twice as many steps as the same runs one after the other on all cores.
    """
    names = "TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS"
    before = {name: os.environ.get(name) for name in names}
    os.environ.update({name: str(number) for name in names})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(stop):
    """Prepares a new worker."""
    # Ctrl-C reaches all processes of a terminal; workers wait for their parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = stop, multiprocessing.parent_process()
    threading.Thread(target=_end_with_parent, args=arguments, daemon=True).start()


def _end_with_parent(stop, parent):
    """Waits for the pool or its process to end, then ends the run and the worker."""
    while parent.is_alive() and not stop.is_set():
        time.sleep(_SECONDS_BETWEEN_CHECKS)
    _ending.set()
    while not _training.acquire(timeout=_SECONDS_BETWEEN_CHECKS):
        # No handler: the run is still being built, or it has had the signal already, as
        # when the whole group got it; a second one would end it without a checkpoint.
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            os.kill(os.getpid(), signal.SIGTERM)
    _training.release()
    parent.join()  # while it lives, it shuts the pool down itself
    os._exit(1)


def _train(run):
    """Trains a run in this worker and returns `(seconds, error or None)`."""
    with _training:
        if _ending.is_set():  # the pool queues some runs in advance
            raise SystemExit(128 + signal.SIGTERM)
        return _trained(run)


def _trained(run):
    begin, error = time.monotonic(), None
    os.makedirs(run.config.run_dir, exist_ok=True)
    with _output_to(os.path.join(run.config.run_dir, "log.txt")):
        keras.backend.clear_session()  # names count from 0, as in a new process
        try:
            config = run.config
            dataset = _loaded(config.dataset, config.data_dir, config.data_seed)
            build_trainer(config, dataset).train()
        except Exception as caught:
            error = caught.with_traceback(None)
        finally:
            _add_seconds(run, time.monotonic() - begin)
    gc.collect()
    return time.monotonic() - begin, error


def _add_seconds(run, seconds):
    """Adds to the time that the run has trained; what a killed process did is lost."""
    with atomic.replacing(run.seconds_file) as file:
        file.write(f"{(run.seconds or 0.0) + seconds:.1f}\n")


@contextlib.contextmanager
def _output_to(path):
    """Appends everything written to stdout and stderr to a file."""
    kept = [os.dup(1), os.dup(2)]
    with open(path, "ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


@functools.lru_cache(maxsize=1)
def _loaded(name, data_dir, seed):
    return data.load(name, data_dir=data_dir or None, seed=seed)
