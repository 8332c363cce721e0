"""Tests of tfbn.training.step; whole runs are in trainer_test."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn import data
from tfbn import layers
from tfbn.training.batch_sources import source_of
from tfbn.training.objective import Objective
from tfbn.training.step import Steps


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
        self.model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(4),
                layers.BatchRenorm(),
                keras.layers.Dropout(0.2, seed=1),
                keras.layers.Dense(3),
            ]
        )
        self.optimizer = optimizer or keras.optimizers.Adam(0.01)
        return _Steps(
            self.model, self.optimizer, _root, rows, targets, on_nonfinite=on_nonfinite
        )

    def _state(self):
        weights = [*self.model.weights, *self.optimizer.variables]
        names = {id(w) for w in weights}
        seeds = [v for v in self.model.variables if id(v) not in names]
        return [v.numpy() for v in weights], [v.numpy() for v in seeds]

    @parameterized.parameters("stop", "skip")
    def test_a_step_that_is_not_finite_changes_nothing(self, on_nonfinite):
        steps = self._network(on_nonfinite)
        steps.run(np.array([[0, 1, 2], [3, 4, 5]]))
        for row in (7, 8):
            weights, seeds = self._state()
            metrics = steps.run(np.array([[row, 9, 10]]))
            self.assertAllEqual(metrics["skipped"], [1.0])
            self.assertEqual(np.isfinite(metrics["loss"][0]), row == 8)
            now, seeds_now = self._state()
            for before, after in zip(weights, now, strict=True):
                self.assertAllEqual(before, after)
            # Stopped it can be looked at again; skipped it gets other noise.
            same = [np.array_equal(a, b) for a, b in zip(seeds, seeds_now, strict=True)]
            self.assertEqual(all(same), on_nonfinite == "stop")

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


class _Steps:
    """Steps on given examples."""

    def __init__(self, model, optimizer, loss, x, y, **options):
        self._sampler = mock.Mock(batch_size=3)
        source = source_of(data.ArrayBatches(x, y, self._sampler_of_rows([[0, 1, 2]])))
        objective = Objective(model, loss, (), *source.spec)
        self._steps = Steps(model, optimizer, objective, source, **options)

    def _sampler_of_rows(self, rows):
        self._sampler.indices = lambda step: np.asarray(rows[step])
        return self._sampler

    def run(self, rows):
        self._sampler_of_rows(rows)
        return self._steps.run(0, len(rows))


if __name__ == "__main__":
    tf.test.main()
