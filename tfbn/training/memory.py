"""Whether a training step can fit into memory, checked before the first one.

On a CPU the process dies when memory runs out: TensorFlow's kernels abort it, or the
operating system kills it. Neither can be caught.
"""

import contextlib
import math
from collections.abc import Iterator

import keras
import psutil
import tensorflow as tf

from tfbn.diagnostics.layer_calls import all_layers

_GIB = 2.0**30


def check_step(model: keras.Model, batch_size: int) -> None:
    """Raises a MemoryError if a step certainly does not fit into the CPU's memory.

    With a GPU nothing is checked: TensorFlow raises an error itself there.

    Args:
        model: a built Keras model.
        batch_size: examples in a step.
    """
    if tf.config.list_physical_devices("GPU"):
        return
    needed, available = least_bytes(model, batch_size), available_bytes()
    if needed > available:
        raise MemoryError(
            f"batch_size must be one that fits into memory. Received: batch_size="
            f"{batch_size}, for which a step takes {needed / _GIB:.1f} GiB at least; "
            f"{available / _GIB:.1f} GiB are available. Lower the batch size or the "
            "width of the network."
        )


@contextlib.contextmanager
def one_line_errors(what: str, batch: str = "batch") -> Iterator[None]:
    """Turns TensorFlow's pages on memory that cannot be allocated into one line."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(
            f"{what} does not fit into memory. Lower the {batch} size, or use a "
            "smaller network or half precision."
        ) from error


def least_bytes(model: keras.Model, batch_size: int) -> int:
    """A lower bound of what a step keeps for its backward pass, in bytes.

    One output of each layer with weights: a convolution's is the input of its
    normalisation, a normalisation's the input of the nonlinearity. The whole is up to
    three times as much. Layers whose output shapes are not known, as in subclassed
    models, do not count.
    """
    kept = 0
    for layer in all_layers(model):
        if layer.weights and not all_layers(layer):
            size = tf.as_dtype(layer.compute_dtype).size
            kept += size * sum(map(_elements, _outputs(layer)))
    return batch_size * kept


def available_bytes() -> int:
    """The memory that this process can still allocate, in bytes."""
    limits = [psutil.virtual_memory().available, _of_address_space()]
    limits.append(_of_control_group())
    return min(limit for limit in limits if limit is not None)


def _outputs(layer):
    try:
        return tf.nest.flatten(layer.output)
    except (AttributeError, ValueError):  # never called symbolically, or several times
        return []


def _elements(output):
    """The elements of an output of one example; sizes that are not known count 1."""
    return math.prod(size or 1 for size in output.shape[1:])


def _of_address_space():
    process = psutil.Process()
    if not hasattr(process, "rlimit"):  # Linux alone has it
        return None
    limit, _ = process.rlimit(psutil.RLIMIT_AS)
    return None if limit == psutil.RLIM_INFINITY else limit - process.memory_info().vms


def _of_control_group(folder="/sys/fs/cgroup"):
    """The limit of a container, which psutil does not know."""
    limit, used = (_line(f"{folder}/memory.{name}") for name in ("max", "current"))
    return int(limit) - int(used) if limit.isdigit() and used.isdigit() else None


def _line(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""
