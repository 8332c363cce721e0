"""Tests of tfbn.callbacks.due_steps, without a fit."""

import keras
import tensorflow as tf

from tfbn.callbacks.due_steps import DueSteps
from tfbn.recording.cadence import Cadence


class DueStepsTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        self.model.compile(keras.optimizers.SGD(0.1))
        self.measured = []
        self.due = DueSteps(Cadence(3), self.measured.append)
        self.due.start(self.model)

    def _update(self):
        self.model.optimizer.iterations.assign_add(1)

    def test_begins_with_the_first_batch_of_a_step(self):
        kernel = self.model.layers[0].kernel
        for value in (1.0, 2.0):  # whose gradients are accumulated
            kernel.assign([[value]])
            self.due.begin()
            self.due.end()
        self._update()
        self.due.end()
        (begin,) = self.measured
        self.assertEqual(begin.step, 0)
        self.assertAllEqual(begin.state.parameters[0], [[1.0]])

    def test_begins_anew_where_there_was_no_batch(self):
        """An epoch of unknown length ends so, and the next one may change the rate."""
        self.due.begin()
        self.model.optimizer.learning_rate = 0.2
        self.due.begin()
        self._update()
        self.due.end()
        self.assertAllClose(self.measured[0].learning_rate, 0.2)

    def test_within(self):
        found = []
        for _ in range(4):
            found.append([self.due.within(batches) for batches in (1, 2, 3)])
            self._update()
        never = [False] * 3
        expected = [[True] * 3, [*never[:2], True], [False, True, True], [True] * 3]
        self.assertEqual(found, expected)
        self.due.begin()  # of step 4, which is not due
        self.assertFalse(self.due.within(1))
        self.model.optimizer.iterations.assign(6)
        self.due.begin()
        self._update()
        self.assertTrue(self.due.within(1))  # its end


if __name__ == "__main__":
    tf.test.main()
