"""A model's training loss as a pure function of its parameters."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn import _compat
from tfbn import validation
from tfbn.diagnostics import arguments
from tfbn.diagnostics import batches
from tfbn.diagnostics.layer_calls import all_layers

Loss = Callable[[Any, Any], Any]  # (y_true, y_pred) -> scalar

# Factor of the loss in float16: small elements of the gradient do not vanish, and
# elements of 1 are still a factor of 64 below the largest number.
_FLOAT16_LOSS_SCALE = 1024.0

# What the mean of losses is like.
_SCALAR = tf.TensorSpec([], tf.float64)


class State(NamedTuple):
    """The values of a model's variables.

    Attributes:
        parameters: list of tensors, in the order of `model.trainable_variables`.
        buffers: list of tensors, in the order of `model.non_trainable_variables`:
            moving averages, steps, seeds.
    """

    parameters: list
    buffers: list


def snapshot(model: keras.Model) -> State:
    """Returns a copy of the present `State` of a built model.

    Raises:
        ValueError: for anything else than a Keras model.
    """
    validation.keras_model(model)
    return State(
        [tf.identity(v.value) for v in model.trainable_variables],
        [tf.identity(v.value) for v in model.non_trainable_variables],
    )


class LossFunction:
    """A model's loss, as a pure function of parameters, buffers and batch.

    Losses and gradients are float32 (float64 for a float64 model) even where the model
    computes in half precision; float16 gradients are those of a scaled loss, divided by
    the scale.

    A `tf.data.Dataset` of batches `(x, y)` in place of `x`, with `y=None`, stands for
    the mean over its batches, weighted by their numbers of examples: the loss of all
    examples, if the loss of a batch is a mean over its examples. In training mode every
    batch has its own statistics, and all have the same noise. The dataset is read again
    for each pass, and has to yield the same batches.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar. The penalties of the model's
            regularizers are added to it.
        training: bool, whether the model runs in training mode: with the statistics of
            the batch, and noise drawn from the seeds in the buffers. Default True.

    Raises:
        ValueError: for a model that is not built or has nothing to train, a loss that
            is no function, or a mode that is no bool.
    """

    def __init__(self, model: keras.Model, loss: Loss, *, training: bool = True):
        arguments.check_model(model)
        arguments.check_loss(loss)
        self.model = model
        self._loss = loss
        self._training = validation.boolean("training", training)
        computes_in = {layer.compute_dtype for layer in all_layers(model)}
        self._scale = _FLOAT16_LOSS_SCALE if "float16" in computes_in else None

    def __call__(
        self, parameters: Sequence, buffers: Sequence, x: Any, y: Any
    ) -> tf.Tensor:
        """Returns the loss, a scalar.

        Args:
            parameters, buffers: lists of tensors, as in `State`.
            x: what the model takes: a tensor, or a structure of tensors; or a dataset.
            y: what the loss takes.

        Raises:
            ValueError: if the batch does not fit, or the loss is not a scalar.
        """
        if batches.is_dataset(x):
            (mean,) = batches.mean(
                lambda x, y: [self(parameters, buffers, x, y)], x, [_SCALAR]
            )
            return mean
        y_pred, penalties = self._predict([*parameters, *buffers], x)
        loss = self._loss_of(y, y_pred)
        return tf.add_n([loss, *(tf.cast(p, loss.dtype) for p in penalties)])

    def gradients(
        self,
        parameters: Sequence,
        buffers: Sequence,
        x: Any,
        y: Any,
        indices: Sequence[int] | None = None,
    ) -> list[tf.Tensor]:
        """Returns the gradient with respect to some of the parameters.

        Args:
            parameters, buffers, x, y: as in `__call__`.
            indices: list of int, which parameters; None: all.

        Returns:
            A list of tensors, zeros for a parameter that the loss does not depend on.
        """
        return self.value_and_gradients(parameters, buffers, x, y, indices)[1]

    def value_and_gradients(
        self,
        parameters: Sequence,
        buffers: Sequence,
        x: Any,
        y: Any,
        indices: Sequence[int] | None = None,
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns `(loss, gradients)` of one pass; see `gradients`."""
        indices = range(len(parameters)) if indices is None else indices
        if batches.is_dataset(x):
            loss, *gradients = batches.mean(
                lambda x, y: self._flat(parameters, buffers, x, y, indices),
                x,
                [_SCALAR, *(parameters[i] for i in indices)],
            )
            return loss, gradients
        watched = [parameters[i] for i in indices]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(watched)
            loss = self(parameters, buffers, x, y)
            scaled = loss if self._scale is None else self._scale * loss
        gradients = tape.gradient(
            scaled, watched, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        gradients = [tf.convert_to_tensor(g) for g in gradients]  # not IndexedSlices
        if self._scale is not None:
            gradients = [g / self._scale for g in gradients]
        return loss, gradients

    def _flat(self, parameters, buffers, x, y, indices):
        parameters = [tf.identity(p) for p in parameters]  # of this graph
        loss, gradients = self.value_and_gradients(parameters, buffers, x, y, indices)
        return [loss, *gradients]

    def _predict(self, values, x):
        """Returns the model's outputs and the penalties of its regularizers."""
        model = self.model
        variables = [*model.trainable_variables, *model.non_trainable_variables]
        # Not `model.stateless_call`: it bypasses `__call__`, which sets the mode of
        # layers that a subclassed model calls without an argument `training`.
        scope = keras.StatelessScope(
            state_mapping=list(zip(variables, values, strict=True)), collect_losses=True
        )
        try:
            # TensorFlow allows names such as _Net only inside a name scope.
            with scope, tf.name_scope("model"):
                return model(x, training=self._training), model.losses
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                f"x must be a batch that model {model.name} takes. Received: x of "
                f"{arguments.shapes(x)}. {arguments.first_line(error)}"
            ) from error

    def _loss_of(self, y, y_pred):
        try:
            with _compat.outside_strategy():  # within one Keras divides by its replicas
                loss = tf.convert_to_tensor(self._loss(y, y_pred))
        except (ValueError, tf.errors.InvalidArgumentError) as error:
            raise ValueError(
                "y must fit the loss and the model's outputs. Received: y of "
                f"{arguments.shapes(y)}, outputs of {arguments.shapes(y_pred)}. "
                f"{arguments.first_line(error)}"
            ) from error
        if loss.shape.rank != 0:
            raise ValueError(
                "loss(y_true, y_pred) must be a scalar. Received: a tensor of shape "
                f"{loss.shape}. Take its mean or its sum."
            )
        return loss if loss.dtype == tf.float64 else tf.cast(loss, tf.float32)
