"""Tests of tfbn.training.progress."""

import contextlib
import io

import tensorflow as tf

from tfbn.training import progress


class Clock:
    """A clock that the test sets."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


class ProgressTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.clock = Clock()

    def _shown(self, updates, stdout=None, **options):
        """What is printed for `(seconds, step)` pairs."""
        out = stdout or io.StringIO()
        with contextlib.redirect_stdout(out):
            shown = progress.Progress(1000, 32, clock=self.clock, **options)
            for seconds, step in updates:
                self.clock.now += seconds
                shown.update(step, {"loss": 0.5})
        return out.getvalue()

    def test_speed_and_time_left_leave_the_first_call_out(self):
        # 60 s of tracing, then 100 steps in 20 s.
        lines = self._shown([(60, 10), (20, 110)]).splitlines()
        self.assertEqual(lines[0], "step 10/1000: loss 0.5")
        self.assertEqual(
            lines[1], "step 110/1000: loss 0.5, 160 examples/s, 2m58s left"
        )

    def test_lines_are_ten_seconds_apart_and_the_last_always_comes(self):
        lines = self._shown([(1, i) for i in range(1, 24)] + [(1, 1000)]).splitlines()
        steps = [line.partition("/")[0] for line in lines]
        self.assertEqual(steps, ["step 1", "step 11", "step 21", "step 1000"])

    def test_work_aside_does_not_count(self):
        shown = progress.Progress(1000, 32, clock=self.clock)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            shown.update(10, {})
            with shown.aside():
                self.clock.now += 500
            self.clock.now += 20
            shown.update(110, {})
        self.assertIn("160 examples/s", out.getvalue())

    def test_a_terminal_gets_a_bar(self):
        text = self._shown([(1, 10), (1, 500), (1, 1000)], stdout=Terminal())
        self.assertIn("1000/1000", text)
        self.assertIn("examples/s", text)
        self.assertIn("loss: 0.5", text)

    def test_disabled_it_is_silent(self):
        self.assertEqual(self._shown([(1, 10), (1, 1000)], enabled=False), "")


if __name__ == "__main__":
    tf.test.main()
