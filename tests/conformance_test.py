"""What every layer of tfbn must do, checked for each of them.

A new layer is registered in `LAYERS` (a test fails until it is) and gets all of this.
"""

import copy
import json
import os
import pickle

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils

# Eager, traced and compiled: the order of sums differs, some ten float32 operations.
SAME = 1e-5
# float32 against float64 references.
EXACT = 2e-6
# Central differences of float64 gradients.
DIFFERENCES = 1e-6

RAMPS = {
    "rmax": tfbn.schedules.LinearRamp(1.0, 3.0, 0, 4),
    "dmax": tfbn.schedules.LinearRamp(0.0, 5.0, 0, 4),
}

# A factory of each layer, under the name of its class, and of variants of it.
LAYERS = {
    "BatchNorm": tfbn.BatchNorm,
    "BatchNorm/plain": lambda **kw: tfbn.BatchNorm(center=False, scale=False, **kw),
    "BatchRenorm": lambda **kw: tfbn.BatchRenorm(**RAMPS, **kw),
    "BatchRenorm/fixed": lambda **kw: tfbn.BatchRenorm(rmax=1.5, dmax=0.5, **kw),
    "BatchRenorm/two_sets": lambda **kw: tfbn.BatchRenorm(
        rmax=3.0, dmax=5.0, renorm_momentum=0.5, **kw
    ),
    "LpBatchNorm": tfbn.LpBatchNorm,
    "LpBatchNorm/2": lambda **kw: tfbn.LpBatchNorm(order=2, centered=True, **kw),
    "LpBatchNorm/inf": lambda **kw: tfbn.LpBatchNorm(order="inf", literal=True, **kw),
    "NoisyBatchNorm": lambda **kw: tfbn.NoisyBatchNorm(seed=7, **kw),
    "ActivationNoise": lambda **kw: tfbn.ActivationNoise(seed=7, **kw),
}
NORMALIZERS = {k: v for k, v in LAYERS.items() if not k.startswith("ActivationNoise")}
AFFINE = {k: v for k, v in NORMALIZERS.items() if not k.endswith("plain")}
QUIET = {k: v for k, v in NORMALIZERS.items() if not k.startswith("Noisy")}


def each(layers):
    return parameterized.named_parameters(*layers.items())


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


class RegistryTest(ConformanceTest):
    def test_every_public_layer_is_registered(self):
        names = {name.partition("/")[0] for name in LAYERS}
        self.assertEqual(names, set(tfbn.layers.__all__))

    @each(LAYERS)
    def test_under_its_own_name(self, make):
        name = self.id().rpartition("test_under_its_own_name_")[2].partition("/")[0]
        self.assertEqual(type(make()).__name__, name)


