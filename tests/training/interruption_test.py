"""Tests of tfbn.training.interruption."""

import contextlib
import io
import os
import signal
import threading

import tensorflow as tf
from absl.testing import parameterized

from tfbn.training.interruption import Interruption


class InterruptionTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        # As in a program in the foreground, however the tests were started.
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            self.addCleanup(signal.signal, number, before)
            signal.signal(number, signal.default_int_handler)

    @parameterized.parameters(signal.SIGINT, signal.SIGTERM)
    def test_waits_until_it_is_asked_about(self, number):
        err = io.StringIO()
        with contextlib.redirect_stderr(err), self.assertRaises(BaseException) as end:
            with Interruption() as interruption:
                interruption.act(self.fail)
                os.kill(os.getpid(), number)
                self.assertEqual(interruption.signal, number)
                interruption.act(lambda: "Saved.")
        self.assertEqual(err.getvalue(), "Saved.\n")
        if number == signal.SIGINT:
            self.assertIsInstance(end.exception, KeyboardInterrupt)
        else:
            self.assertIsInstance(end.exception, SystemExit)
            self.assertEqual(end.exception.code, 143)

    def test_a_second_one_acts_at_once(self):
        with self.assertRaises(KeyboardInterrupt), Interruption():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            self.fail("went on")

    def test_handlers_are_as_before(self):
        with Interruption():
            self.assertNotEqual(
                signal.getsignal(signal.SIGINT), signal.default_int_handler
            )
        for number in (signal.SIGINT, signal.SIGTERM):
            self.assertEqual(signal.getsignal(number), signal.default_int_handler)

    def test_an_ignored_signal_stays_ignored(self):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            self.assertIsNone(interruption.signal)

    def test_in_another_thread(self):
        seen = []

        def run():
            with Interruption() as interruption:
                seen.append(interruption.signal)

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        self.assertEqual(seen, [None])


if __name__ == "__main__":
    tf.test.main()
