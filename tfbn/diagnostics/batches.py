"""Means over the batches of a dataset, weighted by their numbers of examples."""

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfbn import validation


def is_dataset(x: Any) -> bool:
    """Returns whether `x` stands for several batches."""
    return isinstance(x, tf.data.Dataset)


def checked(dataset: tf.data.Dataset, y: Any) -> tf.data.Dataset:
    """Returns a dataset that can be measured on.

    Raises:
        ValueError: unless it has a finite number, one or more, of elements `(x, y)`,
            and there is no `y` beside it.
    """
    if y is not None:
        raise ValueError(
            "y must be None where x is a dataset, whose elements are (x, y). Received: "
            f"y={validation.shown(y)}. Leave it out."
        )
    spec = dataset.element_spec
    if not isinstance(spec, tuple) or len(spec) != 2:
        raise ValueError(
            "x must be a dataset of batches (x, y). Received: elements of "
            f"{validation.shown(spec)}. Map it to pairs."
        )
    return checked_inputs(dataset)


def checked_inputs(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a dataset whose inputs can be measured on.

    Raises:
        ValueError: unless it has a finite number, one or more, of elements.
    """
    cardinality = int(dataset.cardinality())
    if cardinality in (tf.data.INFINITE_CARDINALITY, 0):
        number = "no end" if cardinality else "no elements"
        raise ValueError(
            "x must be a dataset of one or more batches, and finite. Received: one "
            f"with {number}. Use dataset.take(n)."
        )
    return dataset


def inputs(dataset: tf.data.Dataset) -> Iterator[Any]:
    """Yields the inputs of each batch: an element, or the first part of a tuple."""
    for batch in dataset:
        yield batch[0] if isinstance(batch, tuple) else batch


def mean(
    function: Callable[[Any, Any], Sequence[tf.Tensor]],
    dataset: tf.data.Dataset,
    like: Sequence[tf.Tensor | tf.TensorSpec],
) -> list[tf.Tensor]:
    """Returns the mean over batches of a function of batches, in a graph or eagerly.

    The batches follow one another, so that the activations of one are alive at a time.

    Args:
        function: function `(x, y)` -> list of tensors.
        dataset: batches `(x, y)`.
        like: list of tensors, or of `tf.TensorSpec`, whose shapes and dtypes the
            results have.

    Returns:
        A list of tensors: the sums of n times the results, divided by the sum of n,
        where n is the number of examples of a batch; in float32 or wider, then cast.
    """
    zeros = tuple(tf.zeros(t.shape, _wide(t.dtype)) for t in like)

    # As in `compiled`, without AutoGraph.
    @tf.autograph.experimental.do_not_convert
    def add(sums, batch):
        totals, size = sums
        count = tf.shape(tf.nest.flatten(batch[0])[0])[0]
        added = (
            total + tf.cast(count, total.dtype) * tf.cast(result, total.dtype)
            for total, result in zip(totals, function(*batch), strict=True)
        )
        # A dataset would make a tensor of a list.
        return tuple(added), size + tf.cast(count, tf.int64)

    totals, size = dataset.reduce((zeros, tf.zeros([], tf.int64)), add)
    return [
        tf.cast(total / tf.cast(size, total.dtype), t.dtype)
        for total, t in zip(totals, like, strict=True)
    ]


def mean_of_arrays(
    function: Callable[[Any, Any], list[np.ndarray]], dataset: tf.data.Dataset
) -> list[np.ndarray]:
    """Returns the mean over batches, as `mean` does, of a function run eagerly."""
    totals: list[np.ndarray] = []
    size = 0
    for x, y in dataset:
        count = int(tf.nest.flatten(x)[0].shape[0])
        results = [count * array for array in function(x, y)]
        sums = zip(totals, results, strict=True)
        totals = [total + result for total, result in sums] if size else results
        size += count
    return [total / size for total in totals]


def _wide(dtype):
    return tf.float64 if dtype == tf.float64 else tf.float32
