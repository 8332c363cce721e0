"""Saving and restoring all of a run's state."""

import os
import time
from collections.abc import Iterable
from typing import Any

import keras

from tfbn.recording.cadence import Cadence
from tfbn.recording.watching import Watch
from tfbn.training import run_directory
from tfbn.training.arguments import TrainerOptions
from tfbn.training.checkpoints import Checkpoints
from tfbn.training.checkpoints import PlainState


class Resumption:
    """Saves all of a run's state at intervals, and restores it.

    The state consists of the model with the seeds of its noise, the optimizer, the
    memory of the diagnostics, the position in the data, the values that the trainer
    passes in, and the lengths of the record and summary files.

    Args:
        run_dir: the folder of the run.
        options: how often to save, and how many of the newest checkpoints to keep.
        model: a built Keras model.
        optimizer: its optimizer, built.
        watches: those whose meters may have a memory.
        writes: bool, whether this process writes checkpoints, or only restores them.
        **trackables: further parts of a checkpoint.

    Attributes:
        cadence: `Cadence`, the steps with a checkpoint because of their number.
    """

    def __init__(
        self,
        run_dir: str,
        options: TrainerOptions,
        model: keras.Model,
        optimizer: keras.Optimizer,
        watches: Iterable[Watch],
        *,
        writes: bool = True,
        **trackables: Any,
    ):
        self.cadence = Cadence(options.checkpoint_freq)
        self._seconds = 60.0 * options.checkpoint_minutes
        self._clock = time.monotonic
        self._saved_at = self._clock()
        self._state = PlainState()
        self._writes = writes
        weights = {id(w) for w in model.weights}
        memories = {w.name: w.meter.memory for w in watches}
        self._checkpoints = Checkpoints(
            os.path.join(run_dir, run_directory.CHECKPOINTS),
            kept=options.max_to_keep,
            writes=writes,
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
        return self.cadence.due(step) or 0.0 < self._seconds <= waited

    def latest(self) -> int | None:
        """The step of the newest checkpoint."""
        return self._checkpoints.latest()

    def save(
        self, step: int, values: dict[str, Any], results: run_directory.RunDirectory
    ) -> None:
        """Writes a checkpoint, where this process does.

        Args:
            step: optimizer steps made.
            values: what `restore` returns; JSON can write it.
            results: with all records up to this step.

        Raises:
            OSError: if it cannot be written; the earlier ones are still there.
        """
        if not self._writes:
            return
        self._state.values = {"run": values, "files": results.positions()}
        self._checkpoints.save(step)
        self._saved_at = self._clock()
