"""Saving and restoring all of a run's state."""

import os
import time
from collections.abc import Callable
from typing import Any

from tfbn.recording.cadence import Cadence
from tfbn.training import run_directory
from tfbn.training.checkpoints import Checkpoints
from tfbn.training.checkpoints import PlainState


class Resumption:
    """Saves all of a run's state now and then, and restores it.

    The state consists of the model with the seeds of its noise, the optimizer, the
    memory of the diagnostics, the position in the data, the numbers that the trainer
    passes in, and the length of records and summaries.

    Args:
        run_dir: str.
        every: int >= 0, steps between checkpoints; 0: by `minutes` alone.
        minutes: float >= 0, minutes between checkpoints at most; 0: no limit.
        kept: int > 0, the newest checkpoints that are kept.
        model: a built Keras model.
        optimizer: its optimizer, built.
        watches: list of `Watch`.
        clock: function that returns seconds.
        **trackables: further parts of a checkpoint.
    """

    def __init__(
        self,
        run_dir,
        *,
        every,
        minutes,
        kept,
        model,
        optimizer,
        watches,
        clock: Callable[[], float] = time.monotonic,
        **trackables,
    ):
        self._every = Cadence(every)
        self._seconds = 60.0 * minutes
        self._clock = clock
        self._saved_at = clock()
        self._state = PlainState()
        weights = {id(w) for w in model.weights}
        memories = {w.name: w.meter.memory for w in watches}
        self._checkpoints = Checkpoints(
            os.path.join(run_dir, run_directory.CHECKPOINTS),
            kept=kept,
            model=model,
            optimizer=optimizer,
            seeds=[v.value for v in model.variables if id(v) not in weights],
            memories={k: v for k, v in memories.items() if v is not None},
            state=self._state,
            **trackables,
        )

    def restore(self, results: run_directory.RunDirectory) -> dict[str, Any] | None:
        """Restores the newest good checkpoint, and truncates `results` to its step.

        Returns:
            The values that `save` was given, or None where there is no checkpoint.
        """
        state = self._state
        self._checkpoints.restore(lambda: results.missing(state.values["files"]))
        results.begin(state.values.get("files"))
        self._saved_at = self._clock()
        return state.values.get("run")

    def due(self, step: int) -> bool:
        """Whether it is time for a checkpoint."""
        waited = self._clock() - self._saved_at
        return self._every.due(step) or 0.0 < self._seconds <= waited

    def next(self, step: int) -> int | None:
        """The first step after `step` with a checkpoint because of its number."""
        return self._every.next(step)

    def latest(self) -> int | None:
        """The step of the newest checkpoint."""
        return self._checkpoints.latest()

    def save(
        self, step: int, values: dict[str, Any], results: run_directory.RunDirectory
    ) -> None:
        """Writes a checkpoint.

        Args:
            step: optimizer steps made.
            values: what `restore` returns; JSON can write it.
            results: with all records up to this step.

        Raises:
            OSError: if it cannot be written; the earlier ones are still there.
        """
        self._state.values = {"run": values, "files": results.positions()}
        self._checkpoints.save(step)
        self._saved_at = self._clock()
