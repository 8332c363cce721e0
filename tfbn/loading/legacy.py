"""The layout of `.h5` files: the weights of each layer, in order."""

import re
from collections.abc import Iterator
from typing import Any

import h5py
import keras
import numpy as np

from tfbn import _compat
from tfbn.layers import conversion
from tfbn.loading import hdf5

_TOP = "top_level_model_weights"
_NORM = {"moving_mean", "moving_variance"}


def assignments(model: keras.Model, file: h5py.File) -> list[tuple[Any, np.ndarray]]:
    """The variables of a model with their values in a file, all checked.

    Raises:
        hdf5.Misfit: if the file has other layers or weights.
    """
    if "model_weights" in file:
        file = hdf5.member(file, "model_weights")
    groups = {n: hdf5.member(file, n) for n in hdf5.attribute(file, "layer_names")}
    saved = {name: s for name, group in groups.items() if (s := _datasets(group))}
    layers = [layer for layer in model.layers if layer.weights]
    if len(layers) != len(saved):
        raise hdf5.Misfit(
            f"it has {len(saved)} layers with weights, the model {len(layers)}."
        )
    result = [
        pair
        for layer, (name, weights) in zip(layers, saved.items(), strict=True)
        for pair in _of_layer(layer, name, weights)
    ]
    return [*result, *_of_model(model, file)]


def _of_model(model, file):
    """The pairs of weights that belong to no layer."""
    if _TOP not in file:
        return []
    inner = {id(weight) for layer in model.layers for weight in layer.weights}
    own = [weight for weight in _variables(model) if id(weight) not in inner]
    return _in_order(own, _datasets(hdf5.member(file, _TOP)), model.name)


def _of_layer(layer, name, saved):
    """The pairs of a layer: batch-norm layers inside it by themselves, then the rest.

    The weights of a model inside the model are one list, in which those that are
    trained come first: a batch-norm layer is in two places.
    """
    inner = _compat.flatten_layers(layer)
    norms = [norm for norm in (layer, *inner) if conversion.converts(norm)]
    parts = _norm_parts(saved) if norms != [layer] else {name: saved}
    if len(norms) != len(parts):
        raise hdf5.Misfit(
            f"{name} has {len(parts)} batch-norm layers, {layer.name} {len(norms)}."
        )
    by_name = {prefix.rpartition("/")[2]: prefix for prefix in parts}
    if set(by_name) == {norm.name for norm in norms}:
        parts = {by_name[norm.name]: parts[by_name[norm.name]] for norm in norms}
    result = [
        pair
        for norm, (prefix, part) in zip(norms, parts.items(), strict=True)
        for pair in _of_norm(norm, prefix, part)
    ]
    taken = {id(variable) for variable, _ in result}
    rest = [weight for weight in _variables(layer) if id(weight) not in taken]
    used = {key for part in parts.values() for key in part}
    left = {key: saved[key] for key in saved if key not in used}
    return [*result, *_in_order(rest, left, name)]


def _of_norm(norm, name, saved):
    shapes = sorted({tuple(weight.shape) for weight in norm.weights} | {()})
    values = [hdf5.read(d, f"{name}: {key}", shapes) for key, d in saved.items()]
    values = conversion.layer_weights(norm, values)
    if len(values) != len(norm.weights):
        raise hdf5.Misfit(
            f"{name} has {len(values)} weights, {norm.name} {len(norm.weights)}."
        )
    return list(zip(norm.weights, values, strict=True))


def _in_order(variables, saved, name) -> Iterator:
    if len(variables) != len(saved):
        raise hdf5.Misfit(
            f"{name} has {len(saved)} weights, the model's {len(variables)}."
        )
    for variable, (key, dataset) in zip(variables, saved.items(), strict=True):
        yield variable, hdf5.read(dataset, f"{name}: {key}", [tuple(variable.shape)])


def _norm_parts(saved):
    """The batch-norm layers among weights: `{prefix: {name: dataset}}`."""
    parts: dict[str, dict] = {}
    for name, dataset in saved.items():
        parts.setdefault(name.rpartition("/")[0], {})[name] = dataset
    return {
        prefix: part
        for prefix, part in parts.items()
        if _NORM <= {re.sub(r".*/|:\d+$", "", name) for name in part}
    }


def _datasets(group):
    names = hdf5.attribute(group, "weight_names")
    return {name: hdf5.member(group, name) for name in names}


def _variables(layer):
    return [*layer.trainable_weights, *layer.non_trainable_weights]
