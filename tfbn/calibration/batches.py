"""The inputs in a dataset of batches."""

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfbn import validation


class Batches:
    """The batches of a dataset that are to be used.

    Args:
        dataset: see `recalibrate`.
        num_batches: int or None, how many.
        several: bool, whether they are read more than once.

    Raises:
        ValueError: if it is no iterable of batches, has no end, or can be read only
            once and `several` is True.
    """

    def __init__(self, dataset: Iterable, num_batches: int | None, *, several: bool):
        self._dataset, self._number = dataset, num_batches
        if isinstance(dataset, (str, Mapping, np.ndarray, tf.Tensor)) or not (
            isinstance(dataset, (Iterable, keras.utils.PyDataset))
        ):
            raise ValueError(
                "dataset must be an iterable of batches, such as a tf.data.Dataset. "
                f"Received: dataset={validation.shown(dataset)} of type "
                f"{type(dataset).__name__}. Put a single batch in brackets."
            )
        if num_batches is None and _is_endless(dataset):
            raise ValueError(
                "num_batches must be given for a dataset without an end. Received: "
                f"num_batches=None, dataset={validation.shown(dataset)}."
            )
        if several and isinstance(dataset, Iterator):
            raise ValueError(
                "dataset must be one that can be read several times for "
                'normalize_by="population". Received: dataset='
                f"{validation.shown(dataset)}. Give a list or a tf.data.Dataset."
            )

    def inputs(self, number: int | None = None) -> Iterator[Any]:
        """Yields the inputs of all batches, or of the first `number` of them.

        Raises:
            ValueError: if there are fewer.
        """
        wanted = self._number if number is None else number
        count = 0
        for batch in self._batches():
            if count == wanted:
                return
            yield batch[0] if isinstance(batch, (tuple, list)) else batch
            count += 1
        if wanted is None and count == 0:
            raise ValueError(
                "dataset must hold at least one batch. Received: dataset="
                f"{validation.shown(self._dataset)}, which yields none. An iterator "
                "that was read before is at its end."
            )
        if wanted is not None and count < wanted:
            raise ValueError(
                f"num_batches must be at most the number of batches in the dataset. "
                f"Received: num_batches={wanted}, and {count} batches."
            )

    def _batches(self):
        if isinstance(self._dataset, keras.utils.PyDataset):
            number = self._dataset.num_batches
            return (self._dataset[i] for i in range(number))
        return iter(self._dataset)


def _is_endless(dataset):
    if isinstance(dataset, tf.data.Dataset):
        return dataset.cardinality() == tf.data.INFINITE_CARDINALITY
    if isinstance(dataset, keras.utils.PyDataset):
        return dataset.num_batches is None
    return False
