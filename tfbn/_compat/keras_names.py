"""Private and version-bound names of Keras: models, layers, losses, weights files."""

import importlib
import re
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tfbn._compat.lookup import of_keras


def flatten_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """The layers inside a model or layer at any depth, each once, outer ones first.

    `model.layers` omits the layers inside custom layers.
    """
    flatten = of_keras(model, "_flatten_layers")
    return list(flatten(include_self=False, recursive=True))


def sublayers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers that a layer holds itself, in the order in which it received them."""
    flatten = of_keras(layer, "_flatten_layers")
    return list(flatten(include_self=False, recursive=False))


def replace_sublayer(
    owner: keras.layers.Layer, old: keras.layers.Layer, new: keras.layers.Layer
) -> None:
    """Makes `owner` track one layer in place of another, not beside it.

    Setting an attribute anew would leave the old layer among the sublayers.
    """
    replace = of_keras(of_keras(owner, "_tracker"), "replace_tracked_value")
    replace("layers", old, new)


def run_through_graph(
    model: keras.Model, inputs: Any, operation_of: Callable[[Any], Callable]
) -> Any:
    """The outputs of a functional model's graph with other operations in it.

    Each call is made with the arguments of the graph. `keras.models.clone_model` does
    the same, but also compiles the result.
    """
    return of_keras(model, "_run_through_graph")(inputs, operation_fn=operation_of)


def copy_of_lambda(layer: keras.layers.Lambda) -> keras.layers.Lambda:
    """A `Lambda` of the same Python function, which its config only has as bytecode."""
    return type(layer)(
        layer.function,
        output_shape=of_keras(layer, "_output_shape"),
        mask=layer.mask,
        arguments=layer.arguments,
        name=layer.name,
        trainable=layer.trainable,
        dtype=layer.dtype_policy,
    )


def call_has_training_arg(model: keras.Model) -> bool:
    """Whether `fit` calls the model in training mode."""
    return bool(of_keras(model, "_call_has_training_arg"))


def compile_loss(model: keras.Model) -> Any:
    """The object that `model.compile` made of its loss, or None."""
    return of_keras(model, "_compile_loss")


def copy_compile_loss(compiled: Any) -> Any:
    """A `compile_loss` of the same losses and weights, with metrics of its own."""
    return type(compiled)(
        of_keras(compiled, "_user_loss"),
        of_keras(compiled, "_user_loss_weights"),
        output_names=of_keras(compiled, "output_names"),
    )


def stored_beside(
    store: Any, name: str, classes: Sequence[str]
) -> dict[str, np.ndarray] | None:
    """The variables that a weights file has for a layer, but under another class.

    Args:
        store: what Keras hands to `load_own_variables`, of a `.weights.h5` or `.keras`
            file: the variables that it found under the class of the layer.
        name: str, the layer's name.
        classes: the names of classes, in snake case, that the file may have it under.
            Its own counts if `store` is empty, as Keras then has miscounted.

    Returns:
        The arrays by their keys, or None without such a layer in the same container.
    """
    file = getattr(store, "h5_file", None)
    if file is None:  # a dict
        return None
    container, _, entry = of_keras(store, "_h5_entry_path").rpartition("/")
    if not container or container not in file:
        return None
    for other in file[container]:
        kind = re.sub(r"_\d+$", "", other)
        if kind not in classes or (len(store) and kind == re.sub(r"_\d+$", "", entry)):
            continue
        path = f"{container}/{other}"
        if file.get(f"{path}/vars") and file[f"{path}/vars"].attrs.get("name") == name:
            return _entry(store, path)
    return None


def _entry(store, path):
    """The variables at another path of the file, read by Keras with its checks."""
    before = of_keras(store, "_h5_entry_path")
    try:
        entry = store.get(path)
        return {key: entry[key] for key in entry.keys()}
    finally:
        store.get(before)


def keras_mask(tensor: Any) -> Any:
    """The mask that Keras's layers have computed for a tensor, or None."""
    module = importlib.import_module("keras.src.backend")
    return of_keras(module, "get_keras_mask")(tensor)
