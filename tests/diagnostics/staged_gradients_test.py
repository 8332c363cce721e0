"""Tests of tfbn.diagnostics.staged_gradients; see also covariate_shift_test."""

import keras
import numpy as np
import tensorflow as tf

from tests.testing_utils import squared_error
from tfbn import diagnostics
from tfbn import models
from tfbn.diagnostics.staged_gradients import StagedGradients

RTOL = 1e-4


class StagedGradientsTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        keras.utils.set_random_seed(0)
        self.traced = 0
        self.model = models.deep_linear(depth=3, units=3)
        rng = np.random.default_rng(1)
        self.x, self.y = rng.normal(size=(2, 6, 3)).astype("float32")
        self.state = diagnostics.snapshot(self.model)

        def loss(y_true, y_pred):
            self.traced += 1
            return squared_error(y_true, y_pred)

        self.groups = diagnostics.layer_groups(self.model)
        self.staged = StagedGradients(
            diagnostics.LossFunction(self.model, loss), self.groups
        )

    def _expected(self, weights, size):
        """Gradients of |x A B C - y|^2 / 2 in float64, of the first examples."""
        a, b, c = (np.asarray(w, "float64") for w in weights)
        x, y = self.x[:size], self.y[:size]
        error = x @ a @ b @ c - y
        return [
            x.T @ error @ c.T @ b.T,
            (x @ a).T @ error @ c.T,
            (x @ a @ b).T @ error,
        ]

    def test_gradients_as_groups_are_updated(self):
        old = self.state.parameters
        new = [2.0 * p + 0.1 for p in old]
        point = self.staged.at(self.state, tf.constant(self.x), tf.constant(self.y))
        for found, expected in zip(
            point.gradients(), self._expected(old, 6), strict=True
        ):
            self.assertAllClose(found, expected, rtol=RTOL, atol=1e-5)
        second, third = point.after_updates(new)
        self.assertAllClose(
            second[0], self._expected([new[0], *old[1:]], 6)[1], rtol=RTOL, atol=1e-5
        )
        self.assertAllClose(
            third[0], self._expected([*new[:2], old[2]], 6)[2], rtol=RTOL, atol=1e-5
        )

    def test_batches_of_other_sizes(self):
        for size in (6, 4, 3, 6):
            batch = tf.constant(self.x[:size]), tf.constant(self.y[:size])
            found = self.staged.at(self.state, *batch).gradients()
            expected = self._expected(self.state.parameters, size)
            for one, other in zip(found, expected, strict=True):
                self.assertAllClose(one, other, rtol=RTOL, atol=1e-5)
        self.assertLessEqual(self.traced, 2)

    def test_one_trace_for_all_groups_states_and_sizes_of_a_dataset(self):
        dataset = tf.data.Dataset.from_tensor_slices((self.x, self.y)).batch(4)
        for state in (
            self.state,
            self.state._replace(parameters=[2.0 * p for p in self.state.parameters]),
        ):
            point = self.staged.at(state, dataset, None)
            expected = [  # of a sum, whose mean over batches of 4 and 2 this is
                (4 * first + 2 * (whole - first)) / 6
                for first, whole in zip(
                    self._expected(state.parameters, 4),
                    self._expected(state.parameters, 6),
                    strict=True,
                )
            ]
            for found, value in zip(point.gradients(), expected, strict=True):
                self.assertAllClose(found, value, rtol=RTOL, atol=1e-4)
            self.assertLen(list(point.after_updates(state.parameters)), 2)
        self.assertEqual(self.traced, 1)

    def test_no_point_for_variables_outside_the_state(self):
        factor = tf.Variable(2.0)
        staged = StagedGradients(
            diagnostics.LossFunction(
                self.model, lambda y, p: factor * squared_error(y, p)
            ),
            self.groups,
        )
        batch = tf.constant(self.x), tf.constant(self.y)
        self.assertIsNone(staged.at(self.state, *batch))
        # Which the meter then measures in one graph.
        meter = diagnostics.CovariateShiftMeter(
            self.model, lambda y, p: factor * squared_error(y, p)
        )
        plain = diagnostics.CovariateShiftMeter(self.model, squared_error)
        updated = [1.1 * p for p in self.state.parameters]
        for one, two in zip(
            meter(self.state, updated, *batch),
            plain(self.state, updated, *batch),
            strict=True,
        ):
            self.assertAllClose(one.distance, 2.0 * two.distance, rtol=RTOL)


if __name__ == "__main__":
    tf.test.main()
