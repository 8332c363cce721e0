"""Tests of tfbn.experiment.task."""

import numpy as np
import tensorflow as tf

from tfbn import data
from tfbn.experiment import task


class TaskTest(tf.test.TestCase):
    def test_mean_cross_entropy(self):
        logits = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]])
        labels = np.array([0, 2])
        log_sum = np.log(np.sum(np.exp(logits), axis=1))
        expected = np.mean(log_sum - logits[[0, 1], labels])
        self.assertAllClose(task.mean_cross_entropy(labels, logits), expected)

    def test_cross_entropy_of_probabilities(self):
        dataset = data.shapes(num_train=20, num_test=20)
        probabilities = tf.constant([[0.25, 0.75], [0.1, 0.9]])
        labels = np.array([0, 1])
        right = task.task_of(dataset, probabilities=True)
        expected = -np.mean(np.log([0.25, 0.9]))
        self.assertAllClose(right.loss(labels, probabilities), expected)
        # What the same network gives as logits.
        logits = task.task_of(dataset).loss(labels, tf.math.log(probabilities))
        self.assertAllClose(logits, expected)
        taken_for_logits = task.task_of(dataset).loss(labels, probabilities)
        self.assertNotAllClose(taken_for_logits, expected, rtol=0.01)
        self.assertEqual((right.accuracy, right.loss_is_sum), (task.accuracy, False))

    def test_probabilities_mean_nothing_to_a_regression(self):
        dataset = data.gaussian(num_examples=20)
        regression = task.task_of(dataset, probabilities=True)
        self.assertIs(regression.loss, task.half_squared_error)

    def test_half_squared_error_is_a_sum(self):
        y_pred = tf.constant([[1.0, 2.0], [3.0, 5.0]])
        y_true = np.array([[0.0, 2.0], [1.0, 1.0]])
        expected = 0.5 * (1 + 0 + 4 + 16)
        self.assertAllClose(task.half_squared_error(y_true, y_pred), expected)

    def test_accuracy(self):
        logits = tf.constant([[2.0, 1.0], [0.0, 3.0], [5.0, 1.0], [1.0, 0.0]])
        self.assertAllClose(task.accuracy(tf.constant([0, 1, 1, 0]), logits), 0.75)

    def test_task_of_a_data_set(self):
        images = task.task_of(data.shapes(num_train=20, num_test=20))
        self.assertEqual((images.accuracy, images.loss_is_sum), (task.accuracy, False))
        regression = task.task_of(data.gaussian(num_examples=20))
        self.assertEqual((regression.accuracy, regression.loss_is_sum), (None, True))


if __name__ == "__main__":
    tf.test.main()
