"""Statistics over the global batch: for all layers of a model, and in their state."""

import contextlib
import contextvars
from collections.abc import Iterable
from collections.abc import Iterator

import keras
import tensorflow as tf

from tfbn import _compat
from tfbn import _scopes
from tfbn import validation

# What Keras traced of a model: it would go on with the statistics of before.
_TRACED = ("train_function", "test_function", "predict_function")


def synchronize(model: keras.layers.Layer) -> keras.layers.Layer:
    """Sets `synchronized=True` in all batch normalisation layers of a model.

    They then take the statistics over the global batch of a `tf.distribute` strategy,
    not over the batch of each replica. Without a strategy nothing changes. As in
    `torch.nn.SyncBatchNorm.convert_sync_batchnorm`, weights stay what they are; here
    the layers do too, so that the model need not be compiled again.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8),
        ...                           keras.layers.BatchNormalization()])
        >>> tfbn.synchronize(model).layers[-1].synchronized
        True

    Args:
        model: a Keras model or layer; layers inside it at any depth count, built or
            not: tfbn's and `keras.layers.BatchNormalization`.

    Returns:
        The model itself, changed in place.

    Raises:
        ValueError: if it is no Keras layer, or one of the layers has virtual batches;
            nothing is changed then.
    """
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(
            "model must be a Keras model or layer. Received: model="
            f"{validation.shown(model)}."
        )
    layers = [
        layer
        for layer in (model, *_compat.flatten_layers(model))
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in layers:
        _check(layer)
    for layer in layers:
        layer.synchronized = True
    for name in _TRACED:
        if getattr(model, name, None) is not None:
            setattr(model, name, None)
    return model


def assign(variable: keras.Variable, value: tf.Tensor, *, same: bool) -> None:
    """Sets a variable of a layer, on all replicas.

    Args:
        variable: of the layer.
        value: of the shape and dtype of `variable`.
        same: bool, whether all replicas come to the same value. TensorFlow would
            communicate to aggregate what they come to, unless `averaged_later`.
    """
    context = tf.distribute.get_replica_context()
    several = context is not None and context.num_replicas_in_sync > 1
    held, later = variable.value, _LATER.get()
    if not same and later is not None:
        later.setdefault(id(variable), variable)
        same = True
    # In a stateless call that is a tensor, and Keras keeps the new value itself.
    if same and several and isinstance(held, tf.Variable):
        context.strategy.extended.update(held, _assign, args=(value,))
    else:
        variable.assign(value)


_LATER: contextvars.ContextVar[dict | None] = contextvars.ContextVar(
    "tfbn_averaged_later", default=None
)


@contextlib.contextmanager
def averaged_later() -> Iterator[Iterable[keras.Variable]]:
    """Leaves variables that replicas set to other values as each has set them.

    TensorFlow would average each of them in a message of its own. Whoever opens this on
    a replica averages them, together, afterwards.

    Yields:
        The variables, as they come.
    """
    variables: dict[int, keras.Variable] = {}
    with _scopes.holding(_LATER, variables):
        yield variables.values()


def _assign(variable, value):
    return variable.assign(value)


def _check(layer):
    size = getattr(layer, "virtual_batch_size", None)
    if size is not None:
        raise ValueError(
            "virtual_batch_size must be None with synchronized=True: one makes the "
            "batch of the statistics smaller, the other larger. Received: "
            f"{layer.name} with virtual_batch_size={size}. Leave such a model as it is."
        )
