"""Tests of tfbn.diagnostics.landscape: closed forms, and a naive implementation.

On L(w) = w'Aw / 2 all is known. The naive one sets the live model's weights and takes
eager gradients.
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
from tfbn import models
from tfbn.diagnostics._landscape import LandscapeMeter
from tfbn.diagnostics._landscape import landscape
from tfbn.diagnostics.loss_function import snapshot
from tfbn.diagnostics.step_sizes import relative_step_sizes

# float32 gradients summed in another order.
RTOL = 1e-4
# Local linearity and gradient distances are differences: digits are lost.
DIFFERENCE_RTOL = 1e-2
# bfloat16 has 8 bits, and the differences lose some.
HALF_RTOL = 0.1
STEP_SIZES = (0.05, 0.2, 0.4)


class LandscapeTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(("float32", False), ("float32", True), ("float64", False))
    def test_closed_form_on_a_quadratic(self, dtype, jit_compile):
        model, batch, a, w = _quadratic(np.diag([1.0, 3.0, 0.5]), dtype)
        meter = LandscapeMeter(model, squared_error, jit_compile=jit_compile)
        result = meter(snapshot(model), *batch, step_sizes=STEP_SIZES)
        g, eta = a @ w, np.array(STEP_SIZES)
        length, change = np.linalg.norm(g), np.linalg.norm(a @ g)
        rtol = 1e-5 if dtype == "float32" else 1e-12
        points = w[:, None] - eta * g[:, None]
        self.assertAllClose(result.loss, 0.5 * w @ g, rtol=rtol)
        self.assertAllClose(result.gradient_norm, length, rtol=rtol)
        self.assertAllClose(
            result.losses, 0.5 * np.sum(points * (a @ points), axis=0), rtol=rtol
        )
        self.assertAllClose(result.gradient_distances, eta * change, rtol=rtol)
        self.assertAllClose(result.beta, change / length, rtol=rtol)
        self.assertAllClose(result.local_linearity, g @ a @ g / length**2, rtol=rtol)
        self.assertAllEqual(result.step_sizes, eta)

    def test_random_direction_is_as_long_as_the_gradient(self):
        # With A = 3 I: what only the length of the direction enters.
        model, batch, _, w = _quadratic(3.0 * np.eye(5))
        result = landscape(
            model, squared_error, *batch, step_sizes=STEP_SIZES, direction="random"
        )
        length = 3.0 * np.linalg.norm(w)
        distances = 3.0 * np.array(STEP_SIZES) * length
        self.assertAllClose(result.gradient_distances, distances, rtol=RTOL)
        self.assertAllClose(result.beta, 3.0, rtol=RTOL)
        self.assertAllClose(result.local_linearity, 3.0, rtol=RTOL)

    def test_random_direction_is_isotropic_and_of_its_seed(self):
        # A takes the first half of the elements: half of the length^2.
        n = 400
        model, batch, *_ = _quadratic(np.diag([1.0] * (n // 2) + [0.0] * (n // 2)))
        meter = LandscapeMeter(model, squared_error, direction="random")
        state = snapshot(model)
        results = [
            meter(state, *batch, step_sizes=[0.1], seed=seed) for seed in (4, 5, 4)
        ]
        for result in results:
            self.assertAllClose(result.beta, 0.5**0.5, rtol=0.15)
        self.assertEqual(results[0].losses, results[2].losses)
        self.assertNotEqual(results[0].losses, results[1].losses)

    def test_equals_the_naive_implementation(self):
        keras.utils.set_random_seed(2)
        model = models.mlp(
            hidden_units=(6, 5),
            norm=lambda: tfbn.BatchRenorm(rmax=2.0, dmax=0.5),
            input_shape=(8,),
        )
        x, y = classification_batch((8,), 10)
        for _ in range(3):  # averages that are not the initial ones
            model(x + 0.5, training=True)
        result = landscape(model, cross_entropy, x, y, step_sizes=STEP_SIZES)
        expected, sizes = _naive(model, x, y), [3, 3, 2]
        self.assertAllClose(result.loss, expected["loss"], rtol=RTOL)
        self.assertAllClose(result.losses, expected["losses"], rtol=RTOL)
        squares = np.square(expected["distances"])  # [n, parameters]
        self.assertAllClose(
            result.gradient_distances, squares.sum(1) ** 0.5, rtol=DIFFERENCE_RTOL
        )
        self.assertAllClose(result.beta, expected["beta"], rtol=DIFFERENCE_RTOL)
        self.assertAllClose(
            result.local_linearity, expected["local_linearity"], rtol=DIFFERENCE_RTOL
        )
        names = [layer.name for layer in result.layers]
        self.assertEqual(names, ["dense1", "dense2", "logits"])
        for layer, part in zip(
            result.layers, np.split(squares, np.cumsum(sizes)[:-1], 1), strict=True
        ):
            self.assertAllClose(
                layer.gradient_distances,
                part.sum(1) ** 0.5,
                rtol=DIFFERENCE_RTOL,
                atol=1e-6,
            )

    def test_groups_are_parts_of_the_whole(self):
        model = models.mlp(hidden_units=(6, 5), input_shape=(8,))
        batch = classification_batch((8,), 10)
        results = [
            landscape(model, cross_entropy, *batch, step_sizes=[0.3], groups=groups)
            for groups in (None, {"hidden": ["dense1", "dense2"]})
        ]
        first, second, _ = (layer.gradient_distances for layer in results[0].layers)
        (hidden,) = results[1].layers
        self.assertAllClose(hidden.gradient_distances, np.hypot(first, second))
        self.assertEqual(results[0].beta, results[1].beta)

    def test_noise_stays_the_same(self):
        model = models.mlp(
            hidden_units=(6,),
            input_shape=(8,),
            norm=lambda: tfbn.NoisyBatchNorm(seed=3),
        )
        x, y = classification_batch((8,), 10)
        # Steps of next to nothing: only other noise could change the gradient.
        result = landscape(model, cross_entropy, x, y, step_sizes=[1e-9])
        self.assertLess(result.gradient_distances[0], 1e-5 * result.gradient_norm)

    def test_inference_mode_takes_the_averages(self):
        model = models.mlp(
            hidden_units=(4,), norm=keras.layers.BatchNormalization, input_shape=(8,)
        )
        x, y = classification_batch((8,), 10)
        expected = float(cross_entropy(y, model(x, training=False)))
        result = landscape(model, cross_entropy, x, y, step_sizes=[0.1], training=False)
        self.assertAllClose(result.loss, expected, rtol=RTOL)

    def test_number_of_step_sizes_and_seed_do_not_trace_again(self):
        model, batch, *_ = _quadratic(np.eye(3))
        traces = []

        def loss(y_true, y_pred):
            traces.append(1)
            return squared_error(y_true, y_pred)

        meter, state = LandscapeMeter(model, loss, direction="random"), snapshot(model)
        meter(state, *batch, step_sizes=[0.1, 0.2])
        once = len(traces)
        self.assertLessEqual(once, 3)
        results = [
            meter(state, *batch, step_sizes=sizes, seed=7)
            for sizes in ([0.3, 0.4], [0.3], [0.1, 0.2, 0.3])
        ]
        self.assertLen(traces, once)
        self.assertEqual(results[1].losses[0], results[0].losses[0])
        self.assertLen(results[2].losses, 3)

    def test_structures_of_a_subclassed_model(self):
        model = _Subclassed()
        x = {"a": np.ones((4, 2), "float32"), "b": np.full((4, 3), 2.0, "float32")}
        y = {"sum": np.zeros(4, "float32")}
        model(x)

        def loss(y_true, y_pred):
            return squared_error(y_true["sum"], y_pred["sum"])

        result = landscape(model, loss, x, y, step_sizes=[0.1])
        # L = n (w'x)^2 / 2: A = n x x', and g is its eigenvector.
        self.assertAllClose(result.beta, 4 * (2 * 1 + 3 * 4), rtol=RTOL)

    @parameterized.parameters("mixed_bfloat16", "mixed_float16")
    def test_half_precision(self, policy):
        batch = classification_batch((8,), 10)
        expected, result = (
            landscape(_sequential(p), cross_entropy, *batch, step_sizes=[1.0, 2.0])
            for p in ("float32", policy)
        )
        for name in ("loss", "losses", "gradient_distances", "beta", "gradient_norm"):
            self.assertAllClose(
                getattr(result, name), getattr(expected, name), rtol=HALF_RTOL
            )

    def test_not_finite_losses_are_reported(self):
        model, (x, y), *_ = _quadratic(np.eye(3))
        result = landscape(model, squared_error, x * np.nan, y, step_sizes=[0.1, 0.2])
        self.assertAllEqual(np.isnan(result.losses), [True, True])
        for value in (result.loss, result.beta, result.local_linearity):
            self.assertTrue(np.isnan(value))
        exploded = landscape(model, squared_error, x, y, step_sizes=[0.1, 1e30])
        self.assertAllEqual(np.isfinite(exploded.losses), [True, False])
        self.assertFalse(np.isfinite(exploded.local_linearity))

    def test_zero_gradient_has_no_beta(self):
        model, batch, *_ = _quadratic(np.zeros((3, 3)))
        for direction in ("gradient", "random"):
            result = landscape(
                model, squared_error, *batch, step_sizes=[0.1], direction=direction
            )
            self.assertEqual(result.gradient_norm, 0.0)
            self.assertTrue(np.isnan(result.beta))

    def test_local_linearity_of_a_linear_loss_is_the_noise_that_is_documented(self):
        model, batch, _, w = _quadratic(np.diag([1.0, 3.0, 0.5]))

        def loss(y_true, y_pred):
            del y_true
            return tf.reduce_sum(y_pred)

        result = landscape(model, loss, *batch, step_sizes=[1e-3])
        rounding = abs(result.loss) + result.gradient_norm * np.linalg.norm(w)
        moved = 1e-3 * result.gradient_norm
        self.assertLess(result.local_linearity, 4 * 2.0**-24 * rounding / moved**2)


class RelativeStepSizesTest(tf.test.TestCase, parameterized.TestCase):
    def test_values(self):
        self.assertAllClose(
            relative_step_sizes(0.1, points=4), [0.05, 0.1, 0.2, 0.4], rtol=1e-12
        )
        sizes = relative_step_sizes(1e-6, 0.01, 30.0, 5)
        self.assertAllClose(sizes[[0, -1]], [1e-8, 3e-5], rtol=1e-12, atol=0.0)
        ratios = sizes[1:] / sizes[:-1]
        self.assertAllClose(ratios, [3000.0**0.25] * 4, rtol=1e-12)


class _Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.a = keras.layers.Dense(1, use_bias=False)
        self.b = keras.layers.Dense(1, use_bias=False)

    def call(self, inputs, training=None):
        return {"sum": (self.a(inputs["a"]) + self.b(inputs["b"]))[:, 0]}


def _quadratic(a, dtype="float32"):
    """A model whose squared error is w'Aw / 2, the batch for it, A and w."""
    n = len(a)
    inputs = keras.Input((n,), dtype=dtype)
    dense = keras.layers.Dense(1, use_bias=False, dtype=dtype, name="dense")
    model = keras.Model(inputs, dense(inputs))
    w = np.random.default_rng(3).normal(size=n).astype("float32").astype("float64")
    model.set_weights([w[:, None]])
    batch = tf.constant(np.sqrt(a), dtype), tf.zeros((n, 1), dtype)
    return model, batch, a, w


