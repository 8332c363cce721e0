"""Training or inference: the `training` argument of a call."""

from collections.abc import Callable

import keras
import tensorflow as tf


def in_mode(
    training: bool | tf.Tensor | None, train: Callable, infer: Callable
) -> tf.Tensor:
    """Returns `train()` if `training`, otherwise `infer()`.

    In a graph, `training` may be a tensor of it: then the graph has both, and each run
    takes one. Keras's own layers need a Python bool.
    """
    if tf.is_symbolic_tensor(training):
        return keras.ops.cond(keras.ops.cast(training, "bool"), train, infer)
    return train() if training else infer()
