"""Lines about measurements for those who wait for them."""

import contextlib
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence

from tfbn.diagnostics import progress
from tfbn.recording.watching import Watch
from tfbn.recording.watching import summed_up

# Seconds between two lines about the progress of one measurement.
_PATIENCE = 10.0


class Announcer:
    """Says what the first measurement of a watch costs, and how long it took.

    Later measurements, which are shorter, are announced only by their progress, if they
    take long.

    Args:
        say: function that shows a line.
        per: str, what the passes are over, such as " over each batch".
    """

    def __init__(self, say: Callable[[str], None], per: str = ""):
        self._say, self._per = say, per
        self._empty: set[str] = set()

    @contextlib.contextmanager
    def measuring(self, watch: Watch, step: int) -> Iterator[None]:
        """For the time of one measurement of `watch`."""
        is_first, begin = not watch.seconds, time.perf_counter()
        if is_first:
            self._say(
                f"Measuring {watch.name} at step {step}: about "
                f"{watch.meter.cost.passes:.1f} forward and backward passes{self._per},"
                " and the first time as much again or more for tracing."
            )
        with progress.listening(self._listener(watch.name, begin)):
            yield
        if is_first and watch.name not in self._empty:
            seconds = time.perf_counter() - begin
            self._say(f"Measured {watch.name} in {seconds:.1f} s.")

    def nothing(self, name: str, reason: str) -> None:
        """Says that there was nothing to measure, in place of how long it took."""
        self._empty.add(name)
        self._say(f"Nothing to measure for {name}: {reason}.")

    def _listener(self, name, begin):
        told = begin

        def listen(done, total):
            nonlocal told
            now = time.perf_counter()
            if now - told >= _PATIENCE and done < total:
                told = now
                self._say(f"Measuring {name}: {done} of {total}, {now - begin:.0f} s.")

        return listen


def summary(watches: Sequence[Watch], num_before: int, steps: range) -> list[str]:
    """Returns lines that sum up what was measured in the steps of one run.

    Args:
        watches: what is measured, all with the same cadence.
        num_before: int, how often they had measured, together, when the run began.
        steps: the steps that the run made.
    """
    if sum(len(watch.seconds) for watch in watches) != num_before:
        return [line for line in map(summed_up, watches) if line is not None]
    if not steps or not watches:
        return []
    cadence = watches[0].cadence
    return [
        f"Measured nothing in the {len(steps)} steps from {steps[0]} to {steps[-1]}: "
        f"with every={cadence.every}, the next measurement is due at step "
        f"{cadence.next(steps[-1])}. Steps count on from fit to fit."
    ]
