"""Evaluation with moving averages that are computed anew."""

import itertools
from collections.abc import Callable
from typing import Any

import keras

from tfbn import calibration
from tfbn.training.batch_sources import free_sizes
from tfbn.training.evaluation import Evaluation
from tfbn.training.objective import Objective


class RecalibratedEvaluation:
    """Loss and metrics by the statistics of training batches at the present weights.

    Moving averages lag behind the weights of fast training, which costs accuracy that
    the weights have. This says how much: before each evaluation `tfbn.recalibrate`
    computes the averages from the first training batches, and after it they are what
    they were. No state changes.

    For `evaluations` of `tfbn.training.Trainer`: `{"eval_recalibrated":
    RecalibratedEvaluation(model, loss, batches, 20, (x_test, y_test))}`.

    Cost: a forward pass on each batch, operation by operation, and an evaluation.

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
        x, y = free_sizes(batches(0))
        objective = Objective(model, loss, metrics, x, y)
        self._evaluation = Evaluation(
            model, objective, validation_data, validation_batch_size
        )

    def __call__(self) -> dict[str, float]:
        """Evaluates: "loss" and metrics as floats, as the trainer's own evaluation."""
        kept = [(v, v.numpy()) for v in self._model.non_trainable_variables]
        try:
            batches = map(self._batches, itertools.count())
            calibration.recalibrate(self._model, batches, self._num_batches)
            return self._evaluation()
        finally:
            for variable, value in kept:
                variable.assign(value)
