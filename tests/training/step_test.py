"""Tests of tfbn.training.step; whole runs are in trainer_test."""

import keras
import numpy as np
import tensorflow as tf

from tfbn import data
from tfbn import models
from tfbn.training import step
from tfbn.training import task

# float32 steps in another order of sums.
RTOL = 1e-5


class StepsTest(tf.test.TestCase):
    def _steps(self, l2_penalty=0.0):
        self.dataset = data.gaussian(num_examples=50, units=4)
        self.model = models.deep_linear(1, 4, l2_penalty=l2_penalty)
        self.optimizer = keras.optimizers.SGD(1e-3)
        return step.Steps(
            self.model, self.optimizer, task.task_of(self.dataset), self.dataset
        )

    def test_each_row_is_a_step_on_those_examples(self):
        steps = self._steps(l2_penalty=0.5)
        kernel = self.model.get_weights()[0].astype("float64")
        indices = np.array([[0, 1, 2], [7, 7, 9]])
        losses = []
        for row in indices:
            x, y = (
                part[row].astype("float64")
                for part in (self.dataset.train.inputs, self.dataset.train.targets)
            )
            error = x @ kernel - y
            losses.append(0.5 * np.sum(error**2) + 0.5 * np.sum(kernel**2))
            kernel -= 1e-3 * (x.T @ error + kernel)
        self.assertAllClose(steps.run(indices)["loss"], losses, rtol=RTOL)
        self.assertAllClose(self.model.get_weights()[0], kernel, rtol=RTOL, atol=1e-7)
        self.assertEqual(int(self.optimizer.iterations), 2)

    def test_batch_is_standardized(self):
        images = data.shapes(num_train=30, num_test=10)
        steps = step.Steps(
            models.mlp(hidden_units=(2,), input_shape=(32, 32, 3)),
            keras.optimizers.SGD(0.1),
            task.task_of(images),
            images,
        )
        x, y = steps.batch(np.array([3, 0]))
        pixels = images.train.inputs[[3, 0]].astype("float64")
        self.assertAllClose(x, (pixels - images.mean) / images.stddev, rtol=1e-4)
        self.assertAllEqual(y, images.train.targets[[3, 0]])

    def test_sum_of_a_split_does_not_depend_on_the_batch_size(self):
        steps = self._steps()
        error = self.dataset.test.inputs @ self.model.get_weights()[0]
        error = error.astype("float64") - self.dataset.test.targets
        for batch_size in (50, 16):
            loss = steps.evaluate(batch_size)["loss"]
            self.assertAllClose(loss, 0.5 * np.sum(error**2), rtol=1e-4)

    def test_evaluation_changes_nothing(self):
        steps = self._steps()
        before = [v.numpy() for v in self.model.variables]
        steps.evaluate(20)
        for value, variable in zip(before, self.model.variables, strict=True):
            self.assertAllEqual(value, variable.numpy())


if __name__ == "__main__":
    tf.test.main()
