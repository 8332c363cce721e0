"""Progress of a run: a bar on a terminal, a line every ten seconds in a log."""

import contextlib
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows steps done, metrics, examples/s and the time left.

    Args:
        total_steps: steps of the whole run.
        batch_size: for the examples/s; None shows steps/s.
        names: of the metrics.
        enabled: False shows nothing.
        clock: function that returns seconds.
    """

    def __init__(
        self,
        total_steps: int,
        batch_size: int | None,
        *,
        names: Sequence[str] = ("loss", "accuracy"),
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total_steps = total_steps
        self._unit = "steps/s" if batch_size is None else "examples/s"
        self._per_step = batch_size or 1
        self._enabled = enabled
        self._clock = clock
        self._begin: tuple[int, float] | None = None
        self._seconds_aside = 0.0
        self._last_line = -float("inf")
        self._bar: Any = None
        if enabled and sys.stdout.isatty():
            shown = [*names, self._unit]
            self._bar = keras.utils.Progbar(total_steps, stateful_metrics=shown)

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """Leaves work between the steps, such as an evaluation, out of the timing."""
        begin = self._clock()
        yield
        self._seconds_aside += self._clock() - begin

    def note(self, text: str | None) -> None:
        """Prints a line before or after the steps; None prints nothing."""
        if self._enabled and text:
            print(text, flush=True)

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows that `step` steps are done, and the latest `metrics`."""
        now = self._clock() - self._seconds_aside
        if self._begin is None:  # the first call traces, and is slower than the others
            self._begin = step, now
        begin_step, begin = self._begin
        seconds_per_step = None
        if step > begin_step:
            seconds_per_step = max(now - begin, 1e-9) / (step - begin_step)
        if self._bar is not None:
            self._show_bar(step, metrics, seconds_per_step)
        elif self._enabled:
            self._show_line(step, metrics, seconds_per_step)

    def _show_bar(self, step, metrics, seconds_per_step):
        values = list(metrics.items())
        if seconds_per_step:
            values.append((self._unit, self._per_step / seconds_per_step))
        self._bar.update(step, values=values, finalize=step >= self._total_steps)

    def _show_line(self, step, metrics, seconds_per_step):
        now, done = self._clock(), step >= self._total_steps
        if not done and now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        shown = [f"{name} {value:.4g}" for name, value in metrics.items()]
        if seconds_per_step:
            shown.append(f"{self._per_step / seconds_per_step:.0f} {self._unit}")
            left = (self._total_steps - step) * seconds_per_step
            shown.append(f"{_duration(left)} left")
        print(f"step {step}/{self._total_steps}: {', '.join(shown)}", flush=True)


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
