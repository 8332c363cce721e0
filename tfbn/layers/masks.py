"""Masks, as Keras passes them from layer to layer."""

import keras
import tensorflow as tf


def checked_mask(mask: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Returns `mask` as a tensor, checked against the inputs `x`.

    Raises:
        ValueError: if it has another shape than `x` without its last axis, to which
            sizes of 1 broadcast.
    """
    mask = keras.ops.convert_to_tensor(mask)
    sizes = x.shape[:-1]
    fits = len(mask.shape) == len(sizes) and all(
        n in (1, size) or None in (n, size)
        for n, size in zip(mask.shape, sizes, strict=True)
    )
    if not fits:
        raise ValueError(
            "mask must have the shape of the inputs without their last axis. "
            f"Received: mask.shape={mask.shape}, inputs.shape={x.shape}."
        )
    return mask
