"""Tests of tfbn.training.step; whole runs are in trainer_test."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn import data
from tfbn import layers
from tfbn import models
from tfbn.experiment import task
from tfbn.training import step

# float32 steps in another order of sums.
RTOL = 1e-5


def _root(y_true, y_pred):
    """Where a target is 0 the loss is 0, and its gradient is not finite."""
    return tf.sqrt(tf.reduce_prod(y_true) * tf.reduce_sum(tf.square(y_pred)))


class StepsTest(tf.test.TestCase, parameterized.TestCase):
    def _network(self, on_nonfinite, optimizer=None):
        """Steps of a network with averages, a schedule's step, seeds and slots."""
        rows = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
        rows[7] = np.nan
        targets = np.full_like(rows, 2.0)
        targets[8] = 0.0
        split = data.Split(rows, targets, None)
        mean, stddev = np.zeros(3, np.float32), np.ones(3, np.float32)
        dataset = data.Dataset("rows", split, split, None, mean, stddev)
        self.model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(4),
                layers.BatchRenorm(),
                layers.NoisyBatchNorm(seed=1),
                keras.layers.Dense(3),
            ]
        )
        self.optimizer = optimizer or keras.optimizers.Adam(0.01)
        return step.Steps(
            self.model,
            self.optimizer,
            task.Task(_root, None, True),
            dataset,
            on_nonfinite=on_nonfinite,
        )

    def _state(self):
        weights = [*self.model.weights, *self.optimizer.variables]
        names = {id(w) for w in weights}
        seeds = [v for v in self.model.variables if id(v) not in names]
        return [v.numpy() for v in weights], [v.numpy() for v in seeds]

    @parameterized.product(row=(7, 8), on_nonfinite=("stop", "skip"))
    def test_a_step_that_is_not_finite_changes_nothing(self, row, on_nonfinite):
        steps = self._network(on_nonfinite)
        steps.run(np.array([[0, 1, 2], [3, 4, 5]]))
        weights, seeds = self._state()
        metrics = steps.run(np.array([[row, 9, 10]]))
        self.assertAllEqual(metrics["skipped"], [1.0])
        self.assertEqual(np.isfinite(metrics["loss"][0]), row == 8)
        now, seeds_now = self._state()
        for before, after in zip(weights, now, strict=True):
            self.assertAllEqual(before, after)
        # Stopped it can be looked at again; skipped it gets other noise.
        same = all(np.array_equal(a, b) for a, b in zip(seeds, seeds_now, strict=True))
        self.assertEqual(same, on_nonfinite == "stop")

    def test_stop_makes_no_further_step(self):
        steps = self._network("stop")
        metrics = steps.run(np.array([[0, 1, 2], [7, 4, 5], [3, 4, 5], [3, 4, 6]]))
        self.assertAllEqual(metrics["skipped"], [0.0, 1.0])
        self.assertEqual(int(self.optimizer.iterations), 1)
        self.assertTrue(np.isnan(metrics["loss"][1]))

    def test_skip_goes_on(self):
        steps = self._network("skip")
        metrics = steps.run(np.array([[0, 1, 2], [7, 4, 5], [3, 4, 5]]))
        self.assertAllEqual(metrics["skipped"], [0.0, 1.0, 0.0])
        self.assertEqual(int(self.optimizer.iterations), 2)
        self.assertEqual(int(self.model.layers[1].step), 2)
        self.assertAllInSet([np.all(np.isfinite(w)) for w in self._state()[0]], [True])

    def test_looking_changes_no_finite_step(self):
        states = []
        for on_nonfinite in ("ignore", "skip", "stop"):
            keras.utils.set_random_seed(0)
            steps = self._network(on_nonfinite)
            steps.run(np.array([[0, 1, 2], [3, 4, 5], [9, 10, 11]]))
            states.append(self._state())
        for other in states[1:]:
            for one, two in zip(states[0], other, strict=True):
                self.assertAllClose(one, two, rtol=0.0, atol=0.0)

    def test_a_loss_scale_looks_at_gradients_itself(self):
        scale = keras.optimizers.LossScaleOptimizer(
            keras.optimizers.SGD(0.1), initial_scale=2.0**127
        )
        steps = self._network("stop", scale)
        metrics = steps.run(np.array([[0, 1, 2], [3, 4, 5]]) + 10)
        self.assertAllEqual(metrics["skipped"], [0.0, 0.0])
        self.assertLess(float(scale.dynamic_scale), 2.0**127)
        self.assertAllEqual(steps.run(np.array([[7, 1, 2]]))["skipped"], [1.0])

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
