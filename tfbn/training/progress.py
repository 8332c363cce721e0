"""Progress of a run: a bar on a terminal, a line every ten seconds in a log."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_BARS = 0.1
_BAR = 20  # letters
_END_OF_LINE = "\x1b[K"  # erases what a longer text has left there


class Progress:
    """Shows steps done, metrics, examples/s and the time left.

    As a context it ends the line of the bar, whatever the run ends with: the next
    message, on stdout or stderr, begins a line.

    Args:
        total_steps: steps of the whole run.
        batch_size: for the examples/s; None shows steps/s.
        enabled: False shows nothing.
        clock: function that returns seconds.
    """

    def __init__(
        self,
        total_steps: int,
        batch_size: int | None,
        *,
        enabled: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total_steps = total_steps
        self._unit = "steps/s" if batch_size is None else "examples/s"
        self._per_step = batch_size or 1
        self._enabled = enabled
        self._has_bar = enabled and on_a_terminal()
        self._clock = clock
        self._begin: tuple[int, float] | None = None
        self._seconds_aside = 0.0
        self._last_shown = -float("inf")
        self._step, self._text = 0, ""
        self._line_is_open = False

    def __enter__(self):
        return self

    def __exit__(self, *unused_exception):
        self.end_line()

    def begin(self, step: int) -> None:
        """Says that the first steps, which are compiled, come after `step`."""
        self._step = step
        if self._has_bar and step < self._total_steps:
            self._show_bar("compiling the first steps")

    @contextlib.contextmanager
    def aside(self, doing: str = "") -> Iterator[None]:
        """Leaves work between the steps, such as an evaluation, out of the timing.

        Args:
            doing: what a bar says meanwhile; empty changes nothing.
        """
        begin = self._clock()
        if doing and self._has_bar:
            self._show_bar(doing)
        yield
        self._seconds_aside += self._clock() - begin
        if doing and self._has_bar:
            self._show_bar(self._text)

    def note(self, text: str | None) -> None:
        """Prints a line before or after the steps; None prints nothing."""
        if self._enabled and text:
            self.end_line()
            print(text, flush=True)

    def end_line(self) -> None:
        """Has the next message begin a line, if there is a bar in the present one."""
        if self._line_is_open:
            print(flush=True)
            self._line_is_open = False

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """Shows that `step` steps are done, and the latest `metrics`."""
        now = self._clock() - self._seconds_aside
        if self._begin is None:  # the first call traces, and is slower than the others
            self._begin = step, now
        self._step, self._text = step, self._described(self._begin, step, now, metrics)
        interval = _SECONDS_BETWEEN_BARS if self._has_bar else _SECONDS_BETWEEN_LINES
        done, now = step >= self._total_steps, self._clock()
        if not self._enabled or (not done and now - self._last_shown < interval):
            return
        self._last_shown = now
        if self._has_bar:
            self._show_bar(self._text)
        else:
            print(f"step {step}/{self._total_steps}: {self._text}", flush=True)

    def _described(self, since, step, now, metrics):
        begin_step, begin = since
        shown = [f"{name} {value:.4g}" for name, value in metrics.items()]
        if step > begin_step:
            seconds_per_step = max(now - begin, 1e-9) / (step - begin_step)
            shown.append(f"{self._per_step / seconds_per_step:.0f} {self._unit}")
            left = (self._total_steps - step) * seconds_per_step
            shown.append(f"{_duration(left)} left")
        return ", ".join(shown)

    def _show_bar(self, text):
        total = str(self._total_steps)
        full = _BAR * self._step // self._total_steps
        bar = f"[{'=' * full}{' ' * (_BAR - full)}]"
        line = f"{self._step:>{len(total)}}/{total} {bar} {text}"
        # A longer one would fill a new line at each update.
        width = shutil.get_terminal_size().columns - 1
        print(f"\r{line[:width]}{_END_OF_LINE}", end="", flush=True)
        self._line_is_open = True


def on_a_terminal() -> bool:
    """Returns whether stdout is a terminal that can write a line anew."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def announce(text: str) -> None:
    """Tells the user of a terminal what takes the next seconds; a log goes without."""
    if on_a_terminal():
        print(text, flush=True)


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
