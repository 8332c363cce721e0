"""Trains runs in processes of their own, several at a time.

A process trains one run after another, so TensorFlow is imported once in each. It ends
with the one that started it, however that ends; a run that it is in the middle of saves
a checkpoint first.
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
from tfbn.reproduction.plan import Run

_SECONDS_BETWEEN_LOOKS = 0.5

# Of a process that trains: held during a run; set when no other is to begin.
_training = threading.Lock()
_ending = threading.Event()


class Outcome(NamedTuple):
    """How a run ended.

    Attributes:
        run: `Run`.
        seconds: float, the time it took in this process.
        error: Exception that ended it, or None.
    """

    run: Run
    seconds: float
    error: Exception | None


def train(runs: Iterable[Run], *, jobs: int) -> Iterator[Outcome]:
    """Trains runs, `jobs` at a time, each from where it was stopped.

    Closing the iterator, or an exception in the loop over it, stops the runs in
    progress at their next step, with a checkpoint.

    Args:
        runs: of different folders.
        jobs: int > 0, number of processes; they share out the cores.

    Yields:
        An `Outcome` as soon as a run has ended.

    Raises:
        MemoryError: if a process has died.
    """
    with _pool(jobs) as pool:
        futures = {pool.submit(_train, run): run for run in runs}
        for future in concurrent.futures.as_completed(futures):
            try:
                yield Outcome(futures[future], *future.result())
            except BrokenProcessPool as error:
                raise MemoryError(
                    "a process that trained has died, for want of memory perhaps. "
                    "Start again to go on from the last checkpoints; lower --jobs if "
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
    """Tells the processes that are started now how many threads TensorFlow may use.

    One run a core makes twice the steps of runs that share the cores one after the
    other, for networks as small as those of the scales smoke and cpu.
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
    """Prepares a new process."""
    # Ctrl-C goes to all processes of a terminal; these wait to be told.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()


def _end_with_parent(stop):
    """Waits for the end of the pool, or of its process; then ends the run and this."""
    parent = multiprocessing.parent_process()
    while parent.is_alive() and not stop.is_set():
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    _ending.set()
    while not _training.acquire(timeout=_SECONDS_BETWEEN_LOOKS):
        # No handler: it still builds the network, or it knows already, as from a signal
        # to the whole group. Then a second one would end it without a checkpoint.
        if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
            os.kill(os.getpid(), signal.SIGTERM)
    _training.release()
    parent.join()  # while it lives, it ends the pool itself
    os._exit(1)


def _train(run):
    """Trains a run in this process: `(seconds, error or None)`."""
    with _training:
        if _ending.is_set():  # the pool hands out some runs beforehand
            raise SystemExit(128 + signal.SIGTERM)
        return _trained(run)


def _trained(run):
    begin, error = time.monotonic(), None
    os.makedirs(run.config.run_dir, exist_ok=True)
    with _output_to(os.path.join(run.config.run_dir, "log.txt")):
        keras.backend.clear_session()  # as in a process of its own: names count from 0
        try:
            build_trainer(run.config, _dataset(run.config)).train()
        except Exception as caught:
            error = caught.with_traceback(None)
    gc.collect()
    return time.monotonic() - begin, error


def _dataset(config):
    return _loaded(config.dataset, config.data_dir, config.data_seed)


@contextlib.contextmanager
def _output_to(path):
    """Sends what is written on stdout and stderr to the end of a file."""
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
