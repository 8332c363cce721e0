"""Tests of tfbn.training.progress."""

import contextlib
import io
import os
from unittest import mock

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
        terminal = {"TERM": "xterm", "COLUMNS": "100"}
        self.enter_context(mock.patch.dict(os.environ, terminal))
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
        # 60 s of compiling, then 490 steps in 10 s; 500 to go.
        text = self._shown([(60, 10), (10, 500), (0.01, 501)], stdout=Terminal())
        bars = [
            "  10/1000 [                    ] loss 0.5",
            " 500/1000 [==========          ] loss 0.5, 1568 examples/s, 10s left",
        ]
        self.assertEqual(text, "".join(f"\r{bar}\x1b[K" for bar in bars))

    def test_a_bar_stays_in_its_line(self):
        with mock.patch.dict(os.environ, COLUMNS="40"):
            text = self._shown([(1, 10), (1, 999)], stdout=Terminal())
        bars = [
            "  10/1000 [                    ] loss 0",  # 39 letters
            " 999/1000 [=================== ] loss 0",
        ]
        self.assertEqual(text, "".join(f"\r{bar}\x1b[K" for bar in bars))

    def test_a_terminal_that_cannot_write_a_line_anew(self):
        with mock.patch.dict(os.environ, TERM="dumb"):
            text = self._shown([(1, 10)], stdout=Terminal())
        self.assertEqual(text, "step 10/1000: loss 0.5\n")

    def test_messages_begin_a_line(self):
        with contextlib.redirect_stdout(Terminal()) as out:
            with self.assertRaises(KeyboardInterrupt):
                with progress.Progress(4, 32, clock=self.clock) as shown:
                    shown.note("before")
                    shown.update(1, {})
                    shown.note("between")
                    shown.note("again")
                    shown.update(4, {})
                    raise KeyboardInterrupt
            print("after")
        lines = [line.rpartition("\r")[2] for line in out.getvalue().split("\n")]
        words = [line.partition(" ")[0] for line in lines]
        bars = ["1/4", "4/4"]
        self.assertEqual(
            words, ["before", bars[0], "between", "again", bars[1], "after", ""]
        )

    def test_a_bar_says_what_takes_time(self):
        with contextlib.redirect_stdout(Terminal()) as out:
            shown = progress.Progress(8, 32, clock=self.clock)
            shown.begin(4)
            shown.update(8, {"loss": 0.5})
            with shown.aside("evaluating"):
                pass
        said = [bar.partition("] ")[2] for bar in out.getvalue().split("\x1b[K")]
        self.assertEqual(
            said,
            ["compiling the first steps", "loss 0.5", "evaluating", "loss 0.5", ""],
        )

    def test_nothing_to_compile_after_the_last_step(self):
        with contextlib.redirect_stdout(Terminal()) as out:
            progress.Progress(8, 32).begin(8)
        self.assertEqual(out.getvalue(), "")

    def test_announcements_are_for_terminals(self):
        for stream, said in ((Terminal(), "Reading.\n"), (io.StringIO(), "")):
            with contextlib.redirect_stdout(stream):
                progress.announce("Reading.")
            self.assertEqual(stream.getvalue(), said)

    def test_disabled_it_is_silent(self):
        self.assertEqual(self._shown([(1, 10), (1, 1000)], enabled=False), "")


if __name__ == "__main__":
    tf.test.main()
