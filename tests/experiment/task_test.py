"""Tests of tfbn.experiment.task."""

import numpy as np
import tensorflow as tf

from tfbn import data
from tfbn.experiment import task


class TaskTest(tf.test.TestCase):
    def test_cross_entropy_of_logits_and_of_probabilities(self):
        dataset = data.shapes(num_train=20, num_test=20)
        probabilities = np.array([[0.25, 0.75], [0.1, 0.9]])
        labels = np.array([0, 1])
        expected = -np.mean(np.log([0.25, 0.9]))
        of_probabilities = task.task_of(dataset, probabilities=True)
        self.assertAllClose(of_probabilities.loss(labels, probabilities), expected)
        of_logits = task.task_of(dataset)
        logits = np.log(probabilities) + [[3.0], [-2.0]]  # a softmax ignores shifts
        self.assertAllClose(of_logits.loss(labels, logits), expected)
        self.assertEqual(of_logits.metrics, ["accuracy"])

    def test_half_squared_error_is_a_sum_in_the_precision_of_the_outputs(self):
        dataset = data.gaussian(num_examples=20)
        regression = task.task_of(dataset, probabilities=True)  # which means nothing
        y_pred = tf.constant([[1.0, 2.0], [3.0, 5.0]], tf.float64)
        y_true = np.array([[0.0, 2.0], [1.0, 1.0]], np.float32)
        loss = regression.loss(y_true, y_pred)
        self.assertAllEqual(loss, 0.5 * (1 + 0 + 4 + 16))
        self.assertEqual(loss.dtype, tf.float64)
        self.assertEqual((regression.loss.reduction, regression.metrics), ("sum", []))


if __name__ == "__main__":
    tf.test.main()