def _sequential(policy):
    keras.utils.set_random_seed(5)
    dense = keras.layers.Dense
    return keras.Sequential(
        [
            keras.Input((8,)),
            dense(16, "tanh", dtype=policy),
            keras.layers.BatchNormalization(dtype=policy),
            dense(10, dtype=policy),
            keras.layers.Activation("linear", dtype="float32"),
        ]
    )


def _naive(model, x, y):
    """The measurement in float64 NumPy from the live model's losses and gradients."""
    weights = [v.numpy().copy() for v in model.trainable_variables]
    loss, gradient = live_gradients(model, weights, x, y)
    length = np.sqrt(sum(np.sum(g**2) for g in gradient))
    losses, distances, linearity = [], [], []
    for eta in STEP_SIZES:
        there = [w - eta * g for w, g in zip(weights, gradient, strict=True)]
        moved, after = live_gradients(model, there, x, y)
        losses.append(moved)
        distances.append(
            [np.linalg.norm(a - g) for a, g in zip(after, gradient, strict=True)]
        )
        rest = abs(moved - loss + eta * length**2)
        linearity.append(2.0 * rest / (eta * length) ** 2)
    whole = np.sqrt(np.sum(np.square(distances), axis=1))
    return {
        "loss": loss,
        "losses": losses,
        "distances": distances,
        "beta": max(whole / (np.array(STEP_SIZES) * length)),
        "local_linearity": max(linearity),
    }


if __name__ == "__main__":
    tf.test.main()
