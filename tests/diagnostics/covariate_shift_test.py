"""Tests of tfbn.diagnostics.covariate_shift, against a naive implementation.

The naive one sets the weights of the live model and takes eager gradients; on a deep
linear network there are closed forms too.
"""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tests.testing_utils import live_gradients
from tests.testing_utils import squared_error
from tfbn import diagnostics
from tfbn import models

# float32 gradients summed in another order.
RTOL = 1e-4
LEARNING_RATE = 0.05


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

    @parameterized.parameters(False, True)
    def test_closed_form_of_kernels_alone(self, jit_compile):
        rng = np.random.default_rng(2)
        first, second = keras.layers.Dense(3), keras.layers.Dense(2, use_bias=True)
        model = keras.Sequential([keras.Input((4,)), first, second])
        model.set_weights([rng.normal(size=w.shape) for w in model.get_weights()])
        a, bias, b, offset = (w.astype("float64") for w in model.get_weights())
        x, y = (rng.normal(size=(5, n)).astype("float32") for n in (4, 2))

        def gradients(a, bias):
            """Those of the second layer's kernel and bias, and of its inputs."""
            h = x @ a + bias
            error = h @ b + offset - y
            return h.T @ error, error.sum(axis=0), error @ b.T

        before = gradients(a, bias)
        dh = before[2]
        after = gradients(a - 0.1 * x.T @ dh, bias - 0.1 * dh.sum(axis=0))
        meter = diagnostics.CovariateShiftMeter(
            model, squared_error, update="sgd", kernels=True, jit_compile=jit_compile
        )
        state = diagnostics.snapshot(model)
        batch = tf.constant(x), tf.constant(y)
        step = diagnostics.TrainingStep(0, state, state, batch, None, None, 0.1)
        found = meter.measure(step)["ics"]["layers"][1]
        squares = [
            np.sum((p - q) ** 2) for p, q in zip(before[:2], after, strict=False)
        ]
        self.assertAllClose(found["kernel_distance"] ** 2, squares[0], rtol=RTOL)
        self.assertAllClose(found["distance"] ** 2, sum(squares), rtol=RTOL)
        norms = [np.linalg.norm(kernel) for kernel in (before[0], after[0])]
        cosine = np.sum(before[0] * after[0]) / np.prod(norms)
        self.assertAllClose(found["kernel_cosine"], cosine, rtol=RTOL)
        self.assertAllClose(found["kernel_norm"], norms[0], rtol=RTOL)
        self.assertAllClose(found["kernel_norm_after"], norms[1], rtol=RTOL)

    def test_noise_is_the_same_in_both_gradients(self):
        model = models.mlp(
            hidden_units=(6,),
            input_shape=(8,),
            norm=lambda: tfbn.NoisyBatchNorm(seed=3),
        )
        x, y = classification_batch((8,), 10)
        # A step of next to nothing: only other noise could part G and G'.
        shifts = diagnostics.internal_covariate_shift(
            model, cross_entropy, x, y, learning_rate=1e-9
        )
        for shift in shifts:
            self.assertLess(shift.distance, 1e-5 * shift.norm)
            self.assertAllClose(shift.cosine, 1.0, rtol=1e-5)

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

    @parameterized.named_parameters(
        ("sequential", lambda: _sequential()),
        ("subclassed", lambda: ResidualModel()),
        ("functional", lambda: _branched()),
        ("recurrent", lambda: _recurrent()),
    )
    def test_equals_the_naive_implementation(self, build):
        # Dropout, a layer called twice, sums between layers, a nested model.
        keras.utils.set_random_seed(5)
        model = build()
        x, y = classification_batch((8,), 10)
        for _ in range(3):  # averages that are not the initial ones
            model(x + 0.5, training=True)
        groups = diagnostics.layer_groups(model)
        shifts = diagnostics.internal_covariate_shift(
            model, cross_entropy, x, y, learning_rate=LEARNING_RATE
        )
        pairs = _naive(model, x, y, groups=groups)
        self.assertGreater(len(groups), 2)
        self.assertEqual([s.name for s in shifts], [g.name for g in groups])
        for shift, (before, after) in zip(shifts, pairs, strict=True):
            distance = np.linalg.norm(before - after)
            self.assertAllClose(shift.distance, distance, rtol=RTOL, atol=1e-6)
            self.assertAllClose(shift.norm_after, np.linalg.norm(after), rtol=RTOL)
        total = diagnostics.total_shift(shifts)
        before, after = (np.concatenate(part) for part in zip(*pairs, strict=True))
        self.assertEqual(total.name, "all parameters")
        distance = np.linalg.norm(before - after)
        self.assertAllClose(total.distance, distance, rtol=RTOL)
        norms = np.linalg.norm(before), np.linalg.norm(after)
        self.assertAllClose((total.norm, total.norm_after), norms, rtol=RTOL)
        cosine = np.sum(before * after) / np.prod(norms)
        self.assertAllClose(total.cosine, cosine, rtol=RTOL)

    def test_given_and_simulated_step_agree(self):
        model = models.deep_linear(depth=2, units=3)
        x, y = tf.random.stateless_normal((2, 6, 3), [0, 4])
        state = diagnostics.snapshot(model)
        loss = diagnostics.LossFunction(model, squared_error)
        pairs = zip(state.parameters, loss.gradients(*state, x, y), strict=True)
        after = diagnostics.State([p - 0.1 * g for p, g in pairs], state.buffers)
        step = diagnostics.TrainingStep(0, state, after, (x, y), None, None, 0.1)
        given, simulated = (
            diagnostics.CovariateShiftMeter(
                model, squared_error, update=update
            ).measure(step)["ics"]["layers"][1]
            for update in ("optimizer", "sgd")
        )
        for name in ("distance", "cosine", "norm", "norm_after"):
            self.assertAllClose(given[name], simulated[name], rtol=RTOL)
        self.assertGreater(given["distance"], 0.0)

    def test_a_different_learning_rate_does_not_trace_again(self):
        model, calls = models.deep_linear(depth=2, units=3), []

        def loss(y_true, y_pred):
            calls.append(1)
            return squared_error(y_true, y_pred)

        meter = diagnostics.CovariateShiftMeter(model, loss)
        state, (x, y) = diagnostics.snapshot(model), tf.ones((2, 6, 3))
        first = meter.simulated(state, x, y, learning_rate=0.1)
        traced = len(calls)
        second = meter.simulated(state, x, y, learning_rate=0.2)
        self.assertLen(calls, traced)
        self.assertNotEqual(first[1].distance, second[1].distance)

    def test_half_precision(self):
        model, x, y, _, _ = _mlp_and_batch()
        half = keras.models.clone_model(
            model, clone_function=_with_policy("mixed_float16")
        )
        half.set_weights(model.get_weights())
        options = {"learning_rate": LEARNING_RATE}
        exact = diagnostics.internal_covariate_shift(
            model, cross_entropy, x, y, **options
        )

        # A thousandth of the loss: without scaling float16 would lose its gradients.
        def tiny(y_true, y_pred):
            return 1e-3 * cross_entropy(y_true, y_pred)

        rough = diagnostics.internal_covariate_shift(half, tiny, x, y, **options)
        for one, other in zip(exact, rough, strict=True):
            self.assertAllClose(1e3 * other.norm, one.norm, rtol=0.05)

    def test_compiled_by_xla(self):
        model, x, y, state, _ = _mlp_and_batch()
        plain, compiled = (
            diagnostics.CovariateShiftMeter(
                model, cross_entropy, jit_compile=jit_compile
            ).simulated(state, x, y, learning_rate=0.1)
            for jit_compile in (False, True)
        )
        for one, other in zip(plain, compiled, strict=True):
            self.assertAllClose(one[1:], other[1:], rtol=1e-3, atol=1e-5)

    def test_without_a_gradient_there_is_no_angle(self):
        model, x, y, state, _ = _mlp_and_batch()
        meter = diagnostics.CovariateShiftMeter(
            model, lambda t, p: tf.reduce_sum(0 * p)
        )
        for shift in meter.simulated(state, x, y, learning_rate=0.1):
            self.assertEqual((shift.distance, shift.norm), (0.0, 0.0))
            self.assertTrue(np.isnan(shift.cosine))


