"""Captures the outputs of chosen layers as the next nonlinearity receives them."""

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfbn import _compat
from tfbn import validation
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.layer_calls import all_layers
from tfbn.layers.noise import ActivationNoise

Layers = Iterable[str] | Mapping[str, str] | None

_NORMALIZATIONS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
    keras.layers.UnitNormalization,
)


def captured_layers(
    model: keras.Model, layers: Layers = None
) -> dict[str, tuple[keras.layers.Layer, ...]]:
    """Returns the layers whose outputs to capture.

    Args:
        model: a built Keras model.
        layers: None for the layers of each layer group under the group's name, an
            iterable of names of layers, or a mapping from labels to names. A name is
            that of a layer, or its path ("block1/conv").

    Returns:
        A dict from label to layers, of which the first that has activations counts: the
        last layer of a group comes first. Groups whose parameters belong to the model
        itself, which is no layer, are left out.

    Raises:
        ValueError: for a name that no layer or several layers have.
    """
    if layers is None:
        return _layers_of_groups(model)
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise ValueError(
            "layers must be a list of names of layers, or a mapping of labels to "
            f"names. Received: layers={validation.shown(layers)}."
        )
    labels = layers if isinstance(layers, Mapping) else {name: name for name in layers}
    if not labels:
        raise ValueError(f"layers must name one or more. Received: layers={layers}.")
    known = all_layers(model)
    return {label: (_layer_of_name(name, known),) for label, name in labels.items()}


class OutputCapture:
    """A handler for `layer_calls.intercepted` that keeps the outputs of some layers.

    The first call of a layer counts.

    Args:
        layers: the layers.
        follow: bool, whether the output of an `ActivationNoise` or of a normalisation
            without parameters replaces that of the layer whose output it takes.
    """

    def __init__(self, layers: Iterable[keras.layers.Layer], *, follow: bool):
        self._wanted = {id(layer) for layer in layers}
        self._follow = follow
        self._graph = _compat.current_graph()
        self._kept = {}

    def __call__(
        self, layer: keras.layers.Layer, call: Callable, *args: Any, **kwargs: Any
    ) -> Any:
        outputs = call(*args, **kwargs)
        if _compat.current_graph() is not self._graph:
            return outputs  # inside a loop: not accessible from outside
        if self._follow and _keeps_units(layer):
            inputs = {id(value) for value in tf.nest.flatten((args, kwargs))}
            for key, (_, kept) in self._kept.items():
                if id(kept) in inputs:
                    self._kept[key] = layer, outputs
        if id(layer) in self._wanted:
            self._kept.setdefault(id(layer), (layer, outputs))
        return outputs

    def first_with_units(
        self, layers: Sequence[keras.layers.Layer]
    ) -> tf.Tensor | None:
        """Returns the `units_last` of the first of the layers that has one, or None."""
        for layer in layers:
            source, values = self._kept.get(id(layer), (layer, None))
            if _is_activation(values, _unit_axis(source)):
                return self.units_last(layer.name, layer)
        return None

    def units_last(self, label: str, layer: keras.layers.Layer) -> tf.Tensor:
        """Returns the captured output with its units last, float32 or float64.

        Raises:
            ValueError: if there is none, or it is no tensor of activations.
        """
        if id(layer) not in self._kept:
            raise ValueError(
                "layers must be called by the model, outside of any loop. "
                f"Received: layer {label!r}, which is not. Name other layers."
            )
        source, values = self._kept[id(layer)]
        axis = _unit_axis(source)
        if not _is_activation(values, axis):
            raise ValueError(
                "layers must return one tensor of floats of rank 2 or more with a "
                f"known number of units. Received: layer {label!r} with {values}."
            )
        if values.dtype != tf.float64:
            values = tf.cast(values, tf.float32)
        rank = values.shape.rank
        if axis % rank == rank - 1:
            return values
        order = [a for a in range(rank) if a != axis % rank] + [axis]
        return tf.transpose(values, order)


def _layers_of_groups(model):
    """Returns the layers of each group, its last one first."""
    owners, in_loops = {}, set()
    for layer in all_layers(model):  # inner ones last
        if isinstance(layer, keras.layers.RNN):
            in_loops |= {id(cell) for cell in all_layers(layer)}
        if id(layer) not in in_loops:
            owners |= {id(v): layer for v in layer.trainable_variables}
    captured = {}
    for group in layer_groups(model):
        variables = [model.trainable_variables[i] for i in reversed(group.indices)]
        layers = [owners[id(v)] for v in variables if id(v) in owners]
        if layers:
            captured[group.name] = tuple(
                {id(layer): layer for layer in layers}.values()
            )
    return captured


def _layer_of_name(name, known):
    found = [layer for layer in known if layer.path == name]
    found = found or [layer for layer in known if layer.name == name]
    if not found:
        names = [_path(layer) for layer in known]
        near = validation.suggestion(name, [layer.name for layer in known] + names)
        raise ValueError(
            f"layers must name some of {', '.join(names)}. Received: {name!r}.{near}"
        )
    if len(found) > 1:
        paths = ", ".join(_path(layer) for layer in found)
        raise ValueError(
            "layers must name exactly one layer each. Received: "
            f"{name!r}, which may be any of {paths}. Name its path."
        )
    return found[0]


def _path(layer):
    return layer.path or layer.name  # an input layer has no path


def _keeps_units(layer):
    """Returns whether a layer without parameters belongs to the preceding one."""
    if isinstance(layer, _NORMALIZATIONS):
        return not layer.trainable_variables
    return isinstance(layer, ActivationNoise)


def _is_activation(values, axis):
    return (
        tf.is_tensor(values)
        and values.dtype.is_floating
        and (values.shape.rank or 0) >= 2
        and values.shape[axis] is not None
    )


def _unit_axis(layer):
    if isinstance(layer, (*_NORMALIZATIONS, ActivationNoise)):
        axis = layer.axis
        return axis if isinstance(axis, int) else axis[-1]
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1
