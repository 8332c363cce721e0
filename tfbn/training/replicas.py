"""Replicas of a `tf.distribute` strategy: what can run on them, and their slices."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics.layer_calls import all_layers

STRATEGIES = (
    tf.distribute.OneDeviceStrategy,
    tf.distribute.MirroredStrategy,
    tf.distribute.MultiWorkerMirroredStrategy,
    tf.distribute.TPUStrategy,
)


def check_strategy(strategy: Any) -> None:
    """Raises a ValueError unless `strategy` is one that a trainer can use, or None."""
    if strategy is not None and not isinstance(strategy, STRATEGIES):
        names = ", ".join(s.__name__ for s in STRATEGIES)
        raise ValueError(
            f"strategy must be a tf.distribute strategy of synchronous replicas "
            f"({names}), or None. Received: strategy={validation.shown(strategy)}."
        )


def number_of(strategy: tf.distribute.Strategy | None) -> int:
    """The number of replicas."""
    return 1 if strategy is None else strategy.num_replicas_in_sync


def check_model(model: keras.Model, strategy: tf.distribute.Strategy | None) -> None:
    """Raises a ValueError if the strategy cannot train a built model exactly."""
    if strategy is None:
        return
    _check_scope("model", model.variables, strategy)


def check_optimizer(
    optimizer: keras.Optimizer, strategy: tf.distribute.Strategy | None
) -> None:
    """Raises a ValueError if the strategy cannot use the optimizer exactly."""
    if strategy is None:
        return
    _check_scope("optimizer", optimizer.variables, strategy)
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    if inner.gradient_accumulation_steps and number_of(strategy) > 1:
        raise ValueError(
            "optimizer must have gradient_accumulation_steps=None on several replicas. "
            "Received: gradient_accumulation_steps="
            f"{inner.gradient_accumulation_steps}, strategy of {number_of(strategy)} "
            "replicas. Use a larger batch."
        )


def _check_scope(name, variables, strategy):
    for variable in variables:
        if not strategy.extended.variable_created_in_scope(variable.value):
            raise ValueError(
                f"{name} must be made within strategy.scope(). Received: strategy="
                f"{type(strategy).__name__}, and {name} with the variable "
                f"{variable.path} made outside."
            )


def is_tpu(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether the replicas are TPUs: XLA then compiles their part of a step."""
    return isinstance(strategy, tf.distribute.TPUStrategy)


def check_batch_size(
    batch_size: int | None, strategy: tf.distribute.Strategy | None
) -> None:
    """Raises a ValueError for batches that the replicas cannot divide.

    Args:
        batch_size: None if it is not known.
    """
    number = number_of(strategy)
    if is_tpu(strategy) and (batch_size is None or batch_size % number):
        known = "an unknown number of" if batch_size is None else batch_size
        raise ValueError(
            "batches must be tfbn.data.ArrayBatches whose size is a multiple of the "
            "number of replicas on TPUs, for which all sizes must be known. Received: "
            f"batches of {known} examples, strategy of {number} replicas."
        )
    if batch_size is not None and batch_size < number:
        raise ValueError(
            "the batch size must be at least the number of replicas. Received: batches "
            f"of {batch_size} examples, strategy of {number} replicas."
        )


def bounds(size: Any, replica: Any, number: int) -> tuple[Any, Any]:
    """`(begin, end)` of a replica's slice of `size` examples.

    The slices follow each other in the order of the replicas; their sizes differ by one
    at most. Ints give ints, integer tensors give tensors.
    """
    return size * replica // number, size * (replica + 1) // number


