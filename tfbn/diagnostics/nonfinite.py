"""The origin of a loss that is not finite."""

from collections.abc import Iterable
from typing import Any
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.layer_calls import all_layers
from tfbn.diagnostics.layer_calls import intercepted
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import snapshot
from tfbn.diagnostics.measurement import as_batch


class NonFinite(NamedTuple):
    """The first thing that is not finite in a training step.

    Attributes:
        layer: str, the layer's path inside the model, or the model's name for an input
            or a loss.
        what: "input" (of the model), "weights", "output", "loss" or "gradient".
    """

    layer: str
    what: str


def first_nonfinite(model: keras.Model, loss: Loss, x: Any, y: Any) -> NonFinite | None:
    """Finds where a training step on `(x, y)` first produces a NaN or an infinity.

    Looks in the order of the computation: at the model's input; at the weights
    (including moving averages) and the output of each layer, in the order of their
    calls; at the loss; and at the gradients, from the last layer to the first.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        x, y: a batch, as in `LossFunction`: the one of the step. Of a dataset, look at
            one batch after the other.

    Returns:
        A `NonFinite`, or None if all is finite.

    Raises:
        ValueError: if the batch does not fit.

    No state changes. Cost: one eager forward and backward pass.
    """
    x, y = as_batch(x, y)
    if not _finite(x):
        return NonFinite(model.name, "input")
    function, state, found = LossFunction(model, loss), snapshot(model), []

    def look(layer, call, *args, **kwargs):
        if not tf.executing_eagerly():
            return call(*args, **kwargs)  # in a loop: symbolic tensors
        if not _finite([w.value for w in _own_weights(layer)]):
            found.append(NonFinite(_path(layer, model), "weights"))
        outputs = call(*args, **kwargs)
        if not _finite(outputs):
            found.append(NonFinite(_path(layer, model), "output"))
        return outputs

    with intercepted(model, look):
        value, gradients = function.value_and_gradients(*state, x, y)
    if found:
        return found[0]
    if not _finite(value):
        return NonFinite(model.name, "loss")
    for group in reversed(layer_groups(model)):
        if not _finite([gradients[i] for i in group.indices]):
            return NonFinite(group.name, "gradient")
    return None


def first_nonfinite_variable(variables: Iterable[keras.Variable]) -> str | None:
    """Returns the path of the first variable that is not finite, or None."""
    for variable in variables:
        if not _finite(variable.value):
            return variable.path
    return None


def all_finite(tensors: Any) -> tf.Tensor:
    """Returns whether no float in a structure of tensors is NaN or infinite."""
    floats = [
        t
        for t in tf.nest.flatten(tensors)
        if tf.is_tensor(t) and (t.dtype.is_floating or t.dtype.is_complex)
    ]
    each = [tf.reduce_all(tf.math.is_finite(t)) for t in floats]
    return tf.reduce_all(tf.stack(each)) if each else tf.constant(True)


def _finite(tensors):
    return bool(all_finite(tensors))


def _path(layer, model):
    return (layer.path or layer.name).removeprefix(f"{model.name}/")


def _own_weights(layer):
    """Returns the weights of a layer without those of the layers inside it."""
    inner = {id(w) for part in all_layers(layer) for w in part.weights}
    return [w for w in layer.weights if id(w) not in inner]
