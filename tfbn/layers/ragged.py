"""Inputs with rows of different lengths."""

from collections.abc import Callable

import tensorflow as tf

from tfbn import ops


def map_elements(
    function: Callable, x: tf.RaggedTensor, channels: ops.Channels
) -> tf.RaggedTensor:
    """Calls `function(elements, channels of these)` on the elements that `x` has.

    Args:
        channels: those of tensors of the rank of `x`.

    Raises:
        ValueError: if the channel axis is not inside the rows.
    """
    axes = [axis - x.ragged_rank for axis in channels.axes]
    if axes[0] <= 0:
        raise ValueError(
            "axis must be inside the rows of ragged inputs. Received: axis "
            f"{channels.axes[0]}, inputs.shape={x.shape}."
        )
    of_elements = ops.Channels(axes, channels.shape[x.ragged_rank :])
    return x.with_flat_values(function(x.flat_values, of_elements))


def refuse_options(
    x: tf.RaggedTensor, mask: tf.Tensor | None, virtual_batch_size: int | None
) -> None:
    """Refuses what needs rows of one length, with a ValueError."""
    if mask is not None or virtual_batch_size is not None:
        raise ValueError(
            "ragged inputs can have neither a mask nor virtual batches. Received: "
            f"inputs.shape={x.shape}. Give inputs.to_tensor(), and a mask."
        )
