"""The parts of a trainer that another machine runs, and their variables and data."""

import numpy as np
import tensorflow as tf

from tfbn.training import RecalibratedEvaluation
from tfbn.training import Trainer
from tfbn.training import TrainingModeEvaluation
from tfbn.training.batch_sources import ArraySource


class Parts:
    """The parts of a trainer that compute, and the variables and data they use.

    Attributes:
        variables: the state: the model's, then the optimizer's, then the metrics'.
        metric_variables: the last of them.
        data: name -> tensor.
        in_training_mode, recalibrated: kind of record -> evaluation.
    """

    def __init__(self, trainer: Trainer):
        # The trainer's own parts: what is exported is what it would run itself.
        run = trainer._parts
        self.steps, self.source = run.steps, run.source
        if not isinstance(self.source, ArraySource):
            raise ValueError(
                "A run that trains elsewhere must have its data in memory. Received: "
                f"{type(self.source).__name__}. Give tfbn.data.ArrayBatches."
            )
        self.evaluation, self.diagnostics = run.evaluation, run.diagnostics
        self.model = run.model
        objective = run.objective
        objective.reset()
        self.metric_variables = objective._metrics.metrics_variables
        self.variables = [
            *self.model.variables,
            *run.optimizer.variables,
            *self.metric_variables,
        ]
        batches = self.source._batches
        self.batches, self.train = batches, batches.arrays
        self.test = self.evaluation._data
        splits = {"train": self.train, "test": self.test}
        self.in_training_mode: dict[str, TrainingModeEvaluation] = {}
        self.recalibrated: dict[str, RecalibratedEvaluation] = {}
        for kind, evaluation in run.evaluations.items():
            if isinstance(evaluation, RecalibratedEvaluation):
                self.recalibrated[kind] = evaluation
            elif isinstance(evaluation, TrainingModeEvaluation):
                self.in_training_mode[kind] = evaluation
                splits[kind] = evaluation._batches.arrays
            else:
                raise ValueError(
                    "A run that trains elsewhere must have evaluations that compile. "
                    f"Received: {kind}, which is a function. Leave it out."
                )
        self.data = {
            f"{split}:{i}": tensor
            for split, arrays in splits.items()
            for i, tensor in enumerate(tf.nest.flatten(arrays._arrays))
        }

    def evaluation_rows(self) -> dict[str, np.ndarray]:
        """Kind of record -> the examples of each batch of an evaluation.

        Raises:
            ValueError: if the batches are not equally large.
        """
        size, number = self.evaluation._batch_size, len(self.test)
        if number % size:
            raise ValueError(
                "eval_batch_size must divide the test examples of a run that trains "
                f"elsewhere, {number}. Received: eval_batch_size={size}."
            )
        rows = {"eval": np.arange(number).reshape(-1, size)}
        rows |= dict.fromkeys(self.recalibrated, rows["eval"])
        return rows | _batches_of(self.in_training_mode)

    def recalibration_rows(self) -> dict[str, np.ndarray]:
        """Kind of record -> the examples of batches to compute averages of."""
        return _batches_of(self.recalibrated)


def _batches_of(evaluations):
    return {
        kind: np.stack(
            [evaluation._batches.indices(i) for i in range(evaluation._num_batches)]
        )
        for kind, evaluation in evaluations.items()
    }
