"""The diagnostics of a run."""

import math
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn.diagnostics.instruments import Moment
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.recording import watching


class _Before(NamedTuple):
    """What is known of a step before it is made."""

    step: int
    state: State
    learning_rate: float


class RunDiagnostics:
    """What a run measures, and when.

    Args:
        diagnostics: mapping from a name to the steps between measurements, or a
            sequence of `Watch`.
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        source: where the batches come from, as in `tfbn.training.batch_sources`.
        jit_compile: bool, whether XLA compiles the measurements.

    Attributes:
        watches: list of `Watch`.
    """

    def __init__(
        self,
        diagnostics: Mapping[str, int] | Sequence[watching.Watch],
        model: keras.Model,
        loss: Callable,
        source: Any,
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
                    f"tf.data.Dataset, and diagnostics with {watch.instrument.name}."
                )

    def every(self) -> dict[str, int]:
        """The steps between the measurements of each diagnostic, by name."""
        return {watch.instrument.name: watch.cadence.every for watch in self.watches}

    def due(self, step: int) -> list[watching.Watch]:
        """Those that measure step number `step`."""
        return [watch for watch in self.watches if watch.cadence.due(step)]

    def before(self, step: int, optimizer: keras.Optimizer) -> _Before:
        """What `measure` needs from before a step."""
        return _Before(step, snapshot(self._model), float(optimizer.learning_rate))

    def measure(
        self,
        due: Sequence[watching.Watch],
        before: _Before,
        write: Callable[[str, int, Mapping[str, Any]], None],
    ) -> None:
        """Measures the step that was just made; writes each record."""
        step, source = before.step, self._source
        needs_next = any(map(_needs_next_batch, due))
        moment = Moment(
            step=step,
            before=before.state,
            after=snapshot(self._model),
            batch=source.at(step),
            next_batch=source.at(step + 1) if needs_next else None,
            probe=source.probe(),
            learning_rate=before.learning_rate,
        )
        for watch in due:
            watch.measure(moment, write)

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
    return "next_batch" in watch.instrument.needs
