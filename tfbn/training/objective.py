"""The loss and the metrics that a model is trained with."""

import contextlib
import operator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics.arguments import first_line
from tfbn.diagnostics.arguments import shapes


class Objective:
    """The loss and the metrics of a model, resolved as by `keras.Model.compile`.

    The model itself is not compiled: its variables, and so its checkpoints and files,
    do not depend on loss or metrics.

    Args:
        model: a built Keras model.
        loss, loss_weights, metrics: as `keras.Model.compile` takes them.
        x, y: structures of `tf.TensorSpec`, a batch.

    Attributes:
        names: list of str, the values of a batch: "loss", for several outputs with a
            loss each also "OUTPUT_loss", then the metrics.
        sums: bool, whether the loss adds up over examples (`reduction="sum"`) or is
            their mean.
        has_metrics: bool, whether there are metrics beside the loss.

    Raises:
        ValueError: if the model does not take `x`, or loss and metrics do not fit `y`
            and its outputs.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Any,
        metrics: Any,
        x: Any,
        y: Any,
        *,
        loss_weights: Any = None,
    ):
        self.sums = _sums(loss)
        outputs = _outputs(model, x)
        self._specs = y, outputs
        with _floatx_of(outputs):
            self._losses = _Compiled(model, loss=loss, loss_weights=loss_weights)
            self._metrics = _Compiled(model, metrics=_listed(metrics))
            self.names = self._built(y, outputs)

    def loss(self, y_true: Any, y_pred: Any) -> tf.Tensor:
        """The loss of a batch, without penalties of regularizers; changes nothing."""
        return self.losses(y_true, y_pred)["loss"]

    def losses(self, y_true: Any, y_pred: Any) -> dict[str, tf.Tensor]:
        """The loss of a batch, and those of several outputs; changes nothing."""
        with keras.StatelessScope():
            self._losses.reset_metrics()
            loss = self._losses.compute_loss(y=y_true, y_pred=y_pred)
            return {"loss": loss, **self._losses.results()}

    def metrics(self, y_true: Any, y_pred: Any) -> dict[str, tf.Tensor]:
        """The metrics of one batch; changes nothing."""
        with keras.StatelessScope():
            self.reset()
            return self._metrics.updated(y_true, y_pred)

    def accumulate(self, y_true: Any, y_pred: Any) -> None:
        """Updates the metrics with a batch."""
        self._metrics.updated(y_true, y_pred)

    def reset(self) -> None:
        """Forgets the batches that `accumulate` was given."""
        self._metrics.reset_metrics()

    def accumulated(self) -> dict[str, float]:
        """The metrics of all batches since `reset`."""
        return {name: float(v) for name, v in self._metrics.results().items()}

    def check_adds_up(self) -> None:
        """Raises a ValueError if the loss of a batch is not that of its examples.

        It is tried on a batch of four, and on its halves.
        """
        rng = np.random.default_rng(0)
        y_true, y_pred = (
            tf.nest.map_structure(lambda s: _zeros(s, 4), part) for part in self._specs
        )
        # Probabilities too, for losses of these.
        y_pred = tf.nest.map_structure(
            lambda t: tf.cast(rng.uniform(0.1, 0.9, t.shape), t.dtype), y_pred
        )
        whole = float(self.loss(y_true, y_pred))
        halves = 0.0
        for parts in zip(*map(_halves, (y_true, y_pred)), strict=True):
            halves += float(self.loss(*parts))
        together = halves if self.sums else halves / 2.0
        if abs(whole - together) > 1e-3 * abs(whole):
            raise ValueError(
                "loss must be a sum or a mean over the examples of a batch on several "
                "replicas, each of which has a slice of the batch. Received: a loss of "
                f"{whole:.4g} for a batch, {together:.4g} for its halves together. A "
                'sum is told by reduction="sum".'
            )

    def _built(self, y, outputs):
        """Makes the metrics' variables on a batch of zeros; returns the names."""
        y_true, y_pred = tf.nest.map_structure(_zeros, (y, outputs))
        try:
            self._losses.compute_loss(y=y_true, y_pred=y_pred)
            self.accumulate(y_true, y_pred)
            metrics = self.metrics(y_true, y_pred)
            values = self.losses(y_true, y_pred) | metrics
        except Exception as error:  # a user's loss or metric may raise anything
            raise ValueError(
                "loss and metrics must fit the model's outputs and the targets. "
                f"Received: outputs of {shapes(outputs)}, targets of {shapes(y)}. "
                f"{first_line(error)}"
            ) from error
        for name, value in values.items():
            if len(value.shape):
                raise ValueError(
                    f"{name} must be a scalar for a batch. Received: a tensor of shape "
                    f'{tuple(value.shape)}. Give a loss a reduction, such as "sum".'
                )
        self.has_metrics = bool(metrics)
        return list(values)


class _Compiled(keras.Model):
    """A model without layers: what `compile` makes of losses or metrics."""

    def __init__(self, model, **options):
        super().__init__()
        names = getattr(model, "output_names", None)
        if names is not None:
            self.output_names = names
        self.compile(**options)

    def updated(self, y_true, y_pred):
        """Updates the metrics with a batch; returns their values."""
        self.compute_metrics(None, y_true, y_pred)
        return self.results()

    def results(self):
        """The values of all metrics but the mean of the total loss."""
        results = self.get_metrics_result()
        results.pop("loss", None)
        return results


def _listed(metrics):
    """Metrics as `compile` takes them: a single one becomes a list."""
    is_structure = isinstance(metrics, (list, tuple, dict))
    return metrics if is_structure else [metrics]


def _sums(loss):
    """Whether the losses are sums over examples."""
    losses = [one for one in tf.nest.flatten(loss) if one is not None]
    sums = {getattr(one, "reduction", None) == "sum" for one in losses}
    if len(sums) != 1:
        raise ValueError(
            'loss must be given, with reduction="sum" in all or in none of the '
            f"outputs' losses. Received: loss={validation.shown(loss)}."
        )
    return sums.pop()


def _outputs(model, x):
    """The model's outputs for a batch `x`, a structure of `keras.KerasTensor`."""
    inputs = tf.nest.map_structure(
        lambda spec: keras.KerasTensor(tuple(spec.shape), spec.dtype.name), x
    )
    try:
        return model(inputs, training=False)
    except Exception as error:  # a user's model may raise anything
        raise ValueError(
            f"batches must be what model {model.name} takes. Received: inputs of "
            f"{shapes(x)}. {first_line(error)}"
        ) from error


@contextlib.contextmanager
def _floatx_of(outputs):
    """float64 as Keras's default for losses of a float64 model."""
    previous = keras.config.floatx()
    if any(tf.as_dtype(t.dtype) == tf.float64 for t in tf.nest.flatten(outputs)):
        keras.config.set_floatx("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(previous)


def _halves(structure):
    for part in (slice(0, 2), slice(2, 4)):
        yield tf.nest.map_structure(operator.itemgetter(part), structure)


def _zeros(spec, number=1):
    """Examples of zeros; sizes that are not known are 2."""
    _, *sizes = spec.shape
    return tf.zeros(
        [number, *(2 if size is None else size for size in sizes)], spec.dtype
    )
