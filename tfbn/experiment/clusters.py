"""The processes of a run on several machines: from TF_CONFIG or from Slurm."""

import json
import os
from typing import Any

import tensorflow as tf

from tfbn import validation

_JOBS = ("chief", "worker")
# Of the first task on a node; the others follow. The same as TensorFlow's.
_SLURM_PORT = 8888


def configuration() -> dict[str, Any]:
    """The value of TF_CONFIG, or what it would be in the present step of Slurm.

    Returns:
        A dict `{"cluster": {job: [addresses]}, "task": {"type": job, "index": int}}`.

    Raises:
        ValueError: if there is neither, or it is not what TensorFlow needs.
    """
    if "TF_CONFIG" in os.environ:
        found = _of_environment(os.environ["TF_CONFIG"])
    elif "SLURM_STEP_NUM_TASKS" in os.environ:
        found = _of_slurm()
    else:
        raise ValueError(
            "strategy=multi_worker needs the environment variable TF_CONFIG, or to be "
            "started by srun in a step of Slurm. Received: neither. Such as TF_CONFIG="
            '\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": '
            '"worker", "index": 0}}\' on host1.'
        )
    return found


def _of_environment(text):
    try:
        found = json.loads(text)
    except ValueError as error:
        raise _wrong(f"be JSON ({error})", text) from None
    if not isinstance(found, dict) or not isinstance(found.get("cluster"), dict):
        raise _wrong('have a "cluster" that maps jobs to addresses', text)
    cluster, task = found["cluster"], found.get("task")
    if not any(cluster.get(job) for job in _JOBS):
        raise _wrong('name a "chief" or a "worker" in its "cluster"', text)
    for job, addresses in cluster.items():
        if job not in _JOBS:
            raise _wrong(f"have no jobs but chief and worker, so no {job!r}", text)
        if not isinstance(addresses, list) or not all(map(_is_address, addresses)):
            raise _wrong(f'list addresses "host:port" of the job {job!r}', text)
    if len(cluster.get("chief", [])) > 1:
        raise _wrong("have one chief", text)
    if not isinstance(task, dict) or task.get("type") not in cluster:
        raise _wrong('have a "task" whose "type" is a job of the cluster', text)
    index, number = task.get("index"), len(cluster[task["type"]])
    if type(index) is not int or not 0 <= index < number:
        rule = f'have a "task" whose "index" is from 0 to {number - 1}'
        raise _wrong(f"{rule}, as {task['type']} has {number}", text)
    return found


def _of_slurm():
    number = int(os.environ["SLURM_STEP_NUM_TASKS"])
    try:
        # No devices are allotted: Slurm shows each task its own.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=_SLURM_PORT,
            gpus_per_node=number,
            gpus_per_task=1,
            auto_set_gpu=False,
        )
        cluster = resolver.cluster_spec().as_dict()
        job, index = resolver.get_task_info()
        index = _index_on_node(cluster[job], index)
    except (RuntimeError, ValueError, KeyError) as error:
        raise ValueError(
            "strategy=multi_worker must be started by srun, with all tasks in one step."
            f" Received: variables SLURM_* of which TensorFlow says: {error}"
        ) from error
    return {"cluster": cluster, "task": {"type": job, "index": index}}


def _index_on_node(addresses, rank):
    """The index of this task's own address.

    TensorFlow takes it for the task's rank, but sorts the nodes by their names (n10
    comes before n9), and srun may distribute ranks in other ways (`-m cyclic`).
    """
    node, local = (os.environ.get(n) for n in ("SLURMD_NODENAME", "SLURM_LOCALID"))
    own = f"{node}:{_SLURM_PORT + int(local or 0)}"
    return addresses.index(own) if own in addresses else rank


def _is_address(address):
    if not isinstance(address, str):
        return False
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 2**16


def _wrong(rule, text):
    return ValueError(
        f"TF_CONFIG must {rule}. Received: TF_CONFIG={validation.shown(text)}."
    )
