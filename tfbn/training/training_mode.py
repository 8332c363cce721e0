"""Evaluation in training mode: with the statistics of the batches themselves."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfbn.data.array_batches import ArrayBatches
from tfbn.diagnostics.measurement import traced
from tfbn.training.batch_sources import free_sizes
from tfbn.training.objective import Objective


class TrainingModeEvaluation:
    """Loss and metrics on some batches in training mode.

    The measure by which Ioffe 2017 (arXiv 1702.03275, sec. 4.3) shows why batch
    normalisation fails on batches that are not i.i.d.: it does better with the
    statistics of such batches than with the moving averages. Batch Renormalization
    corrects by r and d of the current step; dropout and noise are those of the next
    step, in each batch. No state changes: averages, steps of schedules and seeds stay
    as they are.

    For `evaluations` of `tfbn.training.Trainer`:
    `{"eval_training_mode": TrainingModeEvaluation(model, loss, batches, 40)}`.

    Cost: a forward pass on each batch.

    Args:
        model: a built Keras model.
        loss: as `keras.Model.compile` takes it.
        batches: `tfbn.data.ArrayBatches` of validation data.
        num_batches: int > 0; batches 0 to `num_batches - 1` are evaluated.
        metrics: as `keras.Model.compile` takes them.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Any,
        batches: ArrayBatches,
        num_batches: int,
        *,
        metrics: Any = (),
    ):
        self._model = model
        self._batches = batches
        self._num_batches = num_batches
        x, y = free_sizes(batches(0))
        self._objective = Objective(model, loss, metrics, x, y)
        self._evaluate_batch = traced(
            self._of_batch,
            autograph=False,
            input_signature=[tf.TensorSpec([batches.batch_size], tf.int64)],
        )

    def __call__(self) -> dict[str, float]:
        """Evaluates: "loss" and metrics as floats.

        Means over the batches, which are equally large. A loss that is a sum is scaled
        to the number of examples in the arrays, so that it compares with that of an
        evaluation.
        """
        rows = []
        for step in range(self._num_batches):
            results = self._evaluate_batch(self._batches.indices(step))
            rows.append({name: float(value) for name, value in results.items()})
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        if self._objective.sums:
            means["loss"] *= len(self._batches.arrays) / self._batches.batch_size
        return means

    def _of_batch(self, indices):
        x, y = self._batches.arrays.gather(indices)
        with keras.StatelessScope(), tf.name_scope("model"):
            y_pred = self._model(x, training=True)
        losses = self._objective.losses(y, y_pred)
        results = losses | self._objective.metrics(y, y_pred)
        return {name: tf.cast(value, tf.float32) for name, value in results.items()}
