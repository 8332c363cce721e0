"""The initial values of a run's variables: sent, or for large networks drawn there."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from _elsewhere.modules import Module
from _elsewhere.modules import Names
from _elsewhere.modules import lifted

from tfbn.diagnostics.layer_calls import all_layers

# The weights of smaller networks are sent, so that their runs are those that would be
# trained here.
_MOST_BYTES = 2**23


def initial_values(
    model: keras.Model, variables: list, *, target: str
) -> tuple[Module | None, list[Any]]:
    """What each variable is to hold at the start.

    In networks of more than 8 MiB, kernels that hold what their initializers drew are
    drawn there by these, of the same distribution. XLA's generator gives other numbers
    than TensorFlow's kernels for the same seeds, but to all runs of a seed the same.

    Returns:
        A module that draws kernels, or None, and for each variable an int, which of the
        module's results it is, or an array.
    """
    size = sum(v.numpy().nbytes for v in variables)
    draws = _draws(model) if size > _MOST_BYTES else {}
    drawn: list = []
    values: list[Any] = []
    for variable in variables:
        draw, value = draws.get(id(variable)), variable.numpy()
        # Not what was loaded from a file, or scaled.
        if draw is None or not np.array_equal(draw(), value):
            values.append(value)
        else:
            values.append(len(drawn))
            drawn.append(draw)
    if not drawn:
        return None, values

    def draw_all():
        return [draw() for draw in drawn]

    return lifted(draw_all, {}, Names([], {}), target=target), values


def _draws(model):
    """Id of a kernel -> the function that draws it."""
    draws = {}
    for layer in all_layers(model):
        initializer = getattr(layer, "kernel_initializer", None)
        kernel = getattr(layer, "kernel", None)
        if initializer is not None and isinstance(kernel, keras.Variable):
            draws[id(kernel)] = _draw(initializer, kernel.shape, kernel.dtype)
    return draws


def _draw(initializer, shape, dtype):
    return lambda: tf.convert_to_tensor(initializer(shape, dtype=dtype))
