"""Tests of calls that compile themselves: when they do, and that they stay exact.

No accelerator is needed: calls are told that they are for one, and XLA compiles what
they then do for the CPU.
"""

from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tfbn import ops
from tfbn.ops import requests

# The same formulas in another order, in float32, a few layers deep.
ROUNDING = 2e-5


def nested(function, *specs):
    """How many functions for XLA the graph of `function` calls."""
    graph = tf.function(function).get_concrete_function(*specs).graph
    calls = [
        operation
        for operation in graph.get_operations()
        if operation.type.endswith("PartitionedCall")
    ]
    return sum(
        graph._get_function(call.get_attr("f").name)
        .cached_definition.attr["_XlaMustCompile"]
        .b
        for call in calls
    )


class SelfCompilationTest(tf.test.TestCase, parameterized.TestCase):
    def tearDown(self):
        ops.set_self_compilation("auto")
        super().tearDown()

    @parameterized.parameters(
        ("auto", "cpu", {}, 0),
        ("auto", "gpu", {}, 1),
        ("never", "gpu", {}, 0),
        ("always", "cpu", {}, 1),
        ("always", "cpu", {"shape": (None, 3)}, 1),
        ("always", "cpu", {"shape": (4, None, 3)}, 0),
        ("always", "cpu", {"exported": True}, 0),
        ("always", "cpu", {"compiled": True}, 0),
    )
    def test_when(self, mode, target, case, expected):
        ops.set_self_compilation(mode)
        self.assertEqual(ops.self_compilation(), mode)
        case = {"shape": (4, 3), "exported": False, "compiled": False} | case

        def call(x):
            return ops.batch_norm(x, None, None, axis=len(x.shape) - 1, epsilon=1e-3)

        if case["exported"]:
            exported, call_of = ops.exporting, call

            def call(x):
                with exported():
                    return call_of(x)

        if case["compiled"]:
            call = tf.function(call, jit_compile=True)
        with mock.patch.object(requests, "_target", lambda: target):
            found = nested(call, tf.TensorSpec(case["shape"]))
        self.assertEqual(found, expected + case["compiled"])

    def test_bad_mode(self):
        with self.assertRaisesRegex(ValueError, "mode.*'on'"):
            ops.set_self_compilation("on")

    def test_layers_of_one_shape_share_a_function(self):
        ops.set_self_compilation("always")
        kinds = [tfbn.BatchNorm, tfbn.BatchRenorm, tfbn.LpBatchNorm]
        layers = [kind() for kind in kinds for _ in range(2)]

        @tf.function
        def call(x):
            for layer in layers:
                x = layer(x, training=True)
            return x

        graph = call.get_concrete_function(tf.TensorSpec((4, 3))).graph
        called = [
            o.get_attr("f").name
            for o in graph.get_operations()
            if "PartitionedCall" in o.type and o.get_attr("_XlaMustCompile")
        ]
        self.assertLen(called, 6)
        self.assertLen(set(called), 3)

    def train(self, mode):
        """`(weights, gradient, second derivative)` of a network that `fit` trained."""
        ops.set_self_compilation(mode)
        keras.utils.set_random_seed(0)
        layers = [
            keras.layers.Conv2D(4, 2),
            tfbn.BatchNorm(momentum=0.9),
            tfbn.BatchRenorm(rmax=3.0, dmax=5.0, momentum=0.9),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
        model = keras.Sequential([keras.Input((4, 4, 2)), *layers])
        model.compile(keras.optimizers.SGD(0.05), "mse", jit_compile=False)
        rng = np.random.default_rng(0)
        x = rng.normal(3.0, 2.0, (12, 4, 4, 2)).astype("float32")
        model.fit(x, rng.normal(size=(12, 1)), batch_size=6, epochs=2, verbose=0)

        @tf.function
        def derivatives(x):
            with tf.GradientTape() as outer:
                outer.watch(x)
                with tf.GradientTape() as inner:
                    inner.watch(x)
                    loss = tf.reduce_sum(tf.sin(model(x, training=True)))
                gradient = inner.gradient(loss, x)
                along = tf.reduce_sum(gradient * tf.cos(x))
            return gradient, outer.gradient(along, x)

        return model.get_weights(), *derivatives(tf.constant(x[:6]))

    @pytest.mark.long
    def test_fit_and_derivatives(self):
        with mock.patch.object(requests, "_target", lambda: "gpu"):
            results = self.train("auto")
        expected = self.train("never")
        tf.nest.map_structure(
            lambda a, b: self.assertAllClose(a, b, ROUNDING, ROUNDING),
            results,
            expected,
        )

    def test_replicas(self):
        """Each compiles its own statistics; those that are shared XLA cannot."""
        ops.set_self_compilation("always")
        x = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
        halves = np.split(x, 2)
        alone = [tfbn.BatchNorm()(half, training=True) for half in halves]
        self.assertAllClose(_on_two_replicas(halves), tf.concat(alone, 0))
        together = _on_two_replicas(halves, synchronized=True)
        self.assertAllClose(together, tfbn.BatchNorm()(x, training=True))


def _on_two_replicas(halves, **options):
    strategy = testing_utils.two_cpus_strategy()
    with strategy.scope():
        layer = tfbn.BatchNorm(**options)
        layer.build(halves[0].shape)
    inputs = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(halves[context.replica_id_in_sync_group])
    )
    step = tf.function(
        lambda: strategy.run(lambda part: layer(part, training=True), (inputs,))
    )
    return tf.concat(step().values, 0)


if __name__ == "__main__":
    tf.test.main()
