"""Evaluation on validation data, in inference mode."""

from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from tfbn import validation
from tfbn.data.array_batches import Arrays
from tfbn.diagnostics.measurement import traced
from tfbn.training.objective import Objective


class Evaluation:
    """Loss and metrics of a model on validation data, in inference mode.

    A loss that is a mean is averaged over the examples, one with `reduction="sum"` is
    added up; both without penalties of regularizers. Keras metrics accumulate over all
    batches.

    Args:
        model, objective: a built Keras model, and what it is trained for.
        validation_data: `(x, y)` arrays or structures of them, `tfbn.data.Arrays`, or a
            finite `tf.data.Dataset` of batches `(x, y)`. None: there are none.
        batch_size: int, examples in a batch of arrays.
    """

    def __init__(
        self,
        model: keras.Model,
        objective: Objective,
        validation_data: Any,
        batch_size: int,
    ):
        self._model = model
        self._objective = objective
        self._data = _checked(validation_data)
        self._batch_size = batch_size
        self._evaluate_rows = traced(
            self._of_rows,
            autograph=False,
            input_signature=[tf.TensorSpec([], tf.int64)] * 2,
        )
        self._evaluate_batch = traced(
            self._of_batch, autograph=False, reduce_retracing=True
        )

    def __call__(self) -> dict[str, float]:
        """The loss and the metrics on all of the data; empty without data."""
        if self._data is None:
            return {}
        self._objective.reset()
        totals, num_examples = {}, 0
        for size, losses in self._batches():
            num_examples += size
            weight = 1.0 if self._objective.sums else size
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + weight * float(value)
        if not num_examples:
            raise ValueError(
                "validation_data must hold a batch. Received: an empty dataset."
            )
        divisor = 1.0 if self._objective.sums else num_examples
        losses = {name: total / divisor for name, total in totals.items()}
        return losses | self._objective.accumulated()

    def _batches(self) -> Iterator[tuple[int, dict]]:
        """The size and the losses of each batch."""
        if isinstance(self._data, Arrays):
            num_examples = len(self._data)
            for begin in range(0, num_examples, self._batch_size):
                end = min(begin + self._batch_size, num_examples)
                yield end - begin, self._evaluate_rows(begin, end)
        else:
            for x, y in self._data:
                size = int(tf.shape(tf.nest.flatten(y)[0])[0])
                yield size, self._evaluate_batch(x, y)

    def _of_rows(self, begin, end):
        return self._of_batch(*self._data.slice(begin, end))

    def _of_batch(self, x, y):
        with tf.name_scope("model"):
            y_pred = self._model(x, training=False)
        self._objective.accumulate(y, y_pred)
        losses = self._objective.losses(y, y_pred)
        return {name: tf.cast(value, tf.float32) for name, value in losses.items()}


def _checked(validation_data):
    if validation_data is None or isinstance(validation_data, Arrays):
        return validation_data
    if isinstance(validation_data, tf.data.Dataset):
        spec = validation_data.element_spec
        if isinstance(spec, tuple) and len(spec) == 2:
            return validation_data
    elif isinstance(validation_data, (tuple, list)) and len(validation_data) == 2:
        return Arrays(*validation_data)
    raise ValueError(
        "validation_data must be a pair of arrays (x, y), tfbn.data.Arrays or a "
        "tf.data.Dataset of such pairs. Received: validation_data="
        f"{validation.shown(validation_data)}."
    )
