"""Tests of tfbn.diagnostics.loss_function."""

import numpy as np
import tensorflow as tf

import tfbn
from tfbn import diagnostics
from tfbn import models

# float32 sums in another order.
RTOL = 1e-5


def squared_error(y_true, y_pred):
    return 0.5 * tf.reduce_sum(tf.square(y_pred - y_true))


class LossFunctionTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        self.x, self.y = tf.unstack(tf.constant(rng.normal(size=(2, 6, 3)), tf.float32))
        self.weights = [w.astype("float32") for w in rng.normal(size=(2, 3, 3))]

    def test_value_and_gradient_at_given_parameters(self):
        model = models.deep_linear(depth=2, units=3)
        loss = diagnostics.LossFunction(model, squared_error)
        a, b = (w.astype("float64") for w in self.weights)
        x, y = self.x.numpy().astype("float64"), self.y.numpy().astype("float64")
        error = x @ a @ b - y
        value = loss(self.weights, [], self.x, self.y)
        self.assertAllClose(value, 0.5 * np.sum(error**2), rtol=RTOL)
        parameters = [tf.constant(w) for w in self.weights]
        gradients = loss.gradients(parameters, [], self.x, self.y)
        self.assertAllClose(gradients[0], x.T @ error @ b.T, rtol=RTOL, atol=RTOL)
        self.assertAllClose(gradients[1], (x @ a).T @ error, rtol=RTOL, atol=RTOL)
        (second,) = loss.gradients(parameters, [], self.x, self.y, indices=[1])
        self.assertAllEqual(second, gradients[1])

    def test_training_mode_takes_the_batch_statistics(self):
        model = models.deep_linear(depth=2, units=3, norm=tfbn.BatchNorm)
        state = diagnostics.snapshot(model)
        moved = self.x + 100.0  # which only inference, by its averages, can see
        values = {
            training: [
                float(
                    diagnostics.LossFunction(model, squared_error, training=training)(
                        *state, x, self.y
                    )
                )
                for x in (self.x, moved)
            ]
            for training in (True, False)
        }
        self.assertAllClose(values[True][0], values[True][1], rtol=1e-3)
        self.assertGreater(values[False][1], 10 * values[False][0])

    def test_parameter_without_influence_has_a_zero_gradient(self):
        model = models.deep_linear(depth=2, units=3)

        def constant(y_true, y_pred):
            return tf.reduce_sum(y_true)

        loss = diagnostics.LossFunction(model, constant)
        state = diagnostics.snapshot(model)
        for gradient in loss.gradients(*state, self.x, self.y):
            self.assertAllEqual(gradient, np.zeros((3, 3)))

    def test_snapshot_is_a_copy(self):
        model = models.deep_linear(depth=1, units=3)
        state = diagnostics.snapshot(model)
        before = model.get_weights()[0]
        model.trainable_variables[0].assign(before + 1.0)
        self.assertAllEqual(state.parameters[0], before)


if __name__ == "__main__":
    tf.test.main()
