"""Tests of tfbn.diagnostics.progress."""

import tensorflow as tf

from tfbn.diagnostics import progress


class ProgressTest(tf.test.TestCase):
    def test_the_innermost_listener_hears(self):
        heard, inner = [], []
        progress.report(1, 2)  # nobody listens
        with progress.listening(lambda *parts: heard.append(parts)):
            progress.report(1, 2)
            with progress.listening(lambda *parts: inner.append(parts)):
                progress.report(3, 4)
            progress.report(2, 2)
        progress.report(5, 6)
        self.assertEqual((heard, inner), ([(1, 2), (2, 2)], [(3, 4)]))

    def test_stops_listening_after_an_error(self):
        heard = []
        with self.assertRaisesRegex(ValueError, "stop"):
            with progress.listening(lambda *parts: heard.append(parts)):
                raise ValueError("stop")
        progress.report(1, 2)
        self.assertEmpty(heard)


if __name__ == "__main__":
    tf.test.main()
