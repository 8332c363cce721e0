"""The batch-norm layers inside a model."""

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import keras

from tfbn import _compat
from tfbn import validation


def check_built(model: Any) -> None:
    """Refuses what is no built Keras model, with a ValueError."""
    validation.keras_model(model)
    if not model.built:
        raise ValueError(
            f"model must be built. Received: {model.name}, which has no weights yet. "
            "Call it on a batch, or build it."
        )


def batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The batch-norm layers of Keras and tfbn inside a model, built or not."""
    kind = keras.layers.BatchNormalization
    return [x for x in _compat.flatten_layers(model) if isinstance(x, kind)]


def names_of(layer: keras.layers.Layer) -> set[str]:
    """What a layer may be called by: its name, and its path in the model."""
    return {layer.name, layer.path} - {None}


def checked_names(names: str | Iterable[str]) -> set[str]:
    """Returns the `where` argument as a set of names."""
    if isinstance(names, str):
        names = [names]
    result = set(names) if isinstance(names, Iterable) else {None}
    if not all(isinstance(name, str) for name in result):
        raise ValueError(
            "where must be a function of a layer, or names of layers. Received: where="
            f"{validation.shown(names)}."
        )
    return result


def refuse_unknown(names: set[str], known: Sequence[keras.layers.Layer]) -> None:
    """Refuses names that no batch-norm layer has, with a ValueError."""
    if names:
        name = sorted(names)[0]
        near = validation.suggestion(name, [layer.name for layer in known])
        raise ValueError(
            "where must name batch-norm layers of the model that can be replaced. "
            f"Received: {name!r}.{near}"
        )
