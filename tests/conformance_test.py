"""What every layer of tfbn must do, checked for each of them.

A new layer is registered in tests/layers/every_layer.py (a test fails until it is) and
gets all of this. `NumericalTest` is the numerical conformance: each layer by each
implementation of the numerics, in each mode and dtype, against float64 references.
Any shapes, masks and data have the property tests in tests/layers.
"""

import copy
import itertools
import json
import os
import pickle

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.layers.every_layer import AFFINE
from tests.layers.every_layer import CLASSES
from tests.layers.every_layer import LAYERS
from tests.layers.every_layer import NORMALIZERS
from tests.layers.every_layer import QUIET
from tests.layers.every_layer import each
from tfbn import ops
from tfbn.ops import implementations

# Eager, traced and compiled: the order of sums differs, some ten float32 operations.
SAME = 1e-5
# float32 against float64 references.
EXACT = 2e-6
# Central differences of float64 gradients.
DIFFERENCES = 1e-6


def batch(shape=(6, 4), axis=-1, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    return testing_utils.random_batch(rng, shape, axis, dtype=dtype)


def variables(layer):
    """All state, that of seed generators included, as arrays."""
    return [v.numpy() for v in layer.variables]


def seeds(model):
    """The states of a model's seed generators: its variables that are no weights."""
    weights = {id(w) for w in model.weights}
    return [v for v in model.variables if id(v) not in weights]


class ConformanceTest(tf.test.TestCase, parameterized.TestCase):
    def assert_same_variables(self, a, b):
        for one, other in zip(variables(a), variables(b), strict=True):
            self.assertAllEqual(one, other)

    def assert_finite(self, values):
        for value in tf.nest.flatten(values):
            value = np.asarray(value).astype("float64")
            self.assertAllInSet(np.isfinite(value), [True])

    def assert_close(self, actual, expected, tolerance=SAME):
        actual, expected = tf.nest.flatten(actual), tf.nest.flatten(expected)
        for a, b in zip(actual, expected, strict=True):
            scale = max(1.0, np.max(np.abs(b)))
            self.assertAllClose(a, b, rtol=0.0, atol=tolerance * scale)


# A shape for each implementation of batch normalisation and renormalisation, which it
# is made to serve (LpBatchNorm has one of its own).
SHAPES = {
    "formula": (6, 5, 4),
    "cpu_kernels": (512, 8, 8),
    "cpu_sums": (512, 8, 8),
    "by_size": (512, 8, 8),
    "wide_sums": (6, 5, 4),
    "one_pass": (8, 5, 6, 8),
}
# By dtype of the input, what a result may be off by.
TOLERANCES = {
    "float64": 1e-13,
    "float32": EXACT,
    "bfloat16": EXACT + 2.0**-8,
    "float16": EXACT + 2.0**-11,
}
VARIANTS = ("BatchNorm/plain", "BatchRenorm/fixed")
WAYS = (
    ("formula", "eager", "float64"),
    ("formula", "eager", "float32"),
    ("formula", "eager", "bfloat16"),
    ("formula", "eager", "float16"),
    ("formula", "graph", "float32"),
    ("formula", "unknown_size", "float32"),
    ("formula", "xla", "float32"),
    ("cpu_kernels", "eager", "float32"),
    ("cpu_kernels", "eager", "bfloat16"),
    ("cpu_kernels", "eager", "float16"),
    ("cpu_kernels", "graph", "float32"),
    ("cpu_kernels", "unknown_size", "float32"),
    ("cpu_sums", "eager", "float32"),
    ("cpu_sums", "eager", "bfloat16"),
    ("cpu_sums", "unknown_size", "float32"),
    ("by_size", "graph", "float32"),
    ("by_size", "unknown_size", "float32"),
    ("by_size", "unknown_size", "bfloat16"),
    ("wide_sums", "eager", "float32"),
    ("wide_sums", "eager", "bfloat16"),
    ("wide_sums", "eager", "float16"),
    ("wide_sums", "graph", "float32"),
    ("wide_sums", "unknown_size", "float32"),
    ("one_pass", "gpu", "float32"),
    ("one_pass", "gpu", "bfloat16"),
    ("one_pass", "tpu", "float32"),
    ("one_pass", "tpu", "float16"),
)


class NumericalTest(ConformanceTest):
    @parameterized.parameters(
        (name, *way)
        for name in QUIET
        for way in WAYS
        # LpBatchNorm has one implementation; what a variant has is the same in all.
        if way[0] in ("formula", "one_pass") or not name.startswith("LpBatchNorm")
        if way[1:] == ("eager", "float32") or name not in VARIANTS
    )
    def test_plain(self, name, implementation, mode, dtype):
        if not name.startswith("LpBatchNorm"):
            self.enter_context(ops.preferring(implementation))
        self.check(name, mode, dtype, SHAPES[implementation])

    @parameterized.parameters(
        *itertools.product(
            ("BatchNorm", "BatchRenorm/two_sets", "LpBatchNorm/2", "LpBatchNorm/inf"),
            (("eager", "float64"), ("eager", "float32"), ("unknown_size", "float32")),
        ),
        ("BatchNorm", ("xla", "float32")),
        ("LpBatchNorm/2", ("xla", "float32")),
        ("BatchRenorm/two_sets", ("gpu", "float32")),
        ("BatchNorm", ("tpu", "float32")),
        ("LpBatchNorm/inf", ("tpu", "float32")),
    )
    def test_masked_virtual_batches(self, name, way):
        """Of four groups the second is empty, and of the channels the last; the axis is
        not the last."""
        self.check(name, *way, (8, 4, 5), axis=1, masked=True, size=2)

    def check(self, name, mode, dtype, shape, axis=-1, masked=False, size=None):
        if mode in ops.TARGETS:  # XLA's code for it, run by this machine's XLA
            self.enter_context(ops.compiling_for(mode))
            mode = "xla"
        rng = np.random.default_rng(0)
        layer = QUIET[name](
            axis=axis, momentum=0.75, dtype=dtype, virtual_batch_size=size
        )
        layer.build(shape)
        testing_utils.set_random_state(layer, rng)
        if "step" in testing_utils.state(layer):
            layer.step.assign(3)  # on the ramps
        # The layers see numbers of their dtype, and so do the references.
        x = tf.cast(batch(shape, axis, dtype="float64"), dtype)
        upstream = tf.cast(rng.normal(size=shape) + 0.5, dtype)
        mask = None
        if masked:
            mask = rng.uniform(size=shape[:2]) < 0.6
            mask[::2], mask[2:4], mask[:, -1] = True, False, False
        wide = tf.cast(x, "float64").numpy()
        expected = testing_utils.TrainingCall(layer, wide, mask)
        step = testing_utils.trainer(layer, mask, mode)
        y, gradients = step(x, upstream)
        self.assertEqual(y.dtype, dtype)
        if masked:  # what is masked is normalised too, without any exactness
            y = tf.where(mask[..., None], y, tf.cast(expected.output, dtype))
        wanted = expected.gradients(tf.cast(upstream, "float64").numpy())
        wide_dtype = "float64" if dtype == "float64" else "float32"
        self.assert_relative([y, gradients[0]], [expected.output, wanted[0]], dtype)
        self.assert_relative(gradients[1:], wanted[1:], wide_dtype, 2.0)
        after = testing_utils.state(layer)
        self.assertEqual(list(after), list(expected.after()))
        self.assert_relative(after.values(), expected.after().values(), wide_dtype)
        self.assert_unchanged_by_nan(layer, step, x, upstream)

    def assert_relative(self, actual, expected, dtype, factor=1.0):
        for one, other in zip(actual, expected, strict=True):
            error = testing_utils.relative_error(tf.cast(one, "float64"), other)
            self.assertLess(error, factor * TOLERANCES[dtype])

    def assert_unchanged_by_nan(self, layer, step, x, upstream):
        """By the same, traced function: the averages stay, and other channels too."""
        before = testing_utils.state(layer)
        bad = np.moveaxis(tf.cast(x, "float64").numpy(), layer.axis, -1)
        bad[0, ..., 1] = np.nan
        bad = np.moveaxis(bad, -1, layer.axis)
        y, _ = step(tf.cast(bad, x.dtype), upstream)
        after = testing_utils.state(layer)
        if "step" in before:
            self.assertEqual(after.pop("step"), before.pop("step") + 1)
        testing_utils.assert_same_state(after, before)
        y = np.moveaxis(tf.cast(y, "float64").numpy(), layer.axis, -1)
        self.assertAllEqual(np.isnan(y[0, ..., 1]), np.ones(y.shape[1:-1], bool))
        self.assert_finite(y[..., 0])

    def test_every_implementation_is_made_to_serve(self):
        names = {i.NAME for i in implementations.IMPLEMENTATIONS}
        self.assertEqual(set(SHAPES), names - {"lp_formula"})
        for name, shape in SHAPES.items():
            self.enter_context(ops.preferring(name))
            if name == "one_pass":
                self.enter_context(ops.compiling_for("tpu"))
            path = ops.serving_path(tf.zeros(shape), len(shape) - 1)
            self.assertEqual(path, name)


class RegistryTest(ConformanceTest):
    def test_every_public_layer_is_registered(self):
        self.assertEqual(set(CLASSES), set(tfbn.layers.__all__))
        for name, make in LAYERS.items():
            self.assertEqual(type(make()).__name__, name.partition("/")[0])


class ShapeTest(ConformanceTest):
    @each(LAYERS)
    def test_rank_and_axis_only_move_the_channels(self, make):
        """The same numbers with the channels last give the same result."""
        for shape, axis in (
            ((6, 4), 1),
            ((4, 3, 5), 1),
            ((3, 2, 4, 5), 2),
            ((2, 3, 2, 2, 3), -4),
        ):
            x = batch(shape, axis)
            layers = make(axis=axis), make()
            quiet = not hasattr(layers[0], "seed")
            y, expected = (
                layer(data, training=quiet)
                for layer, data in zip(
                    layers, (x, np.moveaxis(x, axis, -1)), strict=True
                )
            )
            with self.subTest(shape=shape, axis=axis):
                self.assertEqual(y.shape, shape)
                self.assertEqual(layers[0].compute_output_shape(shape), shape)
                self.assert_close(np.moveaxis(y, axis, -1), expected, EXACT)
                self.assert_close(*(variables(layer) for layer in layers), EXACT)

    @each(CLASSES)
    def test_one_trace_for_any_batch_and_image_size(self, make):
        layer = make()
        model = testing_utils.one_layer_model(layer, (None, None, 3))
        self.assertEqual(model.output_shape, (None, None, None, 3))
        call, traces = testing_utils.count_traces(
            lambda x: model(x, training=True),
            input_signature=[tf.TensorSpec((None, None, None, 3))],
        )
        for shape in ((2, 4, 4, 3), (5, 3, 2, 3), (1, 1, 1, 3)):
            self.assert_finite(call(tf.constant(batch(shape))))
        self.assertLen(traces, 1)

    @each(LAYERS)
    def test_a_batch_of_one_and_constant_inputs(self, make):
        for x in (batch((1, 4)), *(np.full((6, 4), c) for c in (0.0, 3.5, 1e6))):
            layer = make()
            results = testing_utils.train_call(layer, x, np.ones_like(x))
            self.assert_finite([*results, *variables(layer), layer(tf.constant(x))])

    @each(NORMALIZERS)
    def test_masked_elements_do_not_count(self, make):
        """Whatever they are, NaN included, whichever axis holds the channels."""
        rng = np.random.default_rng(1)
        for axis, sizes in ((-1, (6, 5)), (1, (6, 1)), (1, (6, 5)), ((1, 2), (6, 5))):
            mask = rng.uniform(size=sizes) < 0.6
            x = batch((6, 5, 4), -1)
            kept = np.broadcast_to(mask[..., None], x.shape)
            layers = make(axis=axis), make(axis=axis)
            results = [
                layer(data.astype("float32"), training=True, mask=tf.constant(mask))
                for layer, data in zip(
                    layers, (x, np.where(kept, x, np.nan)), strict=True
                )
            ]
            with self.subTest(axis=axis, sizes=sizes):
                self.assertAllEqual(*(np.where(kept, y, 0.0) for y in results))
                self.assert_same_variables(*layers)

    @each(CLASSES)
    def test_passes_on_the_mask_of_an_embedding(self, make):
        layer = make()
        model = keras.Sequential(
            [keras.layers.Embedding(9, 4, mask_zero=True), layer, keras.layers.LSTM(2)]
        )
        tokens = np.array([[1, 2, 0], [3, 4, 5]])
        self.assert_finite(model(tokens, training=True))
        self.assertTrue(layer.supports_masking)


class WeightsTest(ConformanceTest):
    @each(AFFINE)
    def test_regularizers_add_losses(self, make):
        layer = make(
            gamma_regularizer=keras.regularizers.L1(0.5),
            beta_regularizer=keras.regularizers.L2(2.0),
        )
        layer.build((None, 3))
        layer.gamma.assign([1.0, -2.0, 3.0])
        layer.beta.assign([1.0, 0.0, -2.0])
        self.assertAllClose(sorted(float(loss) for loss in layer.losses), [3.0, 10.0])

    @each(AFFINE)
    def test_constraints_are_applied_by_an_optimizer(self, make):
        layer = make(
            gamma_constraint=keras.constraints.NonNeg(),
            beta_constraint=keras.constraints.NonNeg(),
        )
        layer.build((None, 3))
        optimizer = keras.optimizers.SGD(1.0)
        gradients = [tf.constant([5.0, -1.0, 0.0])] * 2
        optimizer.apply(gradients, layer.trainable_variables)
        self.assertAllClose(layer.gamma, [0.0, 2.0, 1.0])
        self.assertAllClose(layer.beta, [0.0, 1.0, 0.0])

    @each(NORMALIZERS)
    def test_frozen_it_infers_and_changes_nothing(self, make):
        layer, x = make(), batch()
        layer(x, training=True)
        expected = layer(x)
        layer.trainable = False
        before = variables(layer)
        self.assertAllEqual(layer(x, training=True), expected)
        self.assertEmpty(layer.trainable_weights)
        for a, b in zip(before, variables(layer), strict=True):
            self.assertAllEqual(a, b)

    @each(LAYERS)
    def test_inference_changes_nothing(self, make):
        layer, x = make(), batch()
        layer.build(x.shape)
        before = variables(layer)
        for options in ({}, {"training": False}, {"training": None}):
            layer(x, **options)
        for a, b in zip(before, variables(layer), strict=True):
            self.assertAllEqual(a, b)

    @each(NORMALIZERS)
    def test_an_unusable_batch_leaves_the_averages(self, make):
        for what in ("nan", "-inf", "empty", "all_masked"):
            layer, x, options = make(), batch((6, 5, 4)), {}
            layer(x, training=True)
            before = testing_utils.state(layer)
            if what == "empty":
                x = x[:0]
            elif what == "all_masked":
                options["mask"] = tf.zeros((6, 5), "bool")
            else:
                x[2, 3, 1] = float(what)
            y = layer(x, training=True, **options)
            self.assertEqual(y.shape, x.shape)
            after = testing_utils.state(layer)
            if "step" in before:
                self.assertEqual(after.pop("step"), before.pop("step") + 1)
            with self.subTest(what=what):
                testing_utils.assert_same_state(after, before)


class PolicyTest(ConformanceTest):
    @each(LAYERS)
    def test_dtypes(self, make):
        for policy in ("mixed_float16", "bfloat16", "float32", "float64"):
            layer, x = make(dtype=policy), batch()
            compute = keras.DTypePolicy(policy).compute_dtype
            self.assertEqual(layer(x, training=True).dtype, compute)
            self.assertEqual(layer(x).dtype, compute)
            statistics = "float64" if policy == "float64" else "float32"
            for weight in layer.weights:
                expected = "int64" if weight.name == "step" else statistics
                self.assertEqual(weight.dtype, expected, weight.name)

    @each(QUIET)
    def test_half_precision_has_float32_statistics(self, make):
        """And gamma and beta of more digits than the activations have."""
        for policy in ("mixed_float16", "bfloat16"):
            half, full = make(dtype=policy), make()
            for layer in (half, full):
                layer.build((40, 4))
                testing_utils.set_random_state(layer, np.random.default_rng(1))
            x = tf.cast(tf.cast(batch((40, 4)) + 50.0, half.compute_dtype), "float32")
            for options in ({"training": True}, {}):
                y, expected = half(x, **options), full(x, **options)
                self.assertAllEqual(y, tf.cast(expected, half.compute_dtype))
            self.assert_same_variables(half, full)

    @each(LAYERS)
    def test_gradients_in_mixed_precision(self, make):
        layer, x = make(dtype="mixed_float16"), batch()
        layer.build(x.shape)
        _, gradients = testing_utils.train_call(layer, x, np.ones_like(x))
        self.assert_finite(gradients)
        for gradient, weight in zip(
            gradients[1:], layer.trainable_weights, strict=True
        ):
            self.assertEqual(gradient.dtype, weight.dtype)


# Other variants have the weights of these.
OTHER_WEIGHTS = ("BatchNorm/plain", "BatchRenorm/two_sets")
SAVED = CLASSES | {name: LAYERS[name] for name in OTHER_WEIGHTS}


class SerializationTest(ConformanceTest):
    @each(LAYERS)
    def test_config_round_trip(self, make):
        layer = make(name="norm", dtype="mixed_bfloat16")
        config = layer.get_config()
        self.assertEqual(json.loads(json.dumps(config)), config)
        self.assertEqual(type(layer).from_config(config).get_config(), config)
        layer(batch(), training=True)
        self.assertEqual(layer.get_config(), config)
        config = keras.saving.serialize_keras_object(layer)
        self.assertEqual(config["registered_name"], f"tfbn>{type(layer).__name__}")
        again = keras.saving.deserialize_keras_object(config)
        self.assertIs(type(again), type(layer))
        self.assertEqual(again.get_config(), layer.get_config())

    @each(NORMALIZERS)
    def test_config_keeps_virtual_batches(self, make):
        options = {"virtual_batch_size": 2, "virtual_batch_order": "interleaved"}
        config = make(**options).get_config()
        self.assertEqual(config | options, config)
        cls = type(make())
        self.assertEqual(cls.from_config(config).get_config(), config)

    def trained_model(self, make):
        layer = make()
        model = testing_utils.one_layer_model(layer, (4,))
        for seed in range(3):
            model(batch(seed=seed), training=True)
        return model

    def assert_same_model(self, model, other):
        x = batch(seed=9)
        self.assertAllEqual(other(x), model(x))
        self.assert_same_weights(other, model)
        # Keras saves no state of a seed generator, of its own layers neither.
        for theirs, ours in zip(seeds(other), seeds(model), strict=True):
            theirs.assign(ours)
        self.assert_close(other(x, training=True), model(x, training=True))
        self.assert_same_weights(other, model)

    def assert_same_weights(self, a, b):
        for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
            self.assertAllEqual(one, other)

    @each(SAVED)
    def test_keras_file(self, make):
        model = self.trained_model(make)
        path = os.path.join(self.get_temp_dir(), "model.keras")
        model.save(path)
        self.assert_same_model(model, keras.saving.load_model(path))

    @each(SAVED)
    def test_weights_file(self, make):
        model = self.trained_model(make)
        path = os.path.join(self.get_temp_dir(), "model.weights.h5")
        model.save_weights(path)
        other = testing_utils.one_layer_model(make(), (4,))
        other.load_weights(path)
        self.assert_same_model(model, other)

    @each(CLASSES)
    def test_saved_model(self, make):
        model = self.trained_model(make)
        path = os.path.join(self.get_temp_dir(), "exported")
        model.export(path, verbose=False)
        served = tf.saved_model.load(path)
        for size in (2, 5):
            x = batch((size, 4), seed=9)
            self.assert_close(served.serve(x), model(x), EXACT)

    @each(SAVED)
    def test_checkpoint(self, make):
        model = self.trained_model(make)
        path = tf.train.Checkpoint(model=model).write(
            os.path.join(self.get_temp_dir(), "checkpoint")
        )
        other = testing_utils.one_layer_model(make(), (4,))
        status = tf.train.Checkpoint(model=other).read(path)
        status.assert_existing_objects_matched()
        self.assert_same_model(model, other)

    @each(SAVED)
    def test_deepcopy_and_pickle(self, make):
        model = self.trained_model(make)
        for copied in (copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))):
            other = copied(model)
            self.assert_same_model(model, other)
            before = variables(model)
            other(batch(), training=True)  # touches only the copy
            for a, b in zip(before, variables(model), strict=True):
                self.assertAllEqual(a, b)


