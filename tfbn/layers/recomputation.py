"""Layers inside `tf.recompute_grad`, which calls them again for the gradient."""

import keras

from tfbn import _compat


def is_second_run() -> bool:
    """Whether this call is for the gradient of one that has moved the state already."""
    return _compat.recomputation() == "again"


def refuse(layer: keras.layers.Layer) -> None:
    """Refuses a training call whose result depends on state that it moves.

    Raises:
        ValueError: inside `tf.recompute_grad` or `keras.RematScope`.
    """
    if _compat.recomputation() is not None:
        raise ValueError(
            f"{type(layer).__name__} must not be recomputed in training: the second "
            "run would differ from the first, and the gradient be wrong. Received: "
            f"{layer.name} inside tf.recompute_grad or keras.RematScope. Leave it out, "
            "or use BatchNorm."
        )
