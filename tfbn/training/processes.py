"""The processes of a run on several machines: the chief, and what they agree on."""

import contextlib
import functools
import os
import secrets
import time
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tfbn.diagnostics.arguments import first_line
from tfbn.files import atomic

# What one machine writes in a folder of a network others see after a while.
_SECONDS_TO_SEE = 60.0
_SECONDS_BETWEEN_LOOKS = 0.1


def is_multi_worker(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether the replicas belong to several processes."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return False
    cluster = strategy.cluster_resolver.cluster_spec().as_dict()
    return sum(map(len, cluster.values())) > 1


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process writes the results: the chief, or the first worker."""
    if not is_multi_worker(strategy):
        return True
    resolver: Any = strategy.cluster_resolver  # type: ignore[union-attr]
    jobs = sorted(resolver.cluster_spec().as_dict())  # "chief" before "worker"
    return (resolver.task_type, resolver.task_id) == (jobs[0], 0)


def largest(value: int, strategy: tf.distribute.Strategy | None) -> int:
    """The largest of the values (int >= 0) that the processes of a run give.

    All of them must call it at the same point.
    """
    if not is_multi_worker(strategy):
        return value

    return int(tf.reduce_max(_gathering(strategy)(tf.constant([value], tf.int64))))


@functools.cache
def _gathering(strategy):
    """A function of a vector: those of all replicas, traced once."""

    def gather(vector):
        vector = tf.identity(vector)  # on the device of the replica
        return tf.distribute.get_replica_context().all_gather(vector, axis=0)

    @tf.function(autograph=False)
    def gathered(vector):
        everywhere = strategy.run(gather, args=(vector,))
        return strategy.experimental_local_results(everywhere)[0]

    return gathered


def check_shared(
    run_dir: str,
    strategy: tf.distribute.Strategy | None,
    seconds: float = _SECONDS_TO_SEE,
) -> None:
    """Raises a ValueError if a process does not see what the chief writes.

    Args:
        run_dir: an existing folder of the chief.
        strategy: that of the run.
        seconds: how long a process looks for a file.
    """
    if not is_multi_worker(strategy):
        return
    with _sign(run_dir if is_chief(strategy) else None) as number:
        name = _name_of_sign(largest(number, strategy))
        seen = _appears(os.path.join(run_dir, name), seconds)
        index = strategy.cluster_resolver.task_id  # type: ignore[union-attr]
        blind = largest(0 if seen else index + 1, strategy)
    if blind:
        raise ValueError(
            f"run_dir must be one folder for all machines. Received: run_dir={run_dir},"
            f" in which worker {blind - 1} does not see what the chief writes."
        )


@contextlib.contextmanager
def _sign(folder):
    """A file that nobody has looked for before; yields its number, 0 for no folder."""
    if folder is None:
        yield 0
        return
    number = 1 + secrets.randbelow(2**62 - 1)
    path = os.path.join(folder, _name_of_sign(number))
    with open(path, "wb"):
        pass
    try:
        yield number
    finally:
        os.remove(path)


def _name_of_sign(number):
    return f"{atomic.PARTIAL}{number}"


def _appears(path, seconds):
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            return False
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    return True


def check_same_step(step: int, strategy: tf.distribute.Strategy | None) -> None:
    """Raises a ValueError if the processes of a run resume at different steps."""
    first, last = -largest(2**62 - step, strategy) + 2**62, largest(step, strategy)
    if first != last:
        raise ValueError(
            "run_dir must be one folder for all machines. Received: one in which some "
            f"processes resume at step {first} and others at step {last}."
        )


@contextlib.contextmanager
def one_line_errors(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """Turns TensorFlow's pages on a process that has ended into one line."""
    try:
        yield
    except _LOST as error:
        if not is_multi_worker(strategy):
            raise
        raise ConnectionError(
            "another process of the run has ended, or cannot be reached: "
            f"{first_line(error).rstrip('.')}. Start all of them again, with the same "
            "flags, to resume from the newest checkpoint."
        ) from error


_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
