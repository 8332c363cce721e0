"""Whether a training step can fit into memory, told before the first one.

On a CPU the process dies where memory ends: TensorFlow's kernels abort it, or the
kernel of the operating system kills it. Neither can be caught.
"""

import math
import os

import tensorflow as tf

try:
    import resource
except ImportError:  # Windows
    resource = None

_GIB = 2.0**30


def check_step(model, batch_size):
    """Raises a MemoryError if a step is sure not to fit into the CPU's memory.

    Where there is a GPU nothing is checked: there TensorFlow raises an error itself.

    Args:
        model: a functional Keras model.
        batch_size: int, examples in a step.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    needed, there = least_bytes(model, batch_size), available_bytes()
    if there is not None and needed > there:
        raise MemoryError(
            f"batch_size must be one that fits into memory. Received: batch_size="
            f"{batch_size}, for which a step takes {needed / _GIB:.1f} GiB at least; "
            f"{there / _GIB:.1f} GiB are available. Lower --batch_size or --width."
        )


def least_bytes(model, batch_size):
    """The bytes of what a step has to keep for its backward pass, at the least.

    That is an output of each layer that has weights: of a convolution what its
    normalisation takes, of a normalisation what the nonlinearity makes of it. The whole
    is up to three times as much.
    """
    kept = 0
    for layer in model.layers:
        if layer.weights:
            elements = math.prod(layer.output.shape[1:])
            kept += elements * tf.as_dtype(layer.compute_dtype).size
    return batch_size * kept


def available_bytes():
    """The memory that this process can have yet, in bytes, or None if nobody tells."""
    found = [_of_machine(), _of_address_space(), _of_control_group()]
    return min((size for size in found if size is not None), default=None)


def _of_machine():
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return None


def _of_address_space():
    if resource is None:
        return None
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = " ".join(_lines("/proc/self/statm")).split()
    if limit == resource.RLIM_INFINITY or not pages:
        return None
    return limit - int(pages[0]) * os.sysconf("SC_PAGE_SIZE")


def _of_control_group(folder="/sys/fs/cgroup"):
    """What a container may have yet."""
    limit = "".join(_lines(f"{folder}/memory.max")).strip()
    used = "".join(_lines(f"{folder}/memory.current")).strip()
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def _lines(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.readlines()
    except OSError:
        return []
