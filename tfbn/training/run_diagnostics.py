"""The diagnostics that a run measures."""

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfbn import diagnostics as diagnostics_lib
from tfbn.diagnostics.diagnostic import Need
from tfbn.recording import watching
from tfbn.training.batch_sources import Source


class RunDiagnostics:
    """What a run measures, and when.

    Args:
        diagnostics: mapping from a name to the steps between measurements, or a
            sequence of `Watch`.
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        source: where the batches come from.
        jit_compile: bool, whether XLA compiles the measurements.

    Attributes:
        watches: list of `Watch`.
    """

    def __init__(
        self,
        diagnostics: Mapping[str, int] | Sequence[watching.Watch],
        model: keras.Model,
        loss: Callable,
        source: Source,
        *,
        jit_compile: bool,
    ):
        self._model = model
        self._source = source
        if isinstance(diagnostics, Mapping):
            diagnostics = watching.watches(
                diagnostics, model, loss, jit_compile=jit_compile
            )
        self.watches = list(diagnostics)
        for watch in self.watches:
            if _needs_next_batch(watch) and not source.knows_next:
                raise ValueError(
                    "batches must be in-memory arrays or a function of the step for a "
                    "diagnostic that needs the batch of the next step. Received: a "
                    f"tf.data.Dataset, and diagnostics with {watch.name}."
                )

    def every(self) -> dict[str, int]:
        """The steps between the measurements of each diagnostic, by name."""
        return {watch.name: watch.cadence.every for watch in self.watches}

    def due(self, step: int) -> list[watching.Watch]:
        """The watches that measure step number `step`."""
        return [watch for watch in self.watches if watch.cadence.due(step)]

    def measure(
        self,
        due: Sequence[watching.Watch],
        begin: watching.StepBegin,
        write: Callable[[str, int, Mapping[str, Any]], None],
    ) -> None:
        """Measures the step that was just made; writes each record."""
        step, source = begin.step, self._source
        needs_next = any(map(_needs_next_batch, due))
        next_batch = source.at(step + 1) if needs_next else None
        made = begin.completed(self._model, source.at(step), next_batch, source.probe())
        for watch in due:
            watch.measure(made, write)

    def announce(self, note: Callable[[str], None]) -> None:
        """Says when each diagnostic measures, and at what cost."""
        num_bytes = sum(
            math.prod(v.shape) * tf.as_dtype(v.dtype).size
            for v in self._model.trainable_variables
        )
        for watch in self.watches:
            note(watching.announced(watch, num_bytes))

    def sum_up(self, note: Callable[[str | None], None]) -> None:
        """Says how often each diagnostic measured, and how long that took."""
        for watch in self.watches:
            note(watching.summed_up(watch))


def _needs_next_batch(watch):
    diagnostic = diagnostics_lib.registry.get(watch.name)
    return diagnostic is not None and Need.NEXT_BATCH in diagnostic.needs
