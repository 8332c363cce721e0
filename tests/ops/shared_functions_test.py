"""Tests of the functions that layers of one shape share in a graph."""

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


def graph_of(layers, shape):
    """The graph of a training step through layers."""

    @tf.function(autograph=False)
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = x
            for layer in layers:
                y = layer(y, training=True)
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
    @parameterized.product(kind=KINDS, shape=SHAPES)
    def test_layers_of_one_shape_share_both_directions(self, kind, shape):
        called = calls(graph_of([kind(), kind(), kind()], shape))
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