class ModesTest(ConformanceTest):
    @parameterized.parameters(("BatchNorm", False), ("BatchRenorm", True))
    def test_fit(self, name, jit_compile):
        model = keras.Sequential([LAYERS[name](), keras.layers.Dense(2)])
        model.compile("sgd", "mse", jit_compile=jit_compile)
        x = batch()
        model.fit(x, x[:, :2], batch_size=6, epochs=1, verbose=0)
        self.assert_finite([variables(model), model(x)])

    @each(LAYERS)
    def test_stateless_call_changes_nothing(self, make):
        layer = make()
        layer.build((6, 4))
        reference = make()
        reference.build((6, 4))
        before = variables(layer)
        y, updated = layer.stateless_call(
            layer.trainable_variables,
            layer.non_trainable_variables,
            tf.constant(batch()),
            training=True,
        )
        for a, b in zip(before, variables(layer), strict=True):
            self.assertAllEqual(a, b)
        self.assertAllEqual(y, reference(batch(), training=True))
        expected = reference.non_trainable_variables
        for a, b in zip(updated, expected, strict=True):
            self.assertAllEqual(a, b)


class SecondDerivativeTest(ConformanceTest):
    """Hessian-vector products of a training call, against finite differences."""

    def gradient(self, layer, x):
        # Without state: each evaluation starts from the same averages and seed.
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, _ = layer.stateless_call(
                layer.trainable_variables,
                layer.non_trainable_variables,
                x,
                training=True,
            )
            loss = tf.reduce_sum(tf.sin(1.3 * y))
        return tape.gradient(loss, x)

    @parameterized.product(
        name=tuple(name for name in LAYERS if not name.startswith("BatchRenorm"))
    )
    def test_hessian_vector_product(self, name):
        self.check(LAYERS[name](dtype="float64"))

    @parameterized.parameters((1.0, 0.0), (1.01, 0.01))
    def test_hessian_vector_product_of_renorm(self, rmax, dmax):
        """r and d are held by their bounds: unclipped, they would move with x."""
        layer = tfbn.BatchRenorm(rmax=rmax, dmax=dmax, dtype="float64")
        layer.build((6, 4))
        layer.moving_mean.assign(np.full(4, 50.0))
        layer.moving_stddev.assign(np.full(4, 9.0))
        self.check(layer)

    def check(self, layer):
        x = tf.constant(batch(dtype="float64"))
        if not layer.built:
            layer.build(x.shape)
        direction = tf.constant(np.random.default_rng(3).normal(size=x.shape))
        with tf.GradientTape() as tape:
            tape.watch(x)
            product = tf.reduce_sum(self.gradient(layer, x) * direction)
        actual = tape.gradient(product, x)
        delta = 1e-6
        expected = self.gradient(layer, x + delta * direction)
        expected -= self.gradient(layer, x - delta * direction)
        expected /= 2.0 * delta
        self.assert_finite(actual)
        self.assertLess(testing_utils.relative_error(actual, expected), DIFFERENCES)


