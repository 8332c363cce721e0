"""What a network is trained for: its loss and how well it does."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf


class Task(NamedTuple):
    """A loss and an optional accuracy.

    Attributes:
        loss: function `(y_true, y_pred)` -> scalar.
        accuracy: function `(y_true, y_pred)` -> scalar, or None.
        loss_is_sum: bool, whether the loss of a set is the sum of its batches' losses
            (True) or their mean (False).
    """

    loss: Callable
    accuracy: Callable | None
    loss_is_sum: bool

    def keras_loss(self) -> Callable:
        """The loss as `keras.Model.compile` takes it, with its reduction."""
        return _Sum(self.loss) if self.loss_is_sum else self.loss

    def keras_metrics(self) -> list:
        """The metrics as `keras.Model.compile` takes them."""
        return [] if self.accuracy is None else ["accuracy"]


class _Sum(keras.losses.Loss):
    """A function that adds up over examples, as a loss that says so."""

    def __init__(self, function):
        super().__init__(reduction="sum")
        self._function = function

    def __call__(self, y_true, y_pred, sample_weight=None):
        # Not `call`: Keras would compute a float64 network's loss in float32.
        del sample_weight
        return self._function(y_true, y_pred)


def task_of(dataset, *, probabilities=False):
    """Classification with cross-entropy, or regression with half the squared error.

    Args:
        dataset: `tfbn.data.Dataset`.
        probabilities: bool, whether a classifier gives these instead of logits.
    """
    if dataset.num_classes is None:
        return Task(half_squared_error, None, loss_is_sum=True)
    loss = functools.partial(mean_cross_entropy, from_logits=not probabilities)
    return Task(loss, accuracy, loss_is_sum=False)


def mean_cross_entropy(y_true, y_pred, *, from_logits=True):
    """The mean cross-entropy of logits `[n, classes]` with labels `[n]`."""
    losses = keras.losses.sparse_categorical_crossentropy(
        y_true, y_pred, from_logits=from_logits
    )
    return tf.reduce_mean(losses)


def half_squared_error(y_true, y_pred):
    """Half the squared error, summed over batch and units.

    The paper (Santurkar, App. A.1) does not say whether it sums; the loss at which its
    figure begins fits this.
    """
    return 0.5 * tf.reduce_sum(tf.square(y_pred - tf.cast(y_true, y_pred.dtype)))


def accuracy(y_true, y_pred):
    """The share of logits `[n, classes]` whose largest is that of the label `[n]`."""
    right = tf.equal(tf.argmax(y_pred, axis=-1), tf.cast(y_true, tf.int64))
    return tf.reduce_mean(tf.cast(right, tf.float32))
