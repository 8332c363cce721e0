"""Tests of tfbn.diagnostics.surface: closed forms, and the live model's losses."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tests.testing_utils import squared_error
from tfbn import models
from tfbn.diagnostics.loss_function import snapshot
from tfbn.diagnostics.surface import SurfaceMeter
from tfbn.diagnostics.surface import filter_normalized_directions
from tfbn.diagnostics.surface import loss_surface

# float32 losses summed in another order.
RTOL = 1e-4
# bfloat16 has 8 bits.
HALF_RTOL = 0.05
RADII = (-1.0, 0.0, 0.5)


class SurfaceTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(False, True)
    def test_closed_form_on_a_quadratic(self, jit_compile):
        # L(w) = w'Aw / 2 on the two-dimensional space: along given directions.
        model = keras.Sequential(
            [keras.Input((2,)), keras.layers.Dense(1, use_bias=False)]
        )
        w = np.array([[1.0], [2.0]])
        model.set_weights([w])
        x, y = tf.constant([[1.0, 0.0], [0.0, 3.0]]), tf.zeros((2, 1))
        delta, eta = np.array([[1.0], [0.0]]), np.array([[1.0], [1.0]])
        meter = SurfaceMeter(model, squared_error, jit_compile=jit_compile)
        state = snapshot(model)
        line = meter(state, x, y, radii=RADII, directions=[[eta]])
        grid = meter(state, x, y, radii=RADII, directions=[[delta], [eta]])

        def at(point):
            return 0.5 * (point[0, 0] ** 2 + 9.0 * point[1, 0] ** 2)

        self.assertAllEqual(line.radii, RADII)
        self.assertAllClose(line.losses, [at(w + a * eta) for a in RADII], rtol=RTOL)
        expected = [[at(w + a * delta + b * eta) for b in RADII] for a in RADII]
        self.assertAllClose(grid.losses, expected, rtol=RTOL)

    def test_equals_the_live_model(self):
        model, x, y = _convnet()
        state = snapshot(model)
        surface = loss_surface(
            model, cross_entropy, x, y, radii=RADII, dimensions=2, seed=4
        )
        delta, eta = filter_normalized_directions(
            state.parameters, dimensions=2, seed=4
        )
        self.assertEqual(surface.losses.shape, (3, 3))
        for i, j in ((0, 2), (2, 0), (1, 1)):
            self._set(model, state)
            for variable, d, e in zip(
                model.trainable_variables, delta, eta, strict=True
            ):
                variable.assign_add(RADII[i] * d + RADII[j] * e)
            expected = float(cross_entropy(y, model(x, training=True)))
            self.assertAllClose(surface.losses[i, j], expected, rtol=RTOL)
        self.assertGreater(np.ptp(surface.losses), 0.1)

    def _set(self, model, state):
        for variables, values in zip(
            (model.trainable_variables, model.non_trainable_variables),
            state,
            strict=True,
        ):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)

    def test_inference_mode_takes_the_averages(self):
        model, x, y = _convnet()
        expected = float(cross_entropy(y, model(x, training=False)))
        surface = loss_surface(model, cross_entropy, x, y, radii=[0.0], training=False)
        self.assertAllClose(surface.losses, [expected], rtol=RTOL)
        in_training = loss_surface(model, cross_entropy, x, y, radii=[0.0])
        self.assertNotAllClose(surface.losses, in_training.losses, rtol=1e-2)

    def test_nothing_changes_and_noise_stays_the_same(self):
        model = models.mlp(
            hidden_units=(6,),
            norm=lambda: tfbn.NoisyBatchNorm(seed=3),
            input_shape=(8,),
        )
        x, y = classification_batch((8,), 10)
        before = [v.numpy().copy() for v in model.variables]
        surface = loss_surface(model, cross_entropy, x, y, radii=[0.0, 1e-9])
        self.assertAllClose(surface.losses[0], surface.losses[1], rtol=1e-6)
        for value, variable in zip(before, model.variables, strict=True):
            self.assertAllEqual(value, variable.numpy())

    def test_radii_and_directions_do_not_trace_again(self):
        model = models.deep_linear(depth=2, units=3)
        x, traces = tf.ones((4, 3)), []

        def loss(y_true, y_pred):
            traces.append(1)
            return squared_error(y_true, y_pred)

        meter, state = SurfaceMeter(model, loss), snapshot(model)
        directions = filter_normalized_directions(state.parameters)
        first = meter(state, x, x, radii=[0.1, 0.2], directions=directions)
        once = len(traces)
        others = filter_normalized_directions(state.parameters, seed=1)
        meter(state, x, x, radii=[0.5], directions=others)
        again = meter(state, x, x, radii=[0.0, 0.1, 0.2], directions=directions)
        self.assertLen(traces, once)
        self.assertAllEqual(again.losses[1:], first.losses)

    @parameterized.parameters("mixed_bfloat16", "mixed_float16")
    def test_half_precision(self, policy):
        surfaces = []
        for dtype in ("float32", policy):
            keras.utils.set_random_seed(5)
            dense = keras.layers.Dense(10, dtype=dtype)
            float32 = keras.layers.Activation("linear", dtype="float32")
            model = keras.Sequential([keras.Input((8,)), dense, float32])
            batch = classification_batch((8,), 10)
            surfaces.append(loss_surface(model, cross_entropy, *batch, radii=RADII))
        self.assertAllClose(surfaces[0].losses, surfaces[1].losses, rtol=HALF_RTOL)

    def test_structures_of_a_subclassed_model(self):
        model = _Subclassed()
        x = {"a": np.ones((4, 2), "float32")}
        y = {"b": np.zeros((4, 1), "float32")}
        model(x)

        def loss(y_true, y_pred):
            return squared_error(y_true["b"], y_pred["b"])

        surface = loss_surface(model, loss, x, y, radii=[0.0])
        expected = 0.5 * 4 * np.sum(model.get_weights()[0]) ** 2
        self.assertAllClose(surface.losses, [expected], rtol=RTOL)

    def test_not_finite_losses_are_reported(self):
        model = models.deep_linear(depth=2, units=3)
        x = np.ones((4, 3), "float32")
        surface = loss_surface(model, squared_error, x, x, radii=[0.0, 1e30])
        self.assertAllEqual(np.isfinite(surface.losses), [True, False])
        surface = loss_surface(model, squared_error, x * np.nan, x, radii=[0.0])
        self.assertAllEqual(np.isnan(surface.losses), [True])

    def test_directions_must_fit(self):
        model = models.deep_linear(depth=1, units=3)
        meter, x = SurfaceMeter(model, squared_error), tf.ones((4, 3))
        for directions, message in (
            ([], "Received: 0 of"),
            ([[np.ones((3, 3))]] * 3, "Received: 3 of"),
            ([[np.ones((3, 2))]], r"\(3, 3\).*\(3, 2\)"),
        ):
            with self.assertRaisesRegex(ValueError, message):
                meter(snapshot(model), x, x, radii=[0.0], directions=directions)


class DirectionsTest(tf.test.TestCase, parameterized.TestCase):
    def test_filters_have_the_norms_of_the_parameters(self):
        model, *_ = _convnet()
        parameters = snapshot(model).parameters
        (direction,) = filter_normalized_directions(parameters)
        ranks = [p.shape.rank for p in parameters]
        self.assertEqual(ranks, [4, 1, 1, 2, 1])  # conv, gamma, beta, dense, bias
        for parameter, d in zip(parameters, direction, strict=True):
            self.assertEqual(d.dtype, parameter.dtype)
            if d.shape.rank == 1:
                self.assertAllEqual(d, tf.zeros_like(d))
                continue
            norms = (
                np.linalg.norm(np.reshape(t, [-1, t.shape[-1]]), axis=0)
                for t in (d, parameter)
            )
            self.assertAllClose(*norms, rtol=1e-5)

    def test_vectors_are_one_filter_each(self):
        parameters = [tf.constant([3.0, 4.0]), tf.constant(2.0), tf.zeros((2, 2))]
        (direction,) = filter_normalized_directions(parameters, include_vectors=True)
        self.assertAllClose(np.linalg.norm(direction[0]), 5.0, rtol=1e-6)
        self.assertNotAllClose(np.abs(direction[0]), [3.0, 4.0])
        self.assertAllClose(np.abs(direction[1]), 2.0, rtol=1e-6)
        self.assertAllEqual(direction[2], np.zeros((2, 2)))

    def test_directions_are_gaussian_of_their_own_and_of_their_seed(self):
        parameters = [tf.ones((200, 5)), tf.ones((200, 5))]
        delta, eta = filter_normalized_directions(parameters, dimensions=2, seed=1)
        drawn = [np.ravel(d) for d in (*delta, *eta)]
        # One filter's elements have a mean square of 1, so a kurtosis of 3.
        for one in drawn:
            self.assertAllClose(np.mean(one), 0.0, atol=0.15)
            self.assertAllClose(np.mean(one**4), 3.0, atol=0.7)
        correlations = np.corrcoef(drawn) - np.eye(4)
        self.assertLess(np.abs(correlations).max(), 0.15)
        (alone,) = filter_normalized_directions(parameters, seed=1)
        self.assertAllEqual(alone[1], delta[1])
        (other,) = filter_normalized_directions(parameters, seed=2)
        self.assertLess(abs(np.corrcoef(np.ravel(other[0]), drawn[0])[0, 1]), 0.15)


class _Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(1, use_bias=False)

    def call(self, inputs, training=None):
        return {"b": self.dense(inputs["a"])}


def _convnet():
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            keras.layers.Conv2D(4, 3, use_bias=False),
            tfbn.BatchNorm(),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dense(3),
        ]
    )
    return model, *classification_batch((5, 5, 2), 3, size=8, seed=1)


if __name__ == "__main__":
    tf.test.main()
