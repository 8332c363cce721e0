"""The steps of `fit` that are due for a measurement, from first batch to update."""

from collections.abc import Callable
from typing import Any

import keras

from tfbn import _compat
from tfbn.recording.cadence import Cadence
from tfbn.recording.watching import StepBegin


class DueSteps:
    """Copies the state before a step that is due, and hands it over after its update.

    A step may take several batches, whose gradients are accumulated, or whose updates a
    loss scale skips. What is called runs outside the scope of the model's strategy, in
    which `fit` may have been called, for there Keras scales losses.

    Args:
        cadence: the steps that are due.
        measure: called with the beginning of a step that was made.
    """

    def __init__(self, cadence: Cadence, measure: Callable[[StepBegin], None]):
        self._cadence = cadence
        self._measure = measure
        self._model: Any = None  # until a fit begins
        self._pending: StepBegin | None = None
        self._has_batches = False  # the pending step

    def start(self, model: keras.Model) -> None:
        """Watches the steps of a fit of `model` from now on."""
        self._model, self._pending, self._has_batches = model, None, False

    def within(self, batches: int) -> bool:
        """Whether a step that is due may begin or end in the next `batches` batches."""
        if self._pending is not None:
            return True
        step = number_of_step(self._model)
        return any(map(self._cadence.due, range(step, step + batches)))

    def begin(self) -> None:
        """Called before each batch."""
        step, pending = number_of_step(self._model), self._pending
        if pending is not None and pending.step == step and self._has_batches:
            return
        self._pending, self._has_batches = None, False
        if self._cadence.due(step):
            with _compat.outside_strategy():
                self._pending = StepBegin.of(step, self._model, self._model.optimizer)

    def end(self) -> None:
        """Called after each batch."""
        pending = self._pending
        if pending is None:
            return
        if number_of_step(self._model) == pending.step:
            self._has_batches = True
            return
        self._pending = None
        with _compat.outside_strategy():
            self._measure(pending)


def number_of_step(model: keras.Model) -> int:
    """The number of updates that a model's optimizer has made."""
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))
