"""Interception of the calls that a model makes of its layers."""

import contextlib
from collections.abc import Callable
from collections.abc import Iterator

import keras

from tfbn import _compat


@contextlib.contextmanager
def intercepted(model: keras.Model, handler: Callable) -> Iterator[None]:
    """Sends every call of a layer inside `model` through `handler` while open.

    For use while a function of the model is traced or run eagerly. Afterwards, also
    after an error, the model is as it was before.

    Args:
        model: a built Keras model: functional, sequential or subclassed.
        handler: function `(layer, call, *args, **kwargs)` -> outputs, where
            `call(*args, **kwargs)` is what the layer would do.
    """
    patched = []
    try:
        for layer in all_layers(model):
            # Not setattr: Keras and TensorFlow would track the attribute.
            vars(layer)["call"] = _through(handler, layer, layer.call)
            patched.append(layer)
        yield
    finally:
        for layer in patched:
            del vars(layer)["call"]


def all_layers(model: keras.layers.Layer) -> list[keras.layers.Layer]:
    """The layers inside a model at any depth, each once, outer ones first."""
    return _compat.flatten_layers(model)


def _through(handler, layer, call):
    def intercepted_call(*args, **kwargs):
        return handler(layer, call, *args, **kwargs)

    return intercepted_call
