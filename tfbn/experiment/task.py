"""What a network is trained for: a loss and metrics."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn.data import Dataset


class Task(NamedTuple):
    """A loss and metrics as `keras.Model.compile` takes them.

    Attributes:
        loss: function `(y_true, y_pred)` -> scalar: the mean over a batch, unless it
            has a `reduction` that says otherwise.
        metrics: list of str.
    """

    loss: Callable
    metrics: list[str]


def task_of(dataset: Dataset, *, probabilities: bool = False) -> Task:
    """Classification with cross-entropy, or regression with half the squared error.

    Args:
        dataset: `tfbn.data.Dataset`.
        probabilities: bool, whether a classifier returns these instead of logits.
    """
    if dataset.num_classes is None:
        return Task(HalfSquaredError(), [])
    loss = functools.partial(mean_cross_entropy, from_logits=not probabilities)
    return Task(loss, ["accuracy"])


def mean_cross_entropy(y_true, y_pred, *, from_logits: bool = True):
    """The mean cross-entropy of logits `[n, classes]` with labels `[n]`."""
    losses = keras.losses.sparse_categorical_crossentropy(
        y_true, y_pred, from_logits=from_logits
    )
    return tf.reduce_mean(losses)


class HalfSquaredError(keras.losses.Loss):
    """Half the squared error, summed over batch and units.

    Santurkar et al. 2018 (App. A.1) do not state whether they sum; inferred from the
    loss at which their figure begins.
    """

    def __init__(self):
        super().__init__(reduction="sum")

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Not `call`: Keras would compute a float64 network's loss in float32.
        del sample_weight
        return 0.5 * tf.reduce_sum(tf.square(y_pred - tf.cast(y_true, y_pred.dtype)))
