"""Captures the calls of normalisation layers, with a gradient tape of each."""

import contextlib
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn import _compat
from tfbn import validation
from tfbn.diagnostics import layer_calls
from tfbn.diagnostics._layer_groups import unused
from tfbn.layers import BatchRenorm
from tfbn.layers import LpBatchNorm
from tfbn.layers import NoisyBatchNorm

# Layers whose outputs are linear in all of their weights, without an activation.
_LINEAR = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2D,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3D,
    keras.layers.Conv3DTranspose,
    keras.layers.DepthwiseConv1D,
    keras.layers.DepthwiseConv2D,
)


def chosen_layers(model: keras.Model, layers: Iterable[str] | None) -> dict[int, str]:
    """Returns the layers that normalise with the statistics of the batch alone.

    Args:
        model: a built Keras model.
        layers: list of str, names or paths, or None for all such layers.

    Returns:
        A dict from the ids of the layers to their names: their paths in the model.

    Raises:
        ValueError: for a name that no layer has, or a layer of another type.
    """
    candidates = {}
    for layer in layer_calls.all_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            candidates[unused(path(layer, model), candidates)] = layer
    if layers is None:
        return {
            id(layer): name
            for name, layer in candidates.items()
            if _exception(layer) is None
        }
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise ValueError(
            "layers must be a list of names. Received: "
            f"layers={validation.shown(layers)}. Put a single name in brackets."
        )
    return dict(_named(name, candidates) for name in layers)


def path(layer: keras.layers.Layer, model: keras.Model) -> str:
    """Returns the path of a layer in a model, such as "block1/norm"."""
    own = layer.weights[0].path if layer.weights else layer.name
    return own.rpartition("/")[0].removeprefix(f"{model.name}/")


class CapturedCall(NamedTuple):
    """A call of a normalisation layer, or of the linear layer before one.

    Attributes:
        layer: the layer.
        name: str.
        inputs, outputs: copies that nothing else uses, so that their gradients are
            those of this call alone.
        tape: records this call only, watching `weights`.
        weights: dict from name to tensor.
        before: `CapturedCall` of the preceding linear layer, or None.
    """

    layer: keras.layers.Layer
    name: str
    inputs: tf.Tensor
    outputs: tf.Tensor
    tape: tf.GradientTape
    weights: dict
    before: "CapturedCall | None" = None


class NormCapture:
    """A handler for `layer_calls.intercepted` that captures calls of chosen layers.

    Args:
        names: dict from the ids of layers to their names, as from `chosen_layers`.
        values: dict from the ids of variables to the tensors that replace them.
        tape: the tape of the loss, which watches the inputs of the calls.

    Attributes:
        calls: list of `CapturedCall`, in the order of the calls.
    """

    def __init__(
        self,
        names: Mapping[int, str],
        values: Mapping[int, tf.Tensor],
        tape: tf.GradientTape,
    ):
        self.calls = []
        self._names, self._values, self._tape = names, values, tape
        self._linear = {}  # by id of their outputs
        self._graph = _compat.current_graph()

    def __call__(
        self, layer: keras.layers.Layer, call: Callable, *args: Any, **kwargs: Any
    ) -> Any:
        if id(layer) in self._names and self._has_statistics(layer, args, kwargs):
            return self._normalization(layer, call, *args, **kwargs)
        if _is_linear(layer) and id(layer.kernel) in self._values:
            with self._watching(layer, ("kernel", "bias")) as (tape, weights):
                outputs = call(*args, **kwargs)
            captured = CapturedCall(layer, layer.name, None, outputs, tape, weights)
            self._linear[id(outputs)] = captured
            return outputs
        return call(*args, **kwargs)

    def _normalization(self, layer, call, *args, **kwargs):
        y, *others = args if args else [kwargs.pop("inputs")]
        own = tf.identity(y)
        self._tape.watch(own)
        name, before = self._names[id(layer)], self._linear.get(id(y))
        with self._watching(layer, ("gamma", "beta")) as (tape, weights):
            with _without_noise(layer) as normalized:
                outputs = tf.identity(call(own, *others, **kwargs))
        z = normalized[0] if normalized else outputs
        self.calls.append(CapturedCall(layer, name, own, z, tape, weights, before))
        return outputs

    @contextlib.contextmanager
    def _watching(self, layer, names):
        """Yields a tape for a call of the layer, and the weights that it watches."""
        variables = {name: getattr(layer, name) for name in names}
        weights = {
            name: self._values[id(variable)]
            for name, variable in variables.items()
            if id(variable) in self._values
        }
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            yield tape, weights

    def _has_statistics(self, layer, args, kwargs):
        """Returns whether a call uses batch statistics and can be captured."""
        y, training, mask = [*args, *[None] * 3][:3]
        y, training = kwargs.get("inputs", y), kwargs.get("training", training)
        if kwargs.get("mask", mask) is not None or not (training and layer.trainable):
            return False
        if not y.dtype.is_floating:
            return False
        return tf.executing_eagerly() or y.graph is self._graph  # not in a loop


@contextlib.contextmanager
def _without_noise(layer):
    """Yields a list that receives the tensor to which the layer adds its noise."""
    normalized = []
    if not isinstance(layer, NoisyBatchNorm):
        yield normalized
        return
    add_noise, attributes = layer._add_noise, layer.__dict__

    def add_noise_to(z, channels):
        normalized.append(tf.identity(z))
        return add_noise(normalized[0], channels)

    attributes["_add_noise"] = add_noise_to
    try:
        yield normalized
    finally:
        del attributes["_add_noise"]


def _is_linear(layer):
    linear = (None, keras.activations.linear)
    return type(layer) in _LINEAR and layer.activation in linear


def _named(wanted, candidates):
    """Returns `(id, name)` of the layer with a name or path."""
    found = [n for n, c in candidates.items() if wanted in (n, c.name)]
    if len(found) != 1:
        raise ValueError(
            "layers must name batch-normalisation layers, by path if their names are "
            f"not unique: {', '.join(candidates)}. Received: {wanted!r}."
        )
    layer = candidates[found[0]]
    exception = _exception(layer)
    if exception is not None:
        raise ValueError(
            "layers must normalise with the batch's mean and variance, and nothing "
            f"else. Received: {wanted!r}, {exception}. Remove it."
        )
    return id(layer), found[0]


def _exception(layer):
    """Returns why the identities do not hold for a layer, or None if they do."""
    if isinstance(layer, BatchRenorm) or getattr(layer, "renorm", False):
        return "which renormalises"
    if isinstance(layer, LpBatchNorm):
        return "which divides by an l_p norm"
    if getattr(layer, "virtual_batch_size", None) is not None:
        return "which splits the batch in virtual batches"
    if not isinstance(layer.axis, int):
        return "which has several channel axes"
    if not layer.trainable:
        return "which is frozen"
    return None