def part_of(tensors: Any, size: int, replica: Any, number: int) -> Any:
    """A replica's slice of each tensor of `size` examples, a multiple of `number`.

    How many examples it has is known when the graph is made, as XLA wants it.
    """

    def part(tensor):
        sizes = [number, size // number, *tensor.shape[1:]]
        return tf.gather(tf.reshape(tensor, sizes), replica)

    return tf.nest.map_structure(part, tensors)


def among_zeros(part: tf.Tensor, size: Any, replica: Any, number: int) -> tf.Tensor:
    """A replica's slice at its place among zeros: the sum over all is the whole.

    Args:
        part: `[examples, ...]`.
        size: int or scalar tensor, examples of the whole.
        replica, number: as in `bounds`.

    Returns:
        A tensor `[size, ...]`.
    """
    if isinstance(size, int) and size % number == 0:  # of sizes that XLA knows
        is_mine = tf.reshape(tf.range(number) == replica, [-1, *[1] * part.shape.rank])
        # A product with 0 would send a NaN to the slices of others.
        whole = tf.where(is_mine, part, tf.zeros_like(part))
        whole = tf.reshape(whole, tf.concat([[size], tf.shape(part)[1:]], 0))
    else:
        begin, end = bounds(size, replica, number)
        whole = tf.pad(part, [[begin, size - end], *[[0, 0]] * (part.shape.rank - 1)])
    return tf.ensure_shape(
        whole, [size if isinstance(size, int) else None, *part.shape[1:]]
    )


def unsynchronized(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers that take statistics of a replica's slice, not of the global batch."""
    return [
        layer
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization)
        and layer.trainable
        and not layer.synchronized
    ]


def drifting(model: keras.Model) -> list[keras.Variable]:
    """The variables that a forward pass may set to another value on each replica.

    TensorFlow averages those with an aggregation itself, for tfbn's layers see
    `synchronization.averaged_later`.
    """
    synchronized = {
        id(layer)
        for layer in all_layers(model)
        if getattr(layer, "synchronized", False) is True
    }
    return [
        variable
        for layer in all_layers(model)
        if layer.trainable and id(layer) not in synchronized and not all_layers(layer)
        for variable in layer.non_trainable_weights
        if variable.aggregation == "none" and tf.as_dtype(variable.dtype).is_floating
    ]


def check_diagnostics(
    names: Sequence[str], model: keras.Model, strategy: tf.distribute.Strategy | None
) -> None:
    """Raises a ValueError if what is measured would not be what is trained.

    Diagnostics take the global batch, on one replica.
    """
    number, layers = number_of(strategy), unsynchronized(model)
    if names and layers and number > 1:
        raise ValueError(
            "diagnostics on several replicas need layers with synchronized=True, whose "
            "statistics are those of the global batch. Received: diagnostics "
            f"{', '.join(names)}, {layers[0].name} with synchronized=False, strategy "
            f"of {number} replicas. Use tfbn.synchronize(model), or --synchronized."
        )


def check_jit_compile(
    jit_compile: bool | str, strategy: tf.distribute.Strategy | None
) -> None:
    """Raises a ValueError if XLA is asked for where TensorFlow cannot use it."""
    if strategy is not None and jit_compile is True:
        raise ValueError(
            'jit_compile must be False or "auto" with a strategy: XLA compiles no '
            "communication of replicas. Received: "
            f"jit_compile=True, strategy={type(strategy).__name__}."
        )


def parts_of_batch(model: keras.Model, strategy: tf.distribute.Strategy | None) -> int:
    """In how many parts each batch falls that have statistics of their own."""
    return number_of(strategy) if unsynchronized(model) else 1


def check_resumption(
    parts: int, model: keras.Model, strategy: tf.distribute.Strategy | None
) -> None:
    """Raises a ValueError if a run would go on with other statistics.

    Args:
        parts: `parts_of_batch` of the run so far.
        model, strategy: those of the run from now on.
    """
    now = parts_of_batch(model, strategy)
    if parts != now:
        raise ValueError(
            "strategy must have as many replicas as before, or synchronized layers as "
            f"before. Received: a run with statistics of {_parts(parts)} and a strategy"
            f" of {number_of(strategy)} replicas that takes them of {_parts(now)}."
        )


def _parts(number):
    return "the whole batch" if number == 1 else f"{number} parts of each batch"


def local_share(batch_size: int, strategy: tf.distribute.Strategy | None) -> int:
    """Examples of a batch that the replicas of this process compute."""
    if strategy is None:
        return batch_size
    local = len(strategy.extended.worker_devices)
    return math.ceil(batch_size * local / number_of(strategy))
