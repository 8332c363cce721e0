"""Evaluation with moving averages that are computed anew."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfbn.calibration import averages
from tfbn.calibration import passes
from tfbn.calibration import recalibrating
from tfbn.calibration.pooling import Pooled
from tfbn.diagnostics.measurement import traced
from tfbn.training.batch_sources import free_sizes
from tfbn.training.evaluation import Evaluation
from tfbn.training.objective import Objective


class RecalibratedEvaluation:
    """Loss and metrics by the statistics of training batches at the present weights.

    Moving averages lag behind the weights of fast training, which costs accuracy that
    the weights have. This says how much: before each evaluation `tfbn.recalibrate`
    computes the averages from the first training batches, and after it they are what
    they were. No state changes. Where activations are not finite, so are the loss and
    the metrics.

    For `evaluations` of `tfbn.training.Trainer`: `{"eval_recalibrated":
    RecalibratedEvaluation(model, loss, batches, 20, (x_test, y_test))}`.

    Cost: a forward pass on each batch, and an evaluation.

    Args:
        model: a built Keras model with batch-norm layers.
        loss, metrics: as `keras.Model.compile` takes them.
        batches: function `batches(step)` -> `(x, y)`, such as `tfbn.data.ArrayBatches`.
        num_batches: int > 0; the batches of steps 0 to `num_batches - 1` are used.
        validation_data, validation_batch_size: as in `tfbn.training.Trainer`.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Any,
        batches: Callable[[int], tuple[Any, Any]],
        num_batches: int,
        validation_data: Any,
        *,
        validation_batch_size: int = 1000,
        metrics: Any = (),
    ):
        self._model, self._batches, self._num_batches = model, batches, num_batches
        self._layers = recalibrating.layers_of(model)
        self._statistics = traced(
            self._of_batch, autograph=False, reduce_retracing=True
        )
        x, y = free_sizes(batches(0))
        objective = Objective(model, loss, metrics, x, y)
        self._evaluation = Evaluation(
            model, objective, validation_data, validation_batch_size
        )

    def __call__(self) -> dict[str, float]:
        """Evaluates: "loss" and metrics as floats, as the trainer's own evaluation."""
        kept = [(v, v.numpy()) for v in self._model.non_trainable_variables]
        try:
            self._recalibrate()
            return self._evaluation()
        finally:
            for variable, value in kept:
                variable.assign(value)

    def _recalibrate(self):
        found = None
        for step in range(self._num_batches):
            x, _ = self._batches(step)
            found = joined(found, self._statistics(x))
        self._assign(found)

    def _of_batch(self, x):
        with tf.name_scope("model"):
            return passes.of_batch(self._model, self._layers, x)

    def _assign(self, found):
        for layer, pooled in zip(self._layers, found, strict=True):
            if pooled is not None:
                averages.assign(layer, pooled)


def joined(
    found: Sequence[Pooled | None] | None, others: Sequence[Pooled | None]
) -> list[Pooled | None]:
    """The statistics of several layers, of the batches before and another one."""
    if found is None:
        return list(others)
    pairs = zip(found, others, strict=True)
    return [p.joined(q) if p and q else None for p, q in pairs]
