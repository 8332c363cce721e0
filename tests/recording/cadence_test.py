"""Tests of tfbn.recording.cadence."""

import tensorflow as tf
from absl.testing import parameterized

from tfbn.recording.cadence import Cadence


class CadenceTest(tf.test.TestCase, parameterized.TestCase):
    def test_linear(self):
        cadence = Cadence(3)
        self.assertEqual([s for s in range(10) if cadence.due(s)], [0, 3, 6, 9])
        self.assertEqual([cadence.next(s) for s in (0, 2, 3)], [3, 3, 6])

    def test_logarithmic(self):
        cadence = Cadence(10, "log")
        due = [s for s in range(500) if cadence.due(s)]
        expected = [*range(0, 200, 10), 200, 220, 240, 260, 280, 300, 330, 360, 390]
        self.assertEqual(due, [*expected, 420, 460])
        self.assertEqual([cadence.next(s) for s in (200, 219, 220)], [220, 220, 240])

    def test_logarithmic_steps_are_evenly_spaced_on_their_axis(self):
        cadence = Cadence(1, "log")
        steps = [cadence.next(1000)]
        while steps[-1] < 10_000:
            steps.append(cadence.next(steps[-1]))
        self.assertBetween(len(steps), 23, 26)
        ratios = [b / a for a, b in zip(steps, steps[1:], strict=False)]
        self.assertGreater(min(ratios), 1.099)
        self.assertLessEqual(max(ratios), 1.1)

    def test_asking_out_of_order_makes_no_difference(self):
        asked = Cadence(5, "log")
        asked.next(4000)
        fresh = Cadence(5, "log")
        for step in range(600):
            self.assertEqual(asked.due(step), fresh.due(step))

    @parameterized.parameters("linear", "log")
    def test_never(self, spacing):
        cadence = Cadence(0, spacing)
        self.assertFalse(cadence.due(0))
        self.assertIsNone(cadence.next(0))

    def test_bad_arguments(self):
        with self.assertRaisesRegex(ValueError, "every=-1"):
            Cadence(-1)
        with self.assertRaisesRegex(ValueError, "spacing='cubic'"):
            Cadence(1, "cubic")


if __name__ == "__main__":
    tf.test.main()
