"""Tests of tfbn.diagnostics.curvature.

Against quadratics, whose Hessian is known, and against the eigenvalues of a Hessian
made of finite differences of the live model's float64 gradients.
"""

import json

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import classification_batch
from tests.testing_utils import cross_entropy
from tests.testing_utils import squared_error
from tfbn import diagnostics
from tfbn import models
from tfbn.diagnostics import curvature

# float32 products and vectors.
RTOL = 1e-5
# Central differences of float64 gradients, with steps of 1e-5.
DIFFERENCES = 1e-7
# Products in bfloat16 and float16.
HALF = {"mixed_bfloat16": 0.05, "mixed_float16": 0.01}

SPECTRA = {
    "positive": [0.5, 1.0, 2.0, 3.0, 7.0],
    "smallest_is_longest": [-9.0, -1.0, 0.0, 2.0, 4.0],
    "negative": [-5.0, -3.0, -2.0],
    "degenerate": [2.0, 2.0, 2.0, 2.0, 5.0, 5.0],
    "one_value": [3.0, 3.0, 3.0],
    "dimension_one": [-2.5],
    "dimension_two": [1.0, -4.0],
    "zero": [0.0, 0.0],
}


def weighted_squares(y_true, y_pred):
    return 0.5 * tf.reduce_sum(y_true * tf.square(y_pred))


class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = keras.layers.Dense(4, name="hidden", **kwargs)
        self.norm = keras.layers.BatchNormalization(name="norm", **kwargs)
        self.logits = keras.layers.Dense(3, name="logits", **kwargs)

    def call(self, x, training=None):
        x = self.norm(self.hidden(x), training=training)
        return self.logits(keras.ops.sigmoid(x))


def sequential(norm, **kwargs):
    return keras.Sequential(
        [
            keras.layers.Dense(4, **kwargs),
            norm(**kwargs),
            keras.layers.Activation("tanh", **kwargs),
            keras.layers.Dense(3, **kwargs),
        ]
    )


def functional(**kwargs):
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, name="hidden", **kwargs)(inputs)
    x = keras.layers.BatchNormalization(name="norm", **kwargs)(x)
    x = keras.layers.Activation("sigmoid", **kwargs)(x)
    return keras.Model(inputs, keras.layers.Dense(3, name="logits", **kwargs)(x))


def grouped(**kwargs):
    return keras.layers.GroupNormalization(2, **kwargs)


MODELS = {
    "functional": functional,
    "sequential": lambda **kw: sequential(tfbn.LpBatchNorm, **kw),
    "group_norm": lambda **kw: sequential(grouped, **kw),
    "subclassed": Subclassed,
}


class CurvatureTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        keras.utils.set_random_seed(1)

    @parameterized.named_parameters(*SPECTRA.items())
    def test_diagonal_hessian(self, values):
        model, x, y = _diagonal(values)
        result = curvature.hessian_top_eigenvalue(
            model, weighted_squares, x, y, tolerance=0.0
        )
        distinct = sorted(set(values))
        size = np.max(np.abs(values))
        self.assertAllClose(result.eigenvalue, distinct[-1], atol=RTOL * size)
        self.assertAllClose(result.smallest, distinct[0], atol=RTOL * size)
        self.assertAllClose(result.nodes, distinct, atol=RTOL * size)
        self.assertEqual(result.iterations, len(distinct))
        self.assertLessEqual(result.residual, 1e-5 * size)
        # What the start vector has of each eigenspace.
        (start,) = curvature.CurvatureMeter(model, weighted_squares)._whole._start()
        share = np.square(np.ravel(start))
        expected = [share[np.equal(values, value)].sum() for value in distinct]
        self.assertAllClose(result.weights, expected, atol=1e-5)

    def test_quadrature_has_the_moments_of_the_start_vector(self):
        values = np.random.default_rng(0).normal(size=12)
        model, x, y = _diagonal(values)
        meter = curvature.CurvatureMeter(
            model, weighted_squares, iterations=3, tolerance=0.0, seed=7
        )
        result = meter(diagnostics.snapshot(model), x, y)
        share = np.square(np.ravel(meter._whole._start()[0]))
        self.assertEqual(result.iterations, 3)
        for degree in range(6):
            moment = np.sum(share * values**degree)
            found = np.sum(result.weights * result.nodes**degree)
            self.assertAllClose(found, moment, rtol=1e-4, atol=1e-5)

    def test_loss_of_orthogonality_moves_no_extreme_eigenvalue(self):
        values = np.concatenate([[1e3, -400.0], np.linspace(0.0, 1.0, 48)])
        model, x, y = _diagonal(values)
        meter = curvature.CurvatureMeter(model, weighted_squares, tolerance=0.0)
        result = meter(diagnostics.snapshot(model), x, y)
        self.assertAllClose(result.eigenvalue, 1e3, rtol=RTOL)
        self.assertAllClose(result.smallest, -400.0, rtol=RTOL)
        copies = np.abs(result.nodes - 1e3) < 1.0
        self.assertGreater(np.sum(copies), 1)  # else the test shows nothing
        share = np.square(np.ravel(meter._whole._start()[0]))
        self.assertAllClose(np.sum(result.weights[copies]), share[0], rtol=1e-3)
        self.assertAllClose(np.sum(result.weights), 1.0)

    def test_stops_when_the_residual_is_small_enough(self):
        values = np.concatenate([[10.0], np.linspace(0.0, 5.0, 59)])
        model, x, y = _diagonal(values)
        runs = {
            tolerance: curvature.hessian_top_eigenvalue(
                model, weighted_squares, x, y, tolerance=tolerance
            )
            for tolerance in (0.1, 1e-3)
        }
        for tolerance, run in runs.items():
            self.assertLessEqual(run.residual, tolerance * run.eigenvalue)
            self.assertLessEqual(abs(run.eigenvalue - 10.0), run.residual + 1e-5)
        self.assertLess(runs[0.1].iterations, runs[1e-3].iterations)
        self.assertLess(runs[1e-3].iterations, 30)
        few = curvature.hessian_top_eigenvalue(
            model, weighted_squares, x, y, iterations=3
        )
        self.assertEqual((few.iterations, len(few.nodes)), (3, 3))
        self.assertGreater(few.residual, 1e-2)

    def test_each_end_has_a_residual_of_its_own(self):
        # The largest eigenvalue stands alone, and the smallest is one of many.
        values = np.concatenate([[10.0], np.linspace(0.5, 1.0, 39)])
        model, x, y = _diagonal(values)
        one, both = (
            curvature.hessian_top_eigenvalue(
                model, weighted_squares, x, y, tolerance=1e-2, both_ends=both_ends
            )
            for both_ends in (False, True)
        )
        for run in (one, both):
            self.assertLessEqual(run.residual, 1e-2 * run.eigenvalue)
            for found, residual in (
                (run.eigenvalue, run.residual),
                (run.smallest, run.smallest_residual),
            ):
                distance = np.min(np.abs(values - found))
                self.assertLessEqual(distance, residual + 1e-5)
        self.assertGreater(one.smallest_residual, 0.02)
        self.assertGreater(one.smallest, 0.51)
        self.assertLessEqual(both.smallest_residual, 1e-2 * both.smallest)
        self.assertAllClose(both.smallest, 0.5, rtol=1e-2)
        self.assertGreater(both.iterations, one.iterations)

    @parameterized.named_parameters(*MODELS.items())
    def test_equals_a_hessian_of_finite_differences(self, make):
        model = make(dtype="float64")
        x, y = classification_batch((3,), 3, dtype="float64")
        model(x)
        _move(model)
        hessian = _hessian(model, cross_entropy, x, y)
        result = curvature.hessian_top_eigenvalue(
            model, cross_entropy, x, y, tolerance=1e-9
        )
        values = np.linalg.eigvalsh(hessian)
        self.assertAllClose(result.eigenvalue, values[-1], atol=DIFFERENCES)
        self.assertGreaterEqual(result.smallest, values[0] - DIFFERENCES)

    def test_layers_are_blocks_of_the_hessian(self):
        model = functional(dtype="float64")
        x, y = classification_batch((3,), 3, dtype="float64")
        hessian = _hessian(model, cross_entropy, x, y)
        meter = curvature.CurvatureMeter(
            model, cross_entropy, per_layer=True, tolerance=1e-9
        )
        result = meter(diagnostics.snapshot(model), tf.constant(x), tf.constant(y))
        groups = diagnostics.layer_groups(model)
        self.assertEqual([c.name for c in result.layers], ["hidden", "logits"])
        for layer, group in zip(result.layers, groups, strict=True):
            places = _places(model, group.indices)
            values = np.linalg.eigvalsh(hessian[np.ix_(places, places)])
            self.assertAllClose(layer.eigenvalue, values[-1], atol=DIFFERENCES)
            self.assertLessEqual(layer.residual, 1e-9 * layer.eigenvalue + 1e-12)
        one = curvature.hessian_top_eigenvalue(
            model, cross_entropy, x, y, group="logits", tolerance=1e-9
        )
        self.assertEqual((one.name, one.layers), ("logits", ()))
        self.assertAllClose(one.eigenvalue, result.layers[1].eigenvalue)

    def test_groups_of_ones_own(self):
        # With y = 0 and x = I, L = |A B|^2 / 2: the block of A is kron(I, BB').
        model = models.deep_linear(depth=2, units=3)
        meter = curvature.CurvatureMeter(
            model, squared_error, groups={"first": ["linear1"]}, per_layer=True
        )
        x = tf.eye(3)
        result = meter(diagnostics.snapshot(model), x, tf.zeros_like(x))
        (layer,) = result.layers
        b = model.get_weights()[1].astype("float64")
        self.assertEqual(layer.name, "first")
        self.assertAllClose(
            layer.eigenvalue, np.linalg.eigvalsh(b @ b.T)[-1], rtol=RTOL
        )
        self.assertGreater(result.eigenvalue, 1.01 * layer.eigenvalue)

    def test_renorm_takes_its_correction_for_a_constant(self):
        # With r a constant and d = 0 it is batch normalisation with r * gamma.
        renorm = sequential(lambda: tfbn.BatchRenorm(rmax=float("inf"), dmax=0.0))
        plain = sequential(keras.layers.BatchNormalization)
        x, y = classification_batch((3,), 3)
        for model in (renorm, plain):
            model(x)
        plain.layers[0].set_weights(renorm.layers[0].get_weights())
        plain.layers[3].set_weights(renorm.layers[3].get_weights())
        hidden = renorm.layers[0](x).numpy()
        scale = np.sqrt(hidden.var(0) + 1e-3)  # moving_stddev is 1
        plain.layers[1].gamma.assign(scale)
        values = []
        for model in (renorm, plain):
            meter = curvature.CurvatureMeter(
                model,
                cross_entropy,
                groups={"kernel": [model.layers[0].name]},
                per_layer=True,
                iterations=5,
            )
            state = diagnostics.snapshot(model)
            values.append(meter(state, tf.constant(x), tf.constant(y)).layers[0])
        self.assertAllClose(values[0].eigenvalue, values[1].eigenvalue, rtol=1e-4)
        self.assertAllClose(values[0].nodes, values[1].nodes, rtol=1e-3, atol=1e-4)

    def test_kernels_of_large_batches(self):
        # tfbn has kernels of its own for 2^15 elements and more.
        x = np.random.default_rng(0).normal(size=(1024, 3)).astype("float32")
        y = np.random.default_rng(0).integers(0, 3, 1024)
        values = []
        for norm in (tfbn.BatchNorm, keras.layers.BatchNormalization):
            keras.utils.set_random_seed(3)
            layers = [keras.layers.Dense(32), norm(), keras.layers.Dense(3)]
            model = keras.Sequential(layers)
            model(x[:2])
            run = curvature.hessian_top_eigenvalue(model, cross_entropy, x, y)
            values.append(run.eigenvalue)
        self.assertAllClose(values[0], values[1], rtol=1e-4)

    def test_inputs_in_a_structure(self):
        a, b = keras.Input((2,), name="a"), keras.Input((2,), name="b")
        y = keras.layers.Dense(1, use_bias=False, name="sum")(a + b)
        model = keras.Model({"a": a, "b": b}, {"out": y})
        x = np.random.default_rng(0).normal(size=(2, 5, 2)).astype("float32")
        result = curvature.hessian_top_eigenvalue(
            model,
            lambda y_true, y_pred: squared_error(y_true["out"], y_pred["out"]),
            {"a": x[0], "b": x[1]},
            {"out": np.zeros([5, 1], "float32")},
        )
        values = np.linalg.eigvalsh((x[0] + x[1]).T @ (x[0] + x[1]))
        self.assertAllClose(result.eigenvalue, values[-1], rtol=RTOL)

    def test_embedding_and_frozen_layer(self):
        model = keras.Sequential(
            [
                keras.layers.Embedding(4, 2),
                keras.layers.Flatten(),
                keras.layers.Dense(1, use_bias=False, trainable=False),
            ]
        )
        x = np.array([[0, 1], [1, 2]])
        model(x)
        result = curvature.hessian_top_eigenvalue(
            model, squared_error, x, np.zeros([2, 1]), tolerance=1e-6
        )
        a, b = model.layers[2].get_weights()[0].reshape(2, 2).astype("float64")
        none = np.zeros(2)
        rows = [np.concatenate(r) for r in ([a, b, none, none], [none, a, b, none])]
        values = np.linalg.eigvalsh(np.transpose(rows) @ rows)
        self.assertAllClose(result.eigenvalue, values[-1], rtol=RTOL)

    def test_inference_mode_on_request(self):
        # By its averages, 0 and 1, a normalisation without weights does nothing.
        norm = keras.layers.BatchNormalization(center=False, scale=False, epsilon=1e-9)
        dense = keras.layers.Dense(1, use_bias=False)
        model = keras.Sequential([keras.Input((3,)), norm, dense])
        x = 1.0 + np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
        normalized = (x - x.mean(0)) / x.std(0)
        for training, features in ((True, normalized), (False, x)):
            run = curvature.hessian_top_eigenvalue(
                model, squared_error, x, np.zeros([8, 1]), training=training
            )
            values = np.linalg.eigvalsh(features.T @ features)
            self.assertAllClose(run.eigenvalue, values[-1], rtol=1e-4)

    def test_noise_is_that_of_the_seeds(self):
        model = models.mlp(
            hidden_units=(4,),
            input_shape=(3,),
            norm=lambda: tfbn.NoisyBatchNorm(seed=3),
            num_classes=3,
        )
        x, y = classification_batch((3,), 3)
        meter = curvature.CurvatureMeter(model, cross_entropy)
        args = diagnostics.snapshot(model), tf.constant(x), tf.constant(y)
        self.assertEqual(meter(*args).eigenvalue, meter(*args).eigenvalue)

    def test_seed_is_that_of_the_start_vector(self):
        values = np.linspace(-1.0, 2.0, 30)
        model, x, y = _diagonal(values)
        runs = [
            curvature.hessian_top_eigenvalue(model, weighted_squares, x, y, seed=seed)
            for seed in (0, 0, 1)
        ]
        self.assertAllEqual(runs[0].nodes, runs[1].nodes)
        self.assertNotAllClose(runs[0].nodes[1], runs[2].nodes[1], rtol=1e-3)
        self.assertAllClose(runs[0].eigenvalue, runs[2].eigenvalue, rtol=1e-4)

    def test_half_precision(self):
        x, y = classification_batch((3,), 3)

        def small(y_true, y_pred):  # float16 would lose it
            return 1e-3 * cross_entropy(y_true, tf.cast(y_pred, tf.float32))

        values = {}
        for policy in ("float32", *HALF):
            keras.utils.set_random_seed(4)
            model = functional(dtype=policy)
            run = curvature.hessian_top_eigenvalue(model, small, x, y)
            values[policy] = run.eigenvalue
        for policy, rtol in HALF.items():
            self.assertAllClose(values[policy], values["float32"], rtol=rtol)

    def test_jit_compile(self):
        model, (x, y) = functional(), classification_batch((3,), 3)
        args = diagnostics.snapshot(model), tf.constant(x), tf.constant(y)
        values = [
            curvature.CurvatureMeter(model, cross_entropy, jit_compile=jit)(*args)
            for jit in (False, True)
        ]
        self.assertAllClose(values[0].eigenvalue, values[1].eigenvalue, rtol=1e-4)

    @parameterized.parameters(float("nan"), float("inf"))
    def test_loss_that_is_not_finite(self, value):
        model, x, y = _diagonal([1.0, 2.0])

        def shifted(y_true, y_pred):  # its derivatives are finite
            return weighted_squares(y_true, y_pred) + value

        state = diagnostics.snapshot(model)
        broken = state._replace(parameters=[value * p for p in state.parameters])
        meter = curvature.CurvatureMeter(model, shifted, per_layer=True)
        quadratic = curvature.CurvatureMeter(model, weighted_squares, per_layer=True)
        for result in (meter(state, x, y), quadratic(broken, x, y)):
            for run in (result, *result.layers):
                summary = [run.eigenvalue, run.smallest, run.residual]
                self.assertAllEqual(np.isnan(summary), [True] * 3)
                self.assertAllEqual(np.isnan(run.nodes), [True] * run.iterations)
                self.assertAllEqual(np.isnan(run.weights), [True] * run.iterations)
            json.dumps(result.record())

    def test_cost(self):
        model, x, y = _diagonal([1.0, 2.0, 3.0])
        whole = curvature.CurvatureMeter(model, weighted_squares, iterations=2).cost
        both = curvature.CurvatureMeter(model, weighted_squares, per_layer=True).cost
        self.assertEqual(both.passes, 3 * whole.passes)  # 2 to 3 + 3 products

    def test_group_and_batch_are_checked(self):
        model, (x, y) = functional(), classification_batch((3,), 3)
        with self.assertRaisesRegex(ValueError, "group='logit'. Did you mean 'logits'"):
            curvature.hessian_top_eigenvalue(model, cross_entropy, x, y, group="logit")
        with self.assertRaisesRegex(ValueError, r"Received: shapes \(16, 3\), \(15,\)"):
            curvature.hessian_top_eigenvalue(model, cross_entropy, x, y[1:])
        with self.assertRaisesRegex(ValueError, "groups=.*per_layer=False"):
            groups = {"a": ["hidden"]}
            curvature.CurvatureMeter(model, cross_entropy, groups=groups)


