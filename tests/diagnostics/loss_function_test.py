"""Tests of tfbn.diagnostics.loss_function."""

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tests import testing_utils
from tests.testing_utils import squared_error
from tfbn import diagnostics
from tfbn import models

# float32 sums in another order.
RTOL = 1e-5


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

    def test_subclassed_models_need_not_pass_the_mode_on(self):
        for model in (TrainingLeftOut(), _TrainingIgnored()):
            model(self.x)
            value = diagnostics.LossFunction(model, lambda _, p: tf.reduce_sum(p**2))(
                *diagnostics.snapshot(model), self.x, self.y
            )
            # Of 6 x 3 standardized values; the averages would not standardize.
            self.assertAllClose(value, 18.0, rtol=0.01)

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

    def test_value_comes_with_the_gradients(self):
        model = models.deep_linear(depth=2, units=3)
        loss = diagnostics.LossFunction(model, squared_error)
        state = diagnostics.snapshot(model)
        value, gradients = loss.value_and_gradients(*state, self.x, self.y)
        self.assertAllEqual(value, loss(*state, self.x, self.y))
        self.assertAllEqual(gradients, loss.gradients(*state, self.x, self.y))

    def test_gradient_of_an_embedding_is_dense(self):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Embedding(5, 3)])
        loss = diagnostics.LossFunction(model, lambda _, p: tf.reduce_sum(p))
        x = tf.constant([[1, 3], [1, 1]])
        (gradient,) = loss.gradients(*diagnostics.snapshot(model), x, x)
        self.assertAllEqual(gradient[:, 0], [0.0, 3.0, 0.0, 1.0, 0.0])

    def test_structures_of_inputs(self):
        a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
        dense = keras.layers.Dense(2, use_bias=False)
        model = keras.Model({"a": a, "b": b}, {"sum": dense(a + b), "a": dense(a)})

        def loss(y, outputs):
            return tf.reduce_sum(outputs["sum"]) + y[0] * tf.reduce_sum(outputs["a"])

        value = diagnostics.LossFunction(model, loss)(
            *diagnostics.snapshot(model), {"a": self.x, "b": self.y}, (3.0,)
        )
        kernel = model.get_weights()[0]
        expected = np.sum((4.0 * self.x + self.y) @ kernel)
        self.assertAllClose(value, expected, rtol=RTOL, atol=RTOL)

    def test_half_precision_gives_float32(self):
        model = keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(3, dtype="mixed_float16")]
        )

        def loss(y_true, y_pred):
            # Gradients of 1e-7, which float16 would round to one or two digits.
            return 1e-7 * tf.reduce_sum(tf.cast(y_pred, tf.float32))

        value, gradients = diagnostics.LossFunction(model, loss).value_and_gradients(
            *diagnostics.snapshot(model), self.x, self.y
        )
        self.assertEqual(value.dtype, tf.float32)
        self.assertEqual(gradients[0].dtype, tf.float32)
        self.assertAllClose(gradients[1], [6e-7] * 3, rtol=2e-3, atol=0.0)

    def test_loss_must_be_a_scalar(self):
        model = models.deep_linear(depth=1, units=3)
        loss = diagnostics.LossFunction(model, lambda t, p: tf.square(t - p))
        with self.assertRaisesRegex(ValueError, r"scalar. Received: .*\(6, 3\)"):
            loss(*diagnostics.snapshot(model), self.x, self.y)

    def test_batch_must_fit_the_model(self):
        model = models.deep_linear(depth=1, units=3, name="linear")
        loss = diagnostics.LossFunction(model, squared_error)
        wrong = tf.ones((6, 4))
        with self.assertRaisesRegex(ValueError, r"model linear takes.*shape \(6, 4\)"):
            loss(*diagnostics.snapshot(model), wrong, self.y)

    def test_targets_must_fit_the_loss(self):
        model = models.deep_linear(depth=1, units=3)
        loss = diagnostics.LossFunction(model, squared_error)
        wrong = tf.ones((6, 4))
        with self.assertRaisesRegex(
            ValueError, r"y of shape \(6, 4\), outputs of shape \(6, 3\)"
        ):
            loss(*diagnostics.snapshot(model), self.x, wrong)

    def test_model_must_be_built_and_trainable(self):
        model = keras.Sequential([keras.layers.Dense(3)], name="unbuilt")
        with self.assertRaisesRegex(ValueError, "Received: unbuilt, which is not"):
            diagnostics.LossFunction(model, squared_error)
        model.build((None, 3))
        model.trainable = False
        with self.assertRaisesRegex(ValueError, "Received: unbuilt with none"):
            diagnostics.LossFunction(model, squared_error)

    def test_within_the_scope_of_a_strategy_the_loss_is_whole(self):
        mse = keras.losses.MeanSquaredError()
        with testing_utils.two_cpus_strategy().scope():
            model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
            loss = diagnostics.LossFunction(model, mse)
            state = diagnostics.snapshot(model)
            zeros = [tf.zeros_like(p) for p in state.parameters]
            value = loss(zeros, state.buffers, tf.ones([4, 2]), 3.0 * tf.ones([4, 1]))
        self.assertAllClose(value, 9.0)


@keras.saving.register_keras_serializable("tfbn_tests")
class TrainingLeftOut(keras.Model):
    def __init__(self):
        super().__init__()
        self.norm = tfbn.BatchNorm(epsilon=1e-6)

    def call(self, x, training=None):
        return self.norm(x)


@keras.saving.register_keras_serializable("tfbn_tests")
class _TrainingIgnored(TrainingLeftOut):
    def call(self, x):
        return self.norm(x)


if __name__ == "__main__":
    tf.test.main()