class ShapeTest(ConformanceTest):
    @parameterized.product(
        name=tuple(LAYERS),
        shape_axis=(
            ((6, 4), 1),
            ((6, 4), -1),
            ((4, 3, 5), 1),
            ((4, 3, 5), -1),
            ((3, 2, 4, 5), 1),
            ((3, 2, 4, 5), 2),
            ((3, 2, 4, 5), -1),
            ((2, 3, 2, 2, 3), -4),
            ((2, 3, 2, 2, 3), -1),
        ),
    )
    def test_rank_and_axis_only_move_the_channels(self, name, shape_axis):
        """The same numbers with the channels last give the same result."""
        shape, axis = shape_axis
        x = batch(shape, axis)
        moved = np.moveaxis(x, axis, -1)
        layers = LAYERS[name](axis=axis), LAYERS[name]()
        training = name.partition("/")[0] not in ("NoisyBatchNorm", "ActivationNoise")
        y, expected = (
            layer(data, training=training)
            for layer, data in zip(layers, (x, moved), strict=True)
        )
        self.assertEqual(y.shape, shape)
        self.assertEqual(layers[0].compute_output_shape(shape), shape)
        self.assert_close(np.moveaxis(y, axis, -1), expected, EXACT)
        self.assert_close(*(variables(layer) for layer in layers), EXACT)

    @each(LAYERS)
    def test_unknown_batch_and_image_size(self, make):
        layer = make()
        model = testing_utils.one_layer_model(layer, (None, None, 3))
        self.assertEqual(model.output_shape, (None, None, None, 3))

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
        def call(x):
            return model(x, training=True)

        for shape in ((2, 4, 4, 3), (5, 3, 2, 3)):
            self.assert_finite(call(tf.constant(batch(shape))))

    @each(LAYERS)
    def test_a_batch_of_one(self, make):
        layer = make()
        results = testing_utils.train_call(layer, batch((1, 4)), np.ones((1, 4)))
        self.assert_finite([*results, *variables(layer)])

    @parameterized.product(name=tuple(LAYERS), value=(0.0, 3.5, 1e6))
    def test_constant_input(self, name, value):
        x = np.full((6, 4), value)
        layer = LAYERS[name]()
        results = testing_utils.train_call(layer, x, np.ones_like(x))
        self.assert_finite([*results, *variables(layer), layer(tf.constant(x))])

    @parameterized.product(
        name=tuple(NORMALIZERS),
        shape_axis=(((6, 5, 4), -1), ((6, 4, 5), 1)),
        mask_rank=(1, 2),
    )
    def test_masked_elements_do_not_count(self, name, shape_axis, mask_rank):
        shape, axis = shape_axis
        mask = np.random.default_rng(1).uniform(size=(6, 5)[:mask_rank]) < 0.6
        where = mask if mask_rank == 2 else np.repeat(mask[:, np.newaxis], 5, axis=1)
        x = batch(shape, axis)
        other = np.where(np.expand_dims(where, axis), x, 99.0).astype("float32")
        layers = NORMALIZERS[name](axis=axis), NORMALIZERS[name](axis=axis)
        results = [
            np.moveaxis(layer(data, training=True, mask=tf.constant(mask)), axis, -1)
            for layer, data in zip(layers, (x, other), strict=True)
        ]
        self.assertAllEqual(*(result[where] for result in results))
        self.assert_same_variables(*layers)

    @each(LAYERS)
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

    @parameterized.product(
        name=tuple(NORMALIZERS), what=("nan", "inf", "-inf", "empty", "all_masked")
    )
    def test_an_unusable_batch_leaves_the_averages(self, name, what):
        layer, x, options = NORMALIZERS[name](), batch((6, 5, 4)), {}
        layer(x, training=True)
        before = testing_utils.state(layer)
        if what == "empty":
            x = x[:0]
        elif what == "all_masked":
            options["mask"] = tf.zeros((6, 5), "bool")
        else:
            x[2, 3, 1] = float(what)
        layer(x, training=True, **options)
        after = testing_utils.state(layer)
        if "step" in before:
            self.assertEqual(after.pop("step"), before.pop("step") + 1)
        testing_utils.assert_same_state(after, before)


class PolicyTest(ConformanceTest):
    @parameterized.product(
        name=tuple(LAYERS),
        policy=(
            "mixed_float16",
            "mixed_bfloat16",
            "float16",
            "bfloat16",
            "float32",
            "float64",
        ),
    )
    def test_dtypes(self, name, policy):
        layer, x = LAYERS[name](dtype=policy), batch()
        y = layer(x, training=True)
        compute = keras.DTypePolicy(policy).compute_dtype
        self.assertEqual(y.dtype, compute)
        self.assertEqual(layer(x).dtype, compute)
        statistics = "float64" if policy == "float64" else "float32"
        for weight in layer.weights:
            expected = "int64" if weight.name == "step" else statistics
            self.assertEqual(weight.dtype, expected, weight.name)

    @parameterized.product(
        name=tuple(QUIET), policy=("mixed_float16", "mixed_bfloat16", "float16")
    )
    def test_half_precision_has_float32_statistics(self, name, policy):
        half, full, x = QUIET[name](dtype=policy), QUIET[name](), batch((40, 4)) + 50.0
        rounded = tf.cast(tf.cast(x, half.compute_dtype), "float32")
        y, expected = half(rounded, training=True), full(rounded, training=True)
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