class DistributionTest(ConformanceTest):
    """MirroredStrategy over two logical CPUs, in a custom loop."""

    SHAPE = (8, 3, 4)

    def run_replicas(self, make, data, steps=2, **options):
        """Trains on two halves of `data`: `(layer, outputs, input gradients)`."""
        strategy = testing_utils.two_cpus_strategy()
        with strategy.scope():
            layer = make(momentum=0.7, **options)
            layer.build(data.shape)

        def split(context):
            half = len(data) // 2
            start = context.replica_id_in_sync_group * half
            return tf.constant(data[start : start + half])

        inputs = strategy.experimental_distribute_values_from_function(split)

        def replica_step(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                loss = tf.reduce_sum(tf.sin(y))
            return y, tape.gradient(loss, x)

        step = tf.function(
            lambda: strategy.run(replica_step, (inputs,)), autograph=False
        )
        for _ in range(steps):
            results = step()
        results = [strategy.experimental_local_results(r) for r in results]
        return layer, *(np.concatenate(r) for r in results)

    def assert_mirrored(self, layer):
        for variable in layer.variables:
            copies = [copy.numpy() for copy in variable.value.values]
            self.assertLen(copies, 2)
            self.assertAllEqual(*copies)

    @parameterized.parameters(
        "BatchNorm", "BatchRenorm/two_sets", "LpBatchNorm", "NoisyBatchNorm"
    )
    def test_averages_are_the_mean_of_the_replicas(self, name):
        make = LAYERS[name]
        data = batch(self.SHAPE)
        layer, *_ = self.run_replicas(make, data, steps=1)
        self.assert_mirrored(layer)
        halves = []
        for half in (data[:4], data[4:]):
            alone = make(momentum=0.7)
            alone(half, training=True)
            halves.append(testing_utils.state(alone))
        for name, value in testing_utils.state(layer).items():
            if name == "step":
                self.assertEqual(value, 1)
            elif name == "moving_variance" and "moving_stddev" in halves[0]:
                # Derived from the mean of the standard deviations.
                variance = layer.moving_stddev.numpy() ** 2 - layer.epsilon
                self.assert_close(value, variance)
            else:
                self.assert_close(value, (halves[0][name] + halves[1][name]) / 2.0)

    @parameterized.parameters(
        ("BatchNorm", SHAPE),
        ("BatchNorm", (1024, 4, 8)),  # of the kernels, were it not synchronized
        ("BatchRenorm/two_sets", SHAPE),
        ("LpBatchNorm/2", SHAPE),
        ("LpBatchNorm/inf", SHAPE),
    )
    def test_synchronized_is_the_global_batch(self, name, shape):
        data, make = batch(shape), QUIET[name]
        layer, y, dx = self.run_replicas(make, data, steps=1, synchronized=True)
        self.assert_mirrored(layer)
        alone = make(momentum=0.7)
        alone.build(shape)
        expected = testing_utils.TrainingCall(alone, data.astype("float64"))
        self.assert_close(y, expected.output, EXACT)
        upstream = np.cos(expected.output)
        self.assert_close(dx, expected.gradients(upstream)[0], 2 * EXACT)
        after = expected.after()
        for weight, value in testing_utils.state(layer).items():
            self.assert_close(value, after[weight], EXACT)

    @each(QUIET)
    def test_synchronized_on_one_replica_changes_nothing(self, make):
        x = batch()
        layers = make(synchronized=True), make()
        self.assert_close(*(layer(x, training=True) for layer in layers), EXACT)
        self.assert_close(*(variables(layer) for layer in layers), EXACT)


if __name__ == "__main__":
    tf.test.main()
