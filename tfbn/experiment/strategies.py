"""The `tf.distribute` strategies that a run can name."""

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Callable

import tensorflow as tf

from tfbn import _compat
from tfbn.diagnostics.arguments import first_line
from tfbn.experiment import clusters
from tfbn.experiment import rendezvous
from tfbn.options import Option
from tfbn.registry import Registry


@dataclasses.dataclass(frozen=True)
class Entry:
    """What `--strategy` names.

    Attributes:
        name: str.
        build: function `(settings, **options)` -> `tf.distribute.Strategy` or None,
            with the flags and versions that all processes of the run must share.
        options: the options that it takes.
    """

    name: str
    build: Callable[..., tf.distribute.Strategy | None]
    options: tuple[Option, ...] = ()


def scope(strategy: tf.distribute.Strategy | None) -> contextlib.AbstractContextManager:
    """The context in which a strategy's variables are made."""
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _mirrored(unused_settings, *, logical_cpus):
    return _mirrored_once(logical_cpus)


# Once in a process: TensorFlow takes the collective operations of a second strategy
# for those of the first.
@functools.cache
def _mirrored_once(logical_cpus):
    if not logical_cpus:
        return tf.distribute.MirroredStrategy()
    _split_cpu(logical_cpus)
    names = [f"CPU:{i}" for i in range(logical_cpus)]
    return tf.distribute.MirroredStrategy(names)


def _split_cpu(number):
    cpu, *_ = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * number
    with contextlib.suppress(RuntimeError):  # TensorFlow has started
        tf.config.set_logical_device_configuration(cpu, parts)
    found = len(tf.config.list_logical_devices("CPU"))
    if found < number:
        raise ValueError(
            "logical_cpus must be set before TensorFlow starts. Received: logical_cpus="
            f"{number}, in a process whose TensorFlow has started with {found}. Start "
            "the run in a process of its own, or before anything else is computed."
        )


# All processes are there, and do nothing but connect.
_SECONDS_TO_CONNECT = 60.0


def _multi_worker(settings, *, meeting_minutes, lost_after_seconds):
    configuration = clusters.configuration()
    cluster, task = configuration["cluster"], configuration["task"]
    rendezvous.meet(
        configuration,
        settings,
        seconds=60.0 * meeting_minutes,
        problem=rendezvous.port_problem(cluster[task["type"]][task["index"]]),
    )
    # Not a resolver of its own: TensorFlow asks this one for the accelerators.
    os.environ["TF_CONFIG"] = json.dumps(configuration)
    return _multi_worker_once(lost_after_seconds)


@functools.cache
def _multi_worker_once(lost_after_seconds):
    cluster = json.loads(os.environ["TF_CONFIG"])["cluster"]
    if sum(map(len, cluster.values())) > 1:
        _compat.bound_waiting(
            cluster,
            start_seconds=_SECONDS_TO_CONNECT,
            lost_seconds=lost_after_seconds,
        )
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.OpError as error:
        raise ConnectionError(
            "a process of the cluster has ended, or cannot be reached, although all "
            f"had come. TensorFlow says: {first_line(error).rstrip('.')}. Start all of "
            "them again."
        ) from error
    except RuntimeError as error:  # "Collective ops must be configured at startup"
        raise ValueError(
            "strategy=multi_worker must be set before TensorFlow starts. Received: a "
            f"process in which it has started ({error}). Start the run in a process of "
            "its own."
        ) from error


def _tpu(unused_settings, *, tpu):
    return _tpu_once(tpu)


@functools.cache
def _tpu_once(name):
    resolver_type = tf.distribute.cluster_resolver.TPUClusterResolver
    try:
        resolver = resolver_type(tpu=name or os.environ.get("TPU_NAME", "local"))
        if resolver.master():
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, OSError, tf.errors.OpError) as error:
        raise ValueError(
            "strategy=tpu needs a TPU and a TensorFlow that is built for it. Received: "
            f"tpu={name!r}, of which TensorFlow says: {first_line(error)}"
        ) from error
    return tf.distribute.TPUStrategy(resolver)


STRATEGIES = Registry(
    "strategy",
    Entry("none", lambda settings: None),
    Entry(
        "mirrored",
        _mirrored,
        (
            Option(
                "logical_cpus",
                0,
                "Split the CPU into so many logical ones and mirror over them, to try "
                "distribution without accelerators; 0: mirror over all accelerators.",
                affects_results=False,
            ),
        ),
    ),
    Entry(
        "multi_worker",
        _multi_worker,
        (
            Option(
                "meeting_minutes",
                5.0,
                "Minutes that a process waits at the start of the run until all of its "
                "processes are there.",
                above=0.0,
                affects_results=False,
            ),
            Option(
                "lost_after_seconds",
                10.0,
                "Seconds without a sign of life after which a process is taken for "
                "lost, and the others end. More where processes wait for the CPU.",
                above=0.0,
                affects_results=False,
            ),
        ),
    ),
    Entry(
        "tpu",
        _tpu,
        (
            Option(
                "tpu",
                "",
                "Name or address of a TPU; empty: the environment variable TPU_NAME, "
                "otherwise the TPU of this machine.",
                affects_results=False,
            ),
        ),
    ),
)