class SerializationTest(ConformanceTest):
    @each(LAYERS)
    def test_config_round_trip(self, make):
        layer = make(name="norm", dtype="mixed_bfloat16")
        config = layer.get_config()
        self.assertEqual(json.loads(json.dumps(config)), config)
        self.assertEqual(type(layer).from_config(config).get_config(), config)
        layer(batch(), training=True)
        self.assertEqual(layer.get_config(), config)

    @each(LAYERS)
    def test_object_round_trip(self, make):
        layer = make()
        config = keras.saving.serialize_keras_object(layer)
        self.assertEqual(config["registered_name"], f"tfbn>{type(layer).__name__}")
        self.assertIs(type(keras.saving.deserialize_keras_object(config)), type(layer))

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

    @each(LAYERS)
    def test_keras_file(self, make):
        model = self.trained_model(make)
        path = os.path.join(self.get_temp_dir(), "model.keras")
        model.save(path)
        self.assert_same_model(model, keras.saving.load_model(path))

    @each(LAYERS)
    def test_weights_file(self, make):
        model = self.trained_model(make)
        path = os.path.join(self.get_temp_dir(), "model.weights.h5")
        model.save_weights(path)
        other = testing_utils.one_layer_model(make(), (4,))
        other.load_weights(path)
        self.assert_same_model(model, other)

    @each(LAYERS)
    def test_saved_model(self, make):
        model = self.trained_model(make)
        path = os.path.join(self.get_temp_dir(), "exported")
        model.export(path, verbose=False)
        served = tf.saved_model.load(path)
        for size in (2, 5):
            x = batch((size, 4), seed=9)
            self.assert_close(served.serve(x), model(x), EXACT)

    @each(LAYERS)
    def test_checkpoint(self, make):
        model = self.trained_model(make)
        path = tf.train.Checkpoint(model=model).write(
            os.path.join(self.get_temp_dir(), "checkpoint")
        )
        other = testing_utils.one_layer_model(make(), (4,))
        status = tf.train.Checkpoint(model=other).read(path)
        status.assert_existing_objects_matched()
        self.assert_same_model(model, other)

    @each(LAYERS)
    def test_deepcopy_and_pickle(self, make):
        model = self.trained_model(make)
        for copied in (copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))):
            other = copied(model)
            self.assert_same_model(model, other)
            before = variables(model)
            other(batch(), training=True)  # touches only the copy
            for a, b in zip(before, variables(model), strict=True):
                self.assertAllEqual(a, b)

    @each(LAYERS)
    def test_clone_model(self, make):
        model = self.trained_model(make)
        other = keras.models.clone_model(model)
        self.assertEqual(other.layers[-1].get_config(), model.layers[-1].get_config())


