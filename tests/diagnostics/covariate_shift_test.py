"""Tests of tfbn.diagnostics.covariate_shift, against a naive implementation.

The naive one sets the weights of the live model and takes eager gradients; on a deep
linear network there are closed forms too.
"""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import diagnostics
from tfbn import models

# float32 gradients summed in another order.
RTOL = 1e-4
LEARNING_RATE = 0.05


def squared_error(y_true, y_pred):
    return 0.5 * tf.reduce_sum(tf.square(y_pred - tf.cast(y_true, y_pred.dtype)))


def cross_entropy(y_true, y_pred):
    return tf.reduce_mean(
        keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
    )


class CovariateShiftTest(tf.test.TestCase, parameterized.TestCase):
    def test_closed_form_on_two_linear_layers(self):
        # L = |x A B - y|^2 / 2, so dL/dB = (xA)'(xAB - y): with A' = A - lr dL/dA.
        model = models.deep_linear(depth=2, units=3)
        rng = np.random.default_rng(1)
        x, y = rng.normal(size=(2, 6, 3)).astype("float32")
        a, b = (w.astype("float64") for w in model.get_weights())
        error = x @ a @ b - y
        a_after = a - LEARNING_RATE * x.T @ error @ b.T
        before = (x @ a).T @ error
        after = (x @ a_after).T @ (x @ a_after @ b - y)
        first, second = diagnostics.internal_covariate_shift(
            model, squared_error, x, y, learning_rate=LEARNING_RATE
        )
        self.assertEqual((first.name, second.name), ("linear1", "linear2"))
        self.assertEqual(first.distance, 0.0)
        self.assertAllClose(second.distance, np.linalg.norm(before - after), rtol=RTOL)
        self.assertAllClose(second.norm, np.linalg.norm(before), rtol=RTOL)
        self.assertAllClose(second.norm_after, np.linalg.norm(after), rtol=RTOL)
        cosine = np.sum(before * after) / np.linalg.norm(before) / np.linalg.norm(after)
        self.assertAllClose(second.cosine, cosine, rtol=RTOL)

    @parameterized.named_parameters(
        ("none", None),
        ("batch_norm", tfbn.BatchNorm),
        ("batch_renorm", lambda: tfbn.BatchRenorm(rmax=2.0, dmax=0.5)),
        ("l1", tfbn.LpBatchNorm),
    )
    def test_equals_the_naive_implementation(self, norm):
        keras.utils.set_random_seed(2)
        model = models.mlp(hidden_units=(6, 5, 4), norm=norm, input_shape=(8,))
        x, y = _classification_batch()
        for _ in range(3):  # averages that are not the initial ones
            model(x + 0.5, training=True)
        shifts = diagnostics.internal_covariate_shift(
            model, cross_entropy, x, y, learning_rate=LEARNING_RATE
        )
        expected = _naive(model, x, y, group_size=2 if norm is None else 3)
        self.assertEqual(
            [s.name for s in shifts], ["dense1", "dense2", "dense3", "logits"]
        )
        for shift, (before, after) in zip(shifts, expected, strict=True):
            distance = np.linalg.norm(before - after)
            self.assertAllClose(shift.distance, distance, rtol=RTOL, atol=1e-6)
            self.assertAllClose(shift.norm_after, np.linalg.norm(after), rtol=RTOL)

    def test_noise_is_the_same_in_both_gradients(self):
        model = models.mlp(
            hidden_units=(6, 5),
            input_shape=(8,),
            norm=lambda: tfbn.NoisyBatchNorm(seed=3),
        )
        x, y = _classification_batch()
        # A step of next to nothing: only other noise could part G and G'.
        shifts = diagnostics.internal_covariate_shift(
            model, cross_entropy, x, y, learning_rate=1e-9
        )
        for shift in shifts:
            self.assertLess(shift.distance, 1e-5 * shift.norm)
            self.assertAllClose(shift.cosine, 1.0, rtol=1e-5)

    def test_nothing_changes(self):
        model = models.mlp(
            hidden_units=(6, 5),
            input_shape=(8,),
            norm=lambda: tfbn.NoisyBatchNorm(seed=3),
        )
        x, y = _classification_batch()
        model(x, training=True)
        before = [v.numpy().copy() for v in model.variables]
        diagnostics.internal_covariate_shift(
            model, cross_entropy, x, y, learning_rate=LEARNING_RATE
        )
        for value, variable in zip(before, model.variables, strict=True):
            self.assertAllEqual(value, variable.numpy())

    def test_regularizers_count_as_loss(self):
        penalized = models.deep_linear(depth=1, units=2, l2_penalty=0.25)
        x = np.zeros((4, 2), "float32")
        (shift,) = diagnostics.internal_covariate_shift(
            penalized, squared_error, x, x, learning_rate=0.1
        )
        kernel = penalized.get_weights()[0]
        self.assertAllClose(shift.norm, 2 * 0.25 * np.linalg.norm(kernel), rtol=RTOL)

    def test_given_update_is_used(self):
        model = models.deep_linear(depth=2, units=3)
        x = np.random.default_rng(4).normal(size=(6, 3)).astype("float32")
        meter = diagnostics.CovariateShiftMeter(model, squared_error)
        state = diagnostics.snapshot(model)
        doubled = [2.0 * p for p in state.parameters]
        _, second = meter(state, doubled, tf.constant(x), tf.zeros_like(x))
        # With y = 0, dL/dB = (xA)'xAB: quadratic in A.
        self.assertAllClose(second.norm_after, 4.0 * second.norm, rtol=RTOL)
        self.assertAllClose(second.cosine, 1.0, rtol=RTOL)

    def test_second_measurement_does_not_trace_again(self):
        model = models.deep_linear(depth=2, units=3)
        meter = diagnostics.CovariateShiftMeter(model, squared_error)
        state, x = diagnostics.snapshot(model), tf.ones((4, 3))
        for _ in range(3):
            meter(state, state.parameters, x, x)
        self.assertEqual(meter._measure.experimental_get_tracing_count(), 1)

    @parameterized.parameters(0.0, -1.0, float("nan"))
    def test_learning_rate_must_be_positive(self, learning_rate):
        model, x = models.deep_linear(depth=1, units=2), np.zeros((3, 2), "float32")
        with self.assertRaisesRegex(ValueError, f"learning_rate={learning_rate}"):
            diagnostics.internal_covariate_shift(
                model, squared_error, x, x, learning_rate=learning_rate
            )


def _classification_batch():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(16, 8)).astype("float32")
    return x, rng.integers(0, 10, 16)


def _naive(model, x, y, group_size):
    """G and G' of each layer, flattened, by setting the live model's weights."""
    initial = [v.numpy().copy() for v in model.variables]

    def gradient_at(weights):
        for variable, value in zip(model.variables, initial, strict=True):
            variable.assign(value)
        for variable, value in zip(model.trainable_variables, weights, strict=True):
            variable.assign(value)
        with tf.GradientTape() as tape:
            loss = cross_entropy(y, model(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        return [g.numpy() for g in gradients]

    weights = [v.numpy().copy() for v in model.trainable_variables]
    gradient = gradient_at(weights)
    updated = [w - LEARNING_RATE * g for w, g in zip(weights, gradient, strict=True)]
    pairs, begin = [], 0
    while begin < len(weights):
        end = min(begin + group_size, len(weights))
        after = gradient_at(updated[:begin] + weights[begin:])
        pairs.append(tuple(_flat(g[begin:end]) for g in (gradient, after)))
        begin = end
    return pairs


def _flat(arrays):
    return np.concatenate([a.ravel() for a in arrays]).astype("float64")


if __name__ == "__main__":
    tf.test.main()
