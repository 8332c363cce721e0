"""Tests of tfbn.diagnostics.theory.

Against the formulas in float64 NumPy on what a small model computes by hand, and with
layers whose derivative is wrong, which the check has to find.
"""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tfbn import diagnostics
from tfbn.diagnostics import theory

# Errors of a right derivative: some ten roundings.
ROUNDING = {
    "float64": 1e-14,
    "float32": 3e-6,
    "mixed_bfloat16": 2e-2,
    "mixed_float16": 2e-3,
}
# What a wrong derivative has at least.
WRONG = 0.02
# The quantities themselves, float32.
RTOL = 1e-4

ERRORS = (
    "relative_error",
    "gradient_error",
    "sum_residual",
    "projection_residual",
    "gamma_error",
    "beta_error",
    "invariance_residual",
)


def squares(y_true, y_pred):
    return tf.reduce_sum(tf.cast(y_true, y_pred.dtype) * tf.square(y_pred))


class Subclassed(keras.Model):
    """With a branch around the normalisation, which G must not count."""

    def __init__(self, norm, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(4, name="hidden")
        self.norm = norm
        self.logits = keras.layers.Dense(3, name="logits")

    def call(self, x, training=None):
        y = self.hidden(x)
        return self.logits(keras.ops.sin(self.norm(y, training=training) + 2.0 * y))


class Fixed(keras.layers.BatchNormalization):
    """Takes mean and variance for constants in the derivative."""

    def _moments(self, inputs, mask):
        mean, variance = super()._moments(inputs, mask)
        return tf.stop_gradient(mean), tf.stop_gradient(variance)


class WrongGradient(keras.layers.BatchNormalization):
    """Forgets the factor 1 / m before <g, yh>, and doubles what gamma gets."""

    def call(self, inputs, training=None, mask=None):
        @tf.custom_gradient
        def normalized(x, gamma, beta):
            mean, variance = tf.nn.moments(x, [0])
            scale = tf.sqrt(variance + self.epsilon)
            yh = (x - mean) / scale

            def gradient(g):
                along = tf.reduce_sum(g * yh, 0)
                dx = gamma / scale * (g - tf.reduce_mean(g, 0) - yh * along)
                return dx, 2.0 * along, tf.reduce_sum(g, 0)

            return gamma * yh + beta, gradient

        return normalized(inputs, self.gamma.value, self.beta.value)


def functional(norm, **kwargs):
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, name="hidden", **kwargs)(inputs)
    x = keras.layers.Activation("tanh", **kwargs)(norm(x))
    return keras.Model(inputs, keras.layers.Dense(3, name="logits", **kwargs)(x))


