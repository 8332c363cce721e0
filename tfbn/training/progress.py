"""How far a run is: a bar on a terminal, a line now and then in a log."""

import contextlib
import sys
import time

import keras

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows steps done, loss, accuracy, images/s and the time left.

    Args:
        total_steps: int.
        batch_size: int, for the images/s.
        enabled: bool; False shows nothing.
        clock: function that returns seconds.
    """

    def __init__(self, total_steps, batch_size, *, enabled=True, clock=time.monotonic):
        self._total_steps = total_steps
        self._batch_size = batch_size
        self._enabled = enabled
        self._clock = clock
        self._begin = None
        self._seconds_aside = 0.0
        self._last_line = -float("inf")
        self._bar = None
        if enabled and sys.stdout.isatty():
            names = ["loss", "accuracy", "images/s"]
            self._bar = keras.utils.Progbar(total_steps, stateful_metrics=names)

    @contextlib.contextmanager
    def aside(self):
        """Work that is no part of the steps, such as an evaluation: it is not timed."""
        begin = self._clock()
        yield
        self._seconds_aside += self._clock() - begin

    def note(self, text):
        """Says something before or after the steps, or nothing (None)."""
        if self._enabled and text:
            print(text, flush=True)

    def update(self, step, metrics):
        """Tells of `step` steps done and the latest `metrics`, a dict of floats."""
        now = self._clock() - self._seconds_aside
        if self._begin is None:  # the first call traces: it is no guide to the others
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
            values.append(("images/s", self._batch_size / seconds_per_step))
        self._bar.update(step, values=values, finalize=step >= self._total_steps)

    def _show_line(self, step, metrics, seconds_per_step):
        now, done = self._clock(), step >= self._total_steps
        if not done and now - self._last_line < _SECONDS_BETWEEN_LINES:
            return
        self._last_line = now
        shown = [f"{name} {value:.4g}" for name, value in metrics.items()]
        if seconds_per_step:
            shown.append(f"{self._batch_size / seconds_per_step:.0f} images/s")
            left = (self._total_steps - step) * seconds_per_step
            shown.append(f"{_duration(left)} left")
        print(f"step {step}/{self._total_steps}: {', '.join(shown)}", flush=True)


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{seconds:02d}s" if minutes else f"{seconds}s"
