"""Tests of the functions that layers of one shape share."""

from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import ops
from tfbn.ops import shared_functions

KINDS = (tfbn.BatchNorm, tfbn.BatchRenorm)
SHAPES = ((6, 5), (32, 16, 16, 8))  # the formula's, and the kernels'


class UnhashableSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A bound that compares by value, and so has no hash."""

    def __call__(self, step):
        return 1.0 + 0.25 * tf.cast(step, tf.float32)

    def __eq__(self, other):
        return isinstance(other, UnhashableSchedule)

    def get_config(self):
        return {}


def graph_of(layers, shape, **arguments):
    """The graph of a training step through layers, called with the arguments."""

    @tf.function(autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for layer in layers:
                y = layer(y, training=True, **arguments)
        return tape.gradient(y, x)

    return step.get_concrete_function(tf.TensorSpec(shape)).graph


def calls(graph):
    """The names of the functions that are called, one for each call."""
    return [
        operation.get_attr("f").name
        for operation in graph.get_operations()
        if operation.type == "PartitionedCall"
    ]


class SharedFunctionsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(kind=KINDS, shape=SHAPES, masked=(False, True))
    def test_layers_of_one_shape_share_both_directions(self, kind, shape, masked):
        arguments = {"mask": tf.ones(shape[:-1], tf.bool)} if masked else {}
        called = calls(graph_of([kind(), kind(), kind()], shape, **arguments))
        self.assertLen(called, 6)
        self.assertLen(set(called), 2)

    @parameterized.parameters(
        {"epsilon": 1e-2}, {"rmax": 2.0}, {"drift_correction": True}, {"scale": False}
    )
    def test_other_options_are_other_functions(self, **options):
        called = calls(
            graph_of([tfbn.BatchRenorm(), tfbn.BatchRenorm(**options)], (4, 3))
        )
        self.assertLen(set(called), 4)

    @parameterized.product(kind=KINDS, shape=SHAPES)
    def test_a_layer_adds_fewer_operations_than_keras(self, kind, shape):
        """Less than half, so that it is traced as fast in spite of its functions."""
        numbers = []
        for layer in (keras.layers.BatchNormalization, kind):
            one, two = (graph_of([layer() for _ in range(n)], shape) for n in (1, 2))
            numbers.append(len(two.get_operations()) - len(one.get_operations()))
        self.assertLess(numbers[1], numbers[0] / 2)

    @parameterized.named_parameters(
        ("virtual_batches", lambda: tfbn.BatchNorm(virtual_batch_size=2)),
        ("no_hash", lambda: tfbn.BatchRenorm(rmax=UnhashableSchedule(), dmax=0.5)),
    )
    def test_not_shared(self, make):
        self.assertEmpty(calls(graph_of([make()], (4, 3))))

    def test_no_sharing(self):
        with ops.no_sharing():
            self.assertEmpty(calls(graph_of([tfbn.BatchNorm()], (4, 3))))
        self.assertLen(calls(graph_of([tfbn.BatchNorm()], (4, 3))), 2)

    @parameterized.parameters((4, 3), (32, 16, 16, 8))
    def test_other_numbers_of_channels_share_what_has_no_sums(self, *shape):
        """r and d, and the averages, are a function of vectors of any size."""

        def number_of_functions(*channels):
            layers = [tfbn.BatchRenorm() for _ in channels]

            @tf.function(autograph=False)
            def step(*batches):
                for layer, x in zip(layers, batches, strict=True):
                    layer(x, training=True)

            specs = [tf.TensorSpec([*shape[:-1], n]) for n in channels]
            graph = step.get_concrete_function(*specs).graph
            return len(graph.as_graph_def().library.function)

        ones = [number_of_functions(n * shape[-1]) for n in (1, 2)]
        together = number_of_functions(shape[-1], 2 * shape[-1])
        self.assertEqual(together, sum(ones) - 2)

    @parameterized.product(kind=KINDS, batch=(None, 32))
    def test_training_is_that_without_sharing(self, kind, batch):
        """To the bit: the operations are the same, in the same order."""
        self._check_training(kind, batch)

    @parameterized.parameters(
        {"renorm_momentum": 0.6},
        {"momentum_warmup": True, "drift_correction": True},
        {"rmax": tfbn.schedules.LinearRamp(1.0, 1.5, 0, 3), "renorm_momentum": 0.7},
    )
    def test_training_with_options_is_that_without_sharing(self, **options):
        self._check_training(tfbn.BatchRenorm, 32, **options)

    def _check_training(self, *args, **options):
        weights = []
        for serve in (shared_functions.serve, lambda request: False):
            with mock.patch.object(shared_functions, "serve", serve):
                weights.append(trained(*args, **options))
        self.assertAllEqual(*weights)


class EagerTest(tf.test.TestCase, parameterized.TestCase):
    """Calls that are made often enough are those of functions."""

    def setUp(self):
        super().setUp()
        for cache in (shared_functions.forward, shared_functions.backward):
            cache.cache_clear()
        shared_functions._calls.cache_clear()

    def number_of_functions(self):
        caches = (shared_functions.forward, shared_functions.backward)
        return [cache.cache_info().currsize for cache in caches]

    def test_calls_are_counted_by_shape_and_dtype(self):
        layer, number = tfbn.BatchNorm(), shared_functions.EAGER_CALLS_BEFORE_TRACING
        for _ in range(number):
            for x in (tf.ones([4, 3]), tf.ones([5, 3])):
                layer(x, training=True)
        half = tfbn.BatchNorm(dtype="mixed_bfloat16")
        half(tf.ones([4, 3], tf.bfloat16), training=True)
        layer(tf.ones([4, 3]), training=False)
        self.assertEqual(self.number_of_functions(), [0, 0])
        layer(tf.ones([4, 3]), training=True)
        tfbn.BatchNorm()(tf.ones([4, 3]), training=True)
        self.assertEqual(self.number_of_functions(), [1, 1])

    @parameterized.named_parameters(
        ("formula", (4, 3), {"axis": 0}),
        ("virtual_batches", (4, 3), {"virtual_batch_size": 2}),
        ("float64", (4, 3), {"dtype": "float64"}),
    )
    def test_operations_alone(self, shape, options):
        """What TensorFlow itself derives twice, among others."""
        with traced_from(0):
            tfbn.BatchNorm(**options)(tf.ones(shape), training=True)
        self.assertEqual(self.number_of_functions(), [0, 0])

    def test_functions_run_eagerly(self):
        tf.config.run_functions_eagerly(True)
        self.addCleanup(tf.config.run_functions_eagerly, False)
        with traced_from(0):
            tfbn.BatchNorm()(tf.ones([4, 3]), training=True)
        self.assertEqual(self.number_of_functions(), [0, 0])

    @parameterized.product(kind=KINDS, shape=((32, 5), (32, 16, 16, 8)))
    def test_training_is_that_of_operations(self, kind, shape):
        """To the bit: with 32 samples no division can be rounded otherwise."""
        both = []
        for number in (1000, 2):  # the third call is the first of a function
            with traced_from(number):
                both.append(self.trained(kind(momentum=0.8), shape))
        self.assertEqual(self.number_of_functions(), [1, 1])
        for functions, operations in zip(*both, strict=True):
            self.assertAllEqual(functions, operations)

    def test_masks_of_any_shape(self):
        """Of one batch there may be masks of several shapes, which broadcast."""
        rng = np.random.default_rng(0)
        x = tf.constant(rng.normal(size=(5, 4, 3)), tf.float32)
        masks = [rng.uniform(size=size) < 0.6 for size in ((5, 4), (1, 4))]
        both = []
        for number in (1000, 0):
            with traced_from(number):
                layer = tfbn.BatchNorm(momentum=0.8)
                found = []
                for mask in masks:
                    with tf.GradientTape() as tape:
                        y = layer(x, training=True, mask=mask)
                        loss = tf.reduce_sum(tf.sin(y))
                    found += [y, *tape.gradient(loss, layer.trainable_variables)]
                both.append([*found, *layer.get_weights()])
        self.assertEqual(self.number_of_functions(), [1, 1])
        for functions, operations in zip(*both, strict=True):
            self.assertAllClose(functions, operations, rtol=1e-6, atol=1e-5)

    def test_a_mask_may_be_an_array(self):
        x, mask = np.float32([[1.0], [3.0], [9.0]]), np.array([[True], [True], [False]])
        with traced_from(0):
            y, _ = ops.batch_norm(x, None, None, axis=1, epsilon=3.0, mask=mask)
        self.assertAllClose(y, [[-0.5], [0.5], [3.5]])

    def trained(self, layer, shape):
        """Outputs, gradients and averages of some steps."""
        rng, found = np.random.default_rng(0), []
        for _ in range(4):
            x = tf.constant(rng.normal(3.0, 2.0, shape), tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                loss = tf.reduce_sum(tf.sin(y))
            found += [y, *tape.gradient(loss, [x, *layer.trainable_variables])]
        return [*found, *layer.get_weights()]

    @parameterized.parameters(*SHAPES)
    def test_derivatives_of_other_kinds(self, *shape):
        """As without functions: second ones, in forward mode, of a persistent tape."""
        x = tf.random.stateless_normal(shape, [0, 1])
        found = []
        for number in (1000, 0):
            with traced_from(number):
                layer = tfbn.BatchNorm()
                layer.build(shape)
                found.append(other_derivatives(layer, x))
        self.assertAllEqual(self.number_of_functions(), [1, 1])
        for operations, functions in zip(*found, strict=True):
            largest = np.max(np.abs(operations))
            self.assertAllClose(operations, functions, rtol=0.0, atol=1e-6 * largest)

    def test_jacobian(self):
        x = tf.random.stateless_normal([6, 3], [0, 1])
        with traced_from(0), tf.GradientTape() as tape:
            tape.watch(x)
            y = tfbn.BatchNorm(epsilon=1e-3)(x, training=True)
        jacobian = tape.jacobian(y, x)
        scale = np.sqrt(np.var(x, 0) + 1e-3)
        eye = np.eye(6)[:, :, None]
        # dy_i/dx_j = (delta_ij - (1 + y_i y_j) / m) / scale, channel by channel.
        expected = (eye - (1.0 + y[:, None] * y[None]) / 6) / scale
        self.assertAllClose(
            np.einsum("icjc->ijc", jacobian), expected, rtol=0.0, atol=1e-6
        )


def traced_from(number):
    """Eager calls are those of functions after so many."""
    return mock.patch.object(shared_functions, "EAGER_CALLS_BEFORE_TRACING", number)


def other_derivatives(layer, x):
    gamma = layer.gamma.value
    with tf.GradientTape() as outer:
        outer.watch(x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(layer(x, training=True)))
        product = tf.reduce_sum(tape.gradient(loss, x) * tf.cos(x))
    found = [outer.gradient(product, x)]
    with tf.autodiff.ForwardAccumulator(gamma, tf.ones_like(gamma)) as accumulator:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(layer(x, training=True)))
        gradient = tape.gradient(loss, x)
    found += [accumulator.jvp(loss), accumulator.jvp(gradient)]
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        loss = tf.reduce_sum(tf.sin(layer(x, training=True)))
        first = tape.gradient(loss, x)
    return [*found, first, tape.gradient(loss, gamma), tape.gradient(loss, x)]


def trained(kind, batch, **options):
    """All weights of two layers of each size after some steps of training."""
    keras.utils.set_random_seed(0)
    if kind is tfbn.BatchRenorm:
        options = {"rmax": 1.5, "dmax": 0.5, **options}
    layers = [kind(momentum=0.8, **options) for _ in range(2)]
    model = keras.Sequential(
        [keras.Input((16, 16, 8), batch_size=batch), *layers, keras.layers.Flatten()]
    )
    model.build()
    optimizer = keras.optimizers.SGD(0.1)
    optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(0)

    @tf.function(input_signature=[tf.TensorSpec((batch, 16, 16, 8))])
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x, training=True) - 1.0))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)

    for _ in range(4):
        step(tf.constant(rng.normal(3.0, 2.0, (32, 16, 16, 8)), tf.float32))
    return np.concatenate([w.ravel() for w in model.get_weights()])


if __name__ == "__main__":
    tf.test.main()