def _mlp_and_batch():
    """A small network, a batch, the network's state and its loss."""
    keras.utils.set_random_seed(6)
    model = models.mlp(
        hidden_units=(6,), norm=keras.layers.BatchNormalization, input_shape=(8,)
    )
    x, y = map(tf.constant, classification_batch((8,), 10))
    loss = diagnostics.LossFunction(model, cross_entropy)
    return model, x, y, diagnostics.snapshot(model), loss


def _with_policy(policy):
    def clone(layer):
        config = layer.get_config()
        if layer.name != "logits":
            config["dtype"] = policy
        return type(layer).from_config(config)

    return clone


def _sequential():
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(6),
            tfbn.BatchNorm(),
            keras.layers.ReLU(),
            keras.Sequential([keras.layers.Dense(5), keras.layers.Dropout(0.5)]),
            keras.layers.Dense(10),
        ]
    )


@keras.saving.register_keras_serializable("tfbn_tests")
class ResidualModel(keras.Model):
    """Layers in a list, sums between them, one layer called twice."""

    def __init__(self):
        super().__init__()
        self.entry = keras.layers.Dense(6)
        self.blocks = [keras.layers.Dense(6, "tanh") for _ in range(2)]
        self.norm = tfbn.BatchRenorm(rmax=2.0, dmax=0.5)
        self.logits = keras.layers.Dense(10)

    def call(self, x, training=False):
        x = self.norm(self.entry(x), training=training)
        for block in self.blocks:
            x = x + block(x)
        x = self.norm(2.0 * x, training=training)  # which meets moved averages
        return self.logits(x)


def _branched():
    inputs = keras.Input((8,))
    left = keras.layers.Dense(6, "relu", name="left")(inputs)
    right = keras.layers.Dense(6, "relu", name="right")(inputs)
    x = keras.layers.Concatenate()([left + right, right])
    x = keras.layers.Dropout(0.3, seed=2)(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="logits")(x))


def _recurrent():
    """Layers inside the bodies of loops."""
    layers = [
        keras.layers.Reshape((8, 1)),
        keras.layers.TimeDistributed(keras.layers.Dense(2)),
        keras.layers.Bidirectional(keras.layers.LSTM(3)),
        keras.layers.Dense(10),
    ]
    return keras.Sequential([keras.Input((8,)), *layers])


def _naive(model, x, y, groups):
    """G and G' of each group, flattened, by setting the live model's weights."""
    weights = [v.numpy().copy() for v in model.trainable_variables]
    _, gradient = live_gradients(model, weights, x, y)
    spliced, pairs = list(weights), []
    for group in groups:
        _, after = live_gradients(model, spliced, x, y)
        pairs.append(
            tuple(_flat([g[i] for i in group.indices]) for g in (gradient, after))
        )
        for i in group.indices:
            spliced[i] = weights[i] - LEARNING_RATE * gradient[i]
    return pairs


def _flat(arrays):
    return np.concatenate([a.ravel() for a in arrays])


if __name__ == "__main__":
    tf.test.main()
