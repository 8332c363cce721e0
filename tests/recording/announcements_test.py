"""Tests of tfbn.recording.announcements."""

from unittest import mock

import tensorflow as tf

from tfbn.diagnostics import Meter
from tfbn.diagnostics import progress
from tfbn.diagnostics.measurement import Cost
from tfbn.recording import announcements
from tfbn.recording.cadence import Cadence
from tfbn.recording.watching import Watch


class _Meter(Meter):
    cost = Cost(2.25, 0)

    def measure(self, step):
        return {}


class AnnouncementsTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.watch, self.said = Watch("example", _Meter(), Cadence(4), []), []

    def _measure(self, times):
        announcer = announcements.Announcer(self.said.append)
        clock = mock.Mock(side_effect=times)
        with mock.patch.object(announcements.time, "perf_counter", clock):
            with announcer.measuring(self.watch, 8):
                for done in (1, 2, 3):
                    progress.report(done, 3)

    def test_a_first_measurement(self):
        # Begin; three reports, of which the second comes after a while; end.
        self._measure([100.0, 109.0, 111.0, 125.0, 125.5])
        self.assertEqual(
            self.said,
            [
                "Measuring example at step 8: about 2.2 forward and backward passes, "
                "and the first time as much again or more for tracing.",
                "Measuring example: 2 of 3, 11 s.",
                "Measured example in 25.5 s.",
            ],
        )

    def test_later_measurements_tell_their_progress_only(self):
        self.watch.seconds.append(1.0)
        self._measure([100.0, 112.0, 113.0, 130.0])
        self.assertEqual(self.said, ["Measuring example: 1 of 3, 12 s."])

    def test_nothing_to_measure(self):
        announcer = announcements.Announcer(self.said.append)
        with announcer.measuring(self.watch, 0):
            announcer.nothing("example", "no layers")
        self.assertEqual(self.said[1:], ["Nothing to measure for example: no layers."])

    def test_summary(self):
        watches = [self.watch]
        self.assertEqual(announcements.summary(watches, 0, range(5, 5)), [])
        (line,) = announcements.summary(watches, 0, range(5, 7))
        self.assertEqual(
            line,
            "Measured nothing in the 2 steps from 5 to 6: with every=4, the next "
            "measurement is due at step 8. Steps count on from fit to fit.",
        )
        self.watch.seconds.append(1.0)
        (line,) = announcements.summary(watches, 0, range(5, 9))
        self.assertStartsWith(line, "Measured example 1 times")
        # None in this run, although there was one before.
        (line,) = announcements.summary(watches, 1, range(9, 10))
        self.assertStartsWith(line, "Measured nothing in the 1 steps from 9 to 9")


if __name__ == "__main__":
    tf.test.main()
