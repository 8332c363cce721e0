"""A model's training loss as a pure function of its parameters."""

from typing import NamedTuple

import tensorflow as tf


class State(NamedTuple):
    """The values of a model's variables at one moment.

    Attributes:
        parameters: list of tensors, in the order of `model.trainable_variables`.
        buffers: list of tensors, in the order of `model.non_trainable_variables`:
            moving averages, steps, seeds.
    """

    parameters: list
    buffers: list


def snapshot(model):
    """A copy of the present `State` of a built model."""
    return State(
        [tf.identity(v.value) for v in model.trainable_variables],
        [tf.identity(v.value) for v in model.non_trainable_variables],
    )


class LossFunction:
    """`loss(parameters)` of a model at given buffers and batch; changes nothing.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar. The penalties of the model's
            regularizers are added to it.
        training: bool, whether the model runs in training mode: batch statistics and
            noise, the noise being that of the seeds in the buffers. Default True.
    """

    def __init__(self, model, loss, *, training=True):
        self.model = model
        self._loss = loss
        self._training = training

    def __call__(self, parameters, buffers, x, y):
        """The loss, a scalar, at `parameters` on the batch `(x, y)`."""
        y_pred, _, penalties = self.model.stateless_call(
            parameters, buffers, x, training=self._training, return_losses=True
        )
        loss = self._loss(y, y_pred)
        return tf.add_n([loss, *(tf.cast(p, loss.dtype) for p in penalties)])

    def gradients(self, parameters, buffers, x, y, indices=None):
        """The gradient with respect to the parameters of the given indices.

        Args:
            parameters: list of tensors; `buffers`, `x`, `y` as in a call.
            indices: list of int or None (all).

        Returns:
            A list of tensors, zeros for a parameter that the loss does not depend on.
        """
        indices = range(len(parameters)) if indices is None else indices
        watched = [parameters[i] for i in indices]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            loss = self(parameters, buffers, x, y)
        return tape.gradient(
            loss, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
