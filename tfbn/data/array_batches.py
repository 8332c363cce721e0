"""Arrays in memory as batches, gathered on the device that trains."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfbn import validation


class Arrays:
    """Inputs and targets of all examples, held in device memory.

    Args:
        x: array or structure of arrays, examples first: what the model takes.
        y: array or structure of arrays, examples first: what the loss takes.
        transform: function applied to the inputs of each batch, inside the compiled
            step, such as `Dataset.standardize`. It keeps uint8 images small in memory.
            Default: none.

    Raises:
        ValueError: if `x` and `y` are not arrays with the same number of examples.
    """

    def __init__(self, x: Any, y: Any, *, transform: Callable | None = None):
        self._arrays = _tensors("x", x), _tensors("y", y)
        sizes = _sizes(self._arrays)
        if len(sizes) != 1 or 0 in sizes:
            raise ValueError(
                "x and y must hold the same number of examples, one or more. Received: "
                f"{validation.shown(sorted(sizes))} examples."
            )
        if transform is not None and not callable(transform):
            raise ValueError(
                "transform must be a function of the inputs, or None. Received: "
                f"transform={validation.shown(transform)}."
            )
        (self._size,) = sizes
        self._transform = transform or _identity

    def __len__(self) -> int:
        return self._size

    def gather(self, indices, *, in_place: bool = False) -> tuple:
        """The batch `(x, y)` of the examples `indices` `[batch_size]`.

        With `in_place` it is taken on the device of the arrays, whatever the device of
        the caller.
        """

        def take(array):
            if not in_place:
                return tf.gather(array, indices)
            with tf.device(array.device):
                return tf.gather(array, indices)

        return self._batch(take)

    def slice(self, begin, end) -> tuple:
        """The batch `(x, y)` of the examples `begin` to `end - 1`."""
        return self._batch(lambda array: array[begin:end])

    def _batch(self, take):
        x, y = tf.nest.map_structure(take, self._arrays)
        return self._transform(x), y


class ArrayBatches:
    """Batches of arrays in memory, in the order that a sampler gives.

    Called with a step it returns the batch `(x, y)` of that step, always the same one.
    `tfbn.training.Trainer` gathers the batches inside its compiled loop.

    Example:
        >>> x, y = np.arange(6.0).reshape(6, 1), np.arange(6)
        >>> sampler = tfbn.data.IIDBatches(len(x), batch_size=2, seed=0)
        >>> batches = tfbn.data.ArrayBatches(x, y, sampler)
        >>> [batches(step)[1].numpy().tolist() for step in range(3)]
        [[3, 2], [5, 4], [0, 1]]

    Args:
        x, y, transform: as in `Arrays`.
        sampler: object with `batch_size` and `indices(step)`, such as `IIDBatches`.

    Attributes:
        arrays: `Arrays`.
        batch_size: int, examples in a batch.

    Raises:
        ValueError: if the arrays do not fit together or `sampler` is not a sampler.
    """

    def __init__(self, x: Any, y: Any, sampler, *, transform: Callable | None = None):
        if not callable(getattr(sampler, "indices", None)):
            raise ValueError(
                "sampler must have a method indices(step). Received: sampler="
                f"{validation.shown(sampler)}. Such as IIDBatches(len(x), 32)."
            )
        self.arrays = Arrays(x, y, transform=transform)
        self.batch_size: int = sampler.batch_size
        self._sampler = sampler

    def __call__(self, step: int) -> tuple:
        """The batch `(x, y)` of a step (int >= 0)."""
        return self.arrays.gather(self.indices(step))

    def indices(self, step: int) -> np.ndarray:
        """The examples of the batch of a step: int64 `[batch_size]`.

        Raises:
            ValueError: if the sampler draws examples that do not exist.
        """
        indices = self._sampler.indices(step)
        if np.max(indices) >= len(self.arrays):
            raise ValueError(
                "sampler must draw from the examples of x. Received: example "
                f"{np.max(indices)} of {len(self.arrays)}. Make it for len(x) examples."
            )
        return indices


def _identity(x):
    return x


def _tensors(name, arrays):
    try:
        return tf.nest.map_structure(tf.convert_to_tensor, arrays)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} must be an array or a structure of arrays. Received: {name}="
            f"{validation.shown(arrays)}."
        ) from error


def _sizes(arrays):
    """The number of examples of each array, 0 for one without axes."""
    return {a.shape[0] if a.shape.rank else 0 for a in tf.nest.flatten(arrays)}
