"""Checks of the arguments that measurements share, each with an error of one line."""

import re
from typing import Any

import numpy as np
import tensorflow as tf

from tfbn import validation

# Keras sets the reason of an error in bold.
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
# Where in a graph an operation failed.
_PLACE = re.compile(r"\{\{function_node [^{}]*\}\}\s*")
# Beginnings of the lines of an error that are heading or traceback.
_HEADINGS = (
    "Exception encountered when",
    "Graph execution error",
    "Detected at",
    'File "',
    "<stack",
    "[[",
)


def check_model(model: Any) -> None:
    """Raises a ValueError unless `model` is a built Keras model that can be trained."""
    validation.keras_model(model)
    if not model.built:
        raise ValueError(
            f"model must be built. Received: {model.name}, which is not. Call it on a "
            "batch."
        )
    if not model.trainable_variables:
        raise ValueError(
            f"model must have trainable variables. Received: {model.name} with none. "
            "Check that it is not frozen."
        )


def check_loss(loss: Any) -> None:
    """Raises a ValueError unless `loss` can be called."""
    if not callable(loss):
        raise ValueError(
            "loss must be a function loss(y_true, y_pred) -> scalar. Received: "
            f"loss={validation.shown(loss)}. For example "
            "keras.losses.MeanSquaredError()."
        )


def finite_numbers(name: str, values: Any, *, positive: bool = False) -> np.ndarray:
    """Returns a list of one or more finite numbers as a float64 array `[n]`."""
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        array = np.empty(0)
    valid = np.isfinite(array) & ((array > 0.0) | (not positive))
    if array.ndim != 1 or not array.size or not valid.all():
        raise ValueError(
            f"{name} must be a list of one or more finite numbers"
            f"{' greater than 0' * positive}. Received: {name}="
            f"{validation.shown(values)}."
        )
    return array


def shapes(structure: Any) -> str:
    """Returns the shapes of all tensors of a structure, for a message."""
    return ", ".join(f"shape {tuple(t.shape)}" for t in tf.nest.flatten(structure))


def first_line(error: Exception) -> str:
    """Returns what an error of TensorFlow or Keras says, in one line."""
    message = str(getattr(error, "message", error) or "")
    message = _PLACE.sub("", message.replace(_BOLD, "").replace(_PLAIN, ""))
    lines = [line.strip() for line in message.splitlines()]
    told = [line for line in lines if line and not line.startswith(_HEADINGS)]
    return told[0] if told else type(error).__name__