class ModesTest(ConformanceTest):
    @each(LAYERS)
    def test_eager_graph_and_xla_agree(self, make):
        results, shape = [], (3, 4, 4, 3)
        for mode in testing_utils.MODES:
            layer = make()
            layer.build(shape)
            step = testing_utils.trainer(layer, mode=mode)
            for seed in range(2):
                x, upstream = (tf.constant(batch(shape, seed=s)) for s in (seed, 5))
                outputs = step(x, upstream)
            results.append([*tf.nest.flatten(outputs), *variables(layer)])
        for result in results[1:]:
            self.assert_close(result, results[0])

    @each(LAYERS)
    def test_one_trace_for_many_calls(self, make):
        layer = make()
        layer.build((None, 4))
        call, traces = testing_utils.count_traces(
            lambda x: layer(x, training=True),
            input_signature=[tf.TensorSpec((None, 4))],
        )
        for seed, size in enumerate((6, 6, 3, 1)):
            call(tf.constant(batch((size, 4), seed=seed)))
        self.assertLen(traces, 1)

    @parameterized.product(name=tfbn.layers.__all__, jit_compile=(True, False))
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

    @parameterized.parameters(
        tfbn.BatchNorm, lambda **kw: tfbn.BatchRenorm(rmax=1.01, dmax=0.01, **kw)
    )
    def test_in_float32_as_in_float64(self, make):
        """The two may be computed by different kernels."""
        products = []
        for dtype in ("float32", "float64"):
            layer = make(dtype=dtype)
            layer.build((6, 4))
            x = tf.constant(batch(), dtype)
            direction = tf.constant(batch(seed=3), dtype)
            with tf.GradientTape() as tape:
                tape.watch(x)
                product = tf.reduce_sum(self.gradient(layer, x) * direction)
            products.append(tape.gradient(product, x))
        self.assertLess(testing_utils.relative_error(*products), SAME)

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

    def run_replicas(self, make, data, steps=2, mask=None, **options):
        """Trains on two halves of `data`: `(layer, outputs, input gradients)`."""
        strategy = testing_utils.two_cpus_strategy()
        with strategy.scope():
            layer = make(momentum=0.7, **options)
            layer.build(self.SHAPE)

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

        step = tf.function(lambda: strategy.run(replica_step, (inputs,)))
        for _ in range(steps):
            results = step()
        results = [strategy.experimental_local_results(r) for r in results]
        return layer, *(np.concatenate(r) for r in results)

    def assert_mirrored(self, layer):
        for variable in layer.variables:
            copies = [copy.numpy() for copy in variable.value.values]
            self.assertLen(copies, 2)
            self.assertAllEqual(*copies)

    @each(NORMALIZERS)
    def test_averages_are_the_mean_of_the_replicas(self, make):
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

    @each(QUIET)
    def test_synchronized_is_the_global_batch(self, make):
        data = batch(self.SHAPE)
        layer, y, dx = self.run_replicas(make, data, synchronized=True)
        self.assert_mirrored(layer)
        alone = make(momentum=0.7)
        for _ in range(2):
            with tf.GradientTape() as tape:
                x = tf.constant(data)
                tape.watch(x)
                expected = alone(x, training=True)
                loss = tf.reduce_sum(tf.sin(expected))
        self.assert_close(y, expected)
        self.assert_close(dx, tape.gradient(loss, x))
        self.assert_close(
            *(list(testing_utils.state(i).values()) for i in (layer, alone))
        )

    def test_synchronized_against_numpy(self):
        data = batch(self.SHAPE)
        reference = testing_utils.Renorm(testing_utils.channels_last(data), 1e-3)
        layer, y, dx = self.run_replicas(
            tfbn.BatchNorm, data, steps=1, synchronized=True
        )
        upstream = np.cos(reference.output)
        expected = reference.gradients(upstream)[0]
        y, dx = testing_utils.channels_last(y), testing_utils.channels_last(dx)
        self.assertLess(testing_utils.relative_error(y, reference.output), EXACT)
        self.assertLess(testing_utils.relative_error(dx, expected), 2 * EXACT)
        self.assertAllClose(layer.moving_mean, 0.3 * reference.mean, rtol=EXACT)
        variance = 0.7 + 0.3 * reference.variance
        self.assertAllClose(layer.moving_variance, variance, rtol=EXACT)

    @each(QUIET)
    def test_synchronized_on_one_replica_changes_nothing(self, make):
        x = batch()
        layers = make(synchronized=True), make()
        self.assert_close(*(layer(x, training=True) for layer in layers), EXACT)
        self.assert_close(*(variables(layer) for layer in layers), EXACT)


if __name__ == "__main__":
    tf.test.main()