def convolutional(norm):
    return keras.Sequential(
        [
            keras.Input((5, 4, 3)),
            keras.layers.Conv2D(4, 2, kernel_regularizer="l2"),
            norm,
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )


class TheoryTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        keras.utils.set_random_seed(1)

    def assert_right(self, result, policy="float32"):
        for name in ERRORS:
            value = getattr(result, name)
            if value is not None:
                self.assertLess(value, ROUNDING[policy], name)

    @parameterized.parameters(
        (tfbn.BatchNorm, 30.0),
        (keras.layers.BatchNormalization, 1e-3),
    )
    def test_quantities_equal_numpy(self, norm, epsilon):
        # z by hand; the loss sum(a * z^2) has g = 2 a z.
        inputs = keras.Input((4,))
        dense = keras.layers.Dense(4, name="hidden", bias_initializer="normal")
        layer = norm(epsilon=epsilon, name="norm")
        model = keras.Model(inputs, layer(dense(inputs)))
        rng = np.random.default_rng(0)
        x, a = rng.normal(size=(2, 7, 4)).astype("float32")
        layer.gamma.assign([1.0, -2.0, 0.5, 3.0])
        layer.beta.assign([0.3, 0.1, -1.0, 0.0])
        (found,) = theory.gradient_identities(model, squares, x, a)
        expected = _by_numpy(dense, layer, x.astype("float64"), a)
        self.assertEqual(found.name, "norm")
        for name, value in expected.items():
            atol = 1e-6 if name in ("projection", "invariance") else 0.0
            self.assertAllClose(getattr(found, name), value, rtol=RTOL, atol=atol)
        self.assertAllClose(found.norm, found.bound, rtol=1e-5)
        self.assert_right(found)

    @parameterized.named_parameters(
        ("first", (6, 4, 5), 1),
        ("first_of_five", (3, 4, 2, 2, 2), 1),
    )
    def test_channel_axis(self, shape, axis):
        inputs = keras.Input(shape[1:])
        layer = tfbn.BatchNorm(axis=axis, gamma_initializer="normal")
        model = keras.Model(inputs, layer(inputs))
        x, a = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
        (found,) = theory.gradient_identities(model, squares, x, a)
        self.assert_right(found)
        self.assertIsNone(found.invariance)
        # The same channels last.
        inputs = keras.Input((*np.delete(shape, axis)[1:], 4))
        other = tfbn.BatchNorm()
        model = keras.Model(inputs, other(inputs))
        other.gamma.assign(layer.gamma)
        x, a = np.moveaxis(x, axis, -1), np.moveaxis(a, axis, -1)
        (moved,) = theory.gradient_identities(model, squares, x, a)
        for name in ("norm", "printed_bound", "upstream"):
            self.assertAllClose(getattr(found, name), getattr(moved, name), rtol=RTOL)

    @parameterized.named_parameters(
        ("keras", functional, keras.layers.BatchNormalization),
        ("noisy", functional, lambda: tfbn.NoisyBatchNorm(seed=3)),
        ("plain", functional, lambda: tfbn.BatchNorm(center=False, scale=False)),
        ("convolutional_keras", convolutional, keras.layers.BatchNormalization),
        ("subclassed", Subclassed, tfbn.BatchNorm),
    )
    def test_right_layers(self, make, norm):
        norm = norm()
        model = make(norm)
        x, y = _batch(make)
        model(x)
        (found,) = theory.gradient_identities(model, cross_entropy, x, y)
        self.assert_right(found)
        self.assertIsNotNone(found.invariance)
        self.assertEqual(found.gamma_error is None, not norm.scale)
        self.assertEqual(found.beta_error is None, not norm.center)
        self.assertGreater(found.norm, 0.0)

    def test_epsilon_leaves_what_it_should(self):
        x, y = _batch(functional)
        invariances = []
        for epsilon in (1e-8, 1.0):
            model = functional(tfbn.BatchNorm(epsilon=epsilon))
            (found,) = theory.gradient_identities(model, cross_entropy, x, y)
            self.assert_right(found)
            invariances.append((found.invariance, found.projection))
        for small, large in zip(*invariances, strict=True):
            self.assertLess(small, 1e-6)
            self.assertGreater(large, 1e-2)

    def test_printed_bound_is_violated(self):
        model = functional(tfbn.BatchNorm(epsilon=1e-8))
        x, y = _batch(functional)
        (found,) = theory.gradient_identities(model, cross_entropy, x, y)
        self.assertEqual(found.channel_violations, 4.0)
        self.assertLess(found.printed_bound, found.norm)
        # Upstream gradients that are orthogonal to yh: both bounds say the same.
        layer = tfbn.BatchNorm()
        inputs = keras.Input((1,))
        model = keras.Model(inputs, layer(inputs))
        x = np.array([[-1.0], [1.0], [-1.0], [1.0]], "float32")
        signs = np.array([[1.0], [1.0], [-1.0], [-1.0]], "float32")
        (found,) = theory.gradient_identities(
            model, lambda y_true, y_pred: tf.reduce_sum(y_true * y_pred), x, signs
        )
        self.assertEqual(found.channel_violations, 0.0)
        self.assertAllClose(found.printed_bound, found.bound, rtol=1e-6)

    @parameterized.parameters(Fixed, WrongGradient)
    def test_wrong_derivative_is_found(self, norm):
        x, y = _batch(functional)
        model = functional(norm())
        (found,) = theory.gradient_identities(model, cross_entropy, x, y)
        self.assertGreater(found.gradient_error, WRONG)
        self.assertGreater(found.relative_error, WRONG)
        self.assertGreater(found.projection_residual, WRONG)
        self.assertGreater(found.invariance_residual, WRONG)
        if norm is Fixed:
            self.assertGreater(found.sum_residual, WRONG)
        else:
            self.assertGreater(found.gamma_error, WRONG)
            self.assertLess(found.beta_error, ROUNDING["float32"])

    def test_regularizers_shared_layers_and_noise(self):
        # gamma's gradient is that of the call alone, and each call has its own.
        layer = tfbn.BatchNorm(name="norm", gamma_regularizer="l2")
        inputs = keras.Input((3,))
        dense = keras.layers.Dense(3, kernel_regularizer="l2")
        x = layer(dense(keras.ops.tanh(layer(inputs))))
        model = keras.Model(inputs, x)
        x, y = _batch(functional)
        first, second = theory.gradient_identities(model, cross_entropy, x, y)
        self.assertEqual((first.name, second.name), ("norm", "norm#2"))
        for found in (first, second):
            self.assert_right(found)
        self.assertIsNone(first.invariance)
        self.assertIsNotNone(second.invariance)

    @parameterized.parameters("float64", "mixed_bfloat16", "mixed_float16")
    def test_precision(self, policy):
        x, y = _batch(functional)

        def small(y_true, y_pred):  # float16 gradients of it need their scale
            return 3e-6 * cross_entropy(y_true, tf.cast(y_pred, tf.float32))

        results, weights = [], None
        for dtype in ("float32", policy):
            model = functional(tfbn.BatchNorm(dtype=dtype), dtype=dtype)
            weights = model.get_weights() if weights is None else weights
            model.set_weights(weights)
            results += theory.gradient_identities(model, small, x, y)
        self.assert_right(results[1], policy)
        self.assertAllClose(results[1].norm, results[0].norm, rtol=0.02, atol=0.0)

    def test_jit_compile(self):
        model, (x, y) = functional(tfbn.BatchNorm()), _batch(functional)
        args = diagnostics.snapshot(model), tf.constant(x), tf.constant(y)
        plain, compiled = (
            theory.GradientIdentityMeter(model, cross_entropy, jit_compile=jit)(*args)
            for jit in (False, True)
        )
        self.assert_right(compiled[0])
        self.assertAllClose(compiled[0].norm, plain[0].norm, rtol=RTOL)

    def test_dead_channels_are_no_errors(self):
        model, (x, y) = functional(tfbn.BatchNorm()), _batch(functional)
        model.layers[2].gamma.assign([0.0, 1.0, 1.0, 1.0])
        kernel = model.layers[-1].kernel
        kernel.assign(kernel * np.array([[1.0], [0.0], [1.0], [1.0]]))
        (found,) = theory.gradient_identities(model, cross_entropy, x, y)
        self.assert_right(found)
        self.assertEqual(found.channel_violations, 2.0)

    def test_batch_of_one_and_constant_input(self):
        model, (x, y) = functional(tfbn.BatchNorm()), _batch(functional)
        for batch in ((x[:1], y[:1]), (np.ones_like(x), y)):
            (found,) = theory.gradient_identities(model, cross_entropy, *batch)
            self.assert_right(found)

    def test_model_without_such_a_layer(self):
        model, (x, y) = functional(keras.layers.Activation("relu")), _batch(functional)
        self.assertEqual(theory.gradient_identities(model, cross_entropy, x, y), [])


def _batch(make):
    shape = (5, 4, 3) if make is convolutional else (3,)
    return classification_batch(shape, 3)


def _by_numpy(dense, layer, x, a):
    """The module's quantities for the loss sum(a * z^2), z = norm(x W + b)."""
    kernel, bias = (w.astype("float64") for w in dense.get_weights())
    gamma, beta = (w.numpy().astype("float64") for w in (layer.gamma, layer.beta))
    y, m = x @ kernel + bias, len(x)
    s = np.sqrt(y.var(0) + layer.epsilon)
    yh = (y - y.mean(0)) / s
    g = 2.0 * a * (gamma * yh + beta)
    # By the Jacobian, entry by entry, rather than by Fact C.1.
    d = np.eye(m)[:, :, None]
    jacobian = (d - 1 / m - yh[:, None] * yh[None] / m) * gamma / s
    down = np.einsum("ijc,ic->jc", jacobian, g)
    upstream = np.linalg.norm(gamma / s * g, axis=0)
    along, length = np.sum(g * yh, 0), np.linalg.norm(g, axis=0)
    printed = (gamma / s) ** 2 * (length**2 - g.sum(0) ** 2 / m - along**2 / m**0.5)
    d_kernel, d_bias = x.T @ down, down.sum(0)
    inner = np.sum(kernel * d_kernel) + np.sum(bias * d_bias)
    scale = upstream * np.maximum(np.linalg.norm(yh, axis=0), 1.0)
    total = printed.sum()
    return {
        "upstream": np.linalg.norm(upstream),
        "norm": np.linalg.norm(down),
        "printed_bound": np.sign(total) * np.sqrt(np.abs(total)),
        "channel_violations": np.sum(np.sum(down**2, 0) > printed),
        "projection": np.max(np.abs(np.sum(yh * down, 0)) / scale),
        "invariance": np.abs(inner) / (np.linalg.norm(y) * np.linalg.norm(upstream)),
    }


if __name__ == "__main__":
    tf.test.main()