def _diagonal(values):
    """A model, and a batch, with the Hessian diag(values) under weighted_squares."""
    inputs = keras.Input((len(values),))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs))
    x = tf.eye(len(values))
    return model, x, tf.constant(np.reshape(values, [-1, 1]), tf.float32)


def _move(model):
    rng = np.random.default_rng(2)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))


def _places(model, indices):
    """Those of the parameters of the given indices in the flat vector of all."""
    sizes = [int(np.prod(v.shape)) for v in model.trainable_variables]
    ends = np.cumsum(sizes)
    return np.concatenate([np.arange(ends[i] - sizes[i], ends[i]) for i in indices])


def _hessian(model, loss, x, y, step=1e-5):
    """By central differences of the live model's gradients."""
    variables = model.trainable_variables
    initial = [v.numpy().copy() for v in variables]

    @tf.function(autograph=False)
    def traced():
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        return tape.gradient(value, [v.value for v in variables])

    def gradient(flat):
        begin = 0
        for variable, value in zip(variables, initial, strict=True):
            part = flat[begin : begin + value.size]
            variable.assign(np.reshape(part, value.shape))
            begin += value.size
        return np.concatenate([np.ravel(g) for g in traced()])

    center = np.concatenate([np.ravel(v) for v in initial])
    rows = [
        (gradient(center + e) - gradient(center - e)) / (2 * step)
        for e in step * np.eye(center.size)
    ]
    gradient(center)
    return (np.array(rows) + np.transpose(rows)) / 2


if __name__ == "__main__":
    tf.test.main()
