"""How a run is gone on with after its process has ended."""

import os
import time

from tfbn.recording.cadence import Cadence
from tfbn.training import run_directory
from tfbn.training.checkpoints import Checkpoints
from tfbn.training.checkpoints import PlainState


class Resumption:
    """Saves all of a run's state now and then, and gives it back.

    The state is that of the model with the seeds of its noise, of the optimizer, of
    what the measurements remember, the numbers that the trainer hands in, and how far
    the records and summaries are written.

    Args:
        config: `TrainConfig`.
        run_dir: str.
        model: the run's built model.
        optimizer: its optimizer, built.
        watches: list of `Watch`.
        clock: function that returns seconds.
    """

    def __init__(
        self, config, run_dir, model, optimizer, watches, *, clock=time.monotonic
    ):
        self._every = Cadence(config.checkpoint_every)
        self._seconds = 60.0 * config.checkpoint_minutes
        self._clock = clock
        self._saved_at = clock()
        self._state = PlainState()
        weights = {id(w) for w in model.weights}
        memories = {w.name: w.meter.memory for w in watches}
        self._checkpoints = Checkpoints(
            os.path.join(run_dir, run_directory.CHECKPOINTS),
            kept=config.checkpoints_kept,
            model=model,
            optimizer=optimizer,
            seeds=[v.value for v in model.variables if id(v) not in weights],
            memories={k: v for k, v in memories.items() if v is not None},
            state=self._state,
        )

    def restore(self, results):
        """Takes the run back to its newest good checkpoint; to be called first.

        Args:
            results: `RunDirectory`; what it holds of later steps is taken away.

        Returns:
            The values that `save` was given, or None where there is no checkpoint.
        """
        state = self._state
        self._checkpoints.restore(lambda: results.missing(state.values["files"]))
        results.begin(state.values.get("files"))
        self._saved_at = self._clock()
        return state.values.get("run")

    def due(self, step):
        """Whether it is time for a checkpoint."""
        waited = self._clock() - self._saved_at
        return self._every.due(step) or 0.0 < self._seconds <= waited

    def next(self, step):
        """The first step after `step` at which one is due for its number, or None."""
        return self._every.next(step)

    def latest(self):
        """The step of the newest checkpoint, or None."""
        return self._checkpoints.latest()

    def save(self, step, values, results):
        """Writes a checkpoint.

        Args:
            step: int, optimizer steps made.
            values: a dict that JSON can write.
            results: `RunDirectory`, with all records up to this step.

        Raises:
            OSError: if it cannot be written; the ones before are still there.
        """
        self._state.values = {"run": values, "files": results.positions()}
        self._checkpoints.save(step)
        self._saved_at = self._clock()
