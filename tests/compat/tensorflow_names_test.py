"""Tests of tfbn._compat.tensorflow_names: each fails where TensorFlow has changed."""

import os

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import _compat


class TensorFlowTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(("eager", False), ("graph", False), ("xla", True))
    def test_in_xla_context(self, mode, expected):
        seen = []

        def traced():
            seen.append(_compat.in_xla_context())
            branch = tf.function(lambda: seen.append(_compat.in_xla_context()))
            branch()
            return tf.constant(0)

        testing_utils.in_mode(traced, mode)()
        self.assertEqual(seen, [expected, expected])

    def test_is_exporting(self):
        seen = []

        def call(x):
            seen.append(_compat.is_exporting())
            return x

        tf.function(call)(tf.constant(1.0))
        call(tf.constant(1.0))
        self.assertEqual(seen, [False, False])
        archive = keras.export.ExportArchive()
        archive.track(testing_utils.one_layer_model(keras.layers.ReLU(), (1,)))
        archive.add_endpoint("serve", call, [tf.TensorSpec([])])
        archive.write_out(os.path.join(self.get_temp_dir(), "keras"), verbose=False)
        self.assertIn(True, seen[2:])
        self.assertNotIn(False, seen[2:])
        module = tf.Module()
        module.call = tf.function(call, input_signature=[tf.TensorSpec([])])
        tf.saved_model.save(module, os.path.join(self.get_temp_dir(), "tensorflow"))
        self.assertNotIn(False, seen[2:])

    @parameterized.parameters("eager", "graph")
    def test_recomputation(self, mode):
        seen = []

        def call(x):
            seen.append(_compat.recomputation())
            return x * x

        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.recompute_grad(call)(x)
            return tape.gradient(y, x)

        self.assertAllEqual(testing_utils.in_mode(gradient, mode)(tf.constant(3.0)), 6)
        call(tf.constant(1.0))
        self.assertEqual(seen, ["first", "again", None])

    def test_current_graph(self):
        def traced(x):
            self.assertIs(_compat.current_graph(), x.graph)
            return x

        tf.function(traced)(tf.constant(0))

    def test_parts_of_graph(self):
        def traced(x, y):
            between = tf.cond(x > 0.0, lambda: 2.0 * x, lambda: x, name="between")
            return between + 0.0, between * y

        scalar = tf.TensorSpec([], tf.float32)
        function = tf.function(traced).get_concrete_function(scalar, scalar)
        (x, y), (first, second) = function.inputs, function.outputs
        make = _compat.parts_of_graph(function.graph)
        three, four = np.float32([3.0, 4.0])
        self.assertEqual(make([first.name], [x.name])(three), [6.0])
        self.assertEqual(make([second.name], [x.name, y.name])(-three, four), [-12.0])

    @parameterized.parameters("eager", "graph")
    def test_device_scope(self, mode):
        scopes = []

        def traced():
            scopes.append(_compat.device_scope())
            for device in ("CPU:1", "GPU:0"):
                with tf.device(device):
                    scopes.append(_compat.device_scope()[-len(device) :])
            return tf.constant(0)

        testing_utils.in_mode(traced, mode)()
        self.assertEqual(scopes, ["", "CPU:1", "GPU:0"])

    def test_device_scope_of_replicas(self):
        scopes = []

        @tf.function
        def step():
            testing_utils.two_cpus_strategy().run(
                lambda: scopes.append(_compat.device_scope()[-5:])
            )

        step()
        self.assertEqual(scopes, ["CPU:0", "CPU:1"])

    @parameterized.parameters(*testing_utils.MODES)
    def test_has_tangent(self, mode):
        found = []

        def traced():
            x, other = tf.constant(1.0), tf.constant(1.0)
            with tf.autodiff.ForwardAccumulator(x, x):
                found.extend(_compat.has_tangent([t]) for t in (2.0 * x, other))
            found.append(_compat.has_tangent([x]))
            return x

        testing_utils.in_mode(traced, mode)()
        self.assertEqual(found, [True, False, False])

    def test_stop_recording(self):
        x = tf.constant(3.0)
        with tf.GradientTape() as tape:
            tape.watch(x)
            with _compat.stop_recording():
                y = 2.0 * x
            z = 5.0 * x + y
        self.assertEqual(tape.gradient(z, x), 5.0)

    @parameterized.parameters(*testing_utils.MODES)
    def test_is_recorded(self, mode):
        found = []

        def traced():
            x, other = tf.constant(1.0), tf.constant(1.0)
            with tf.GradientTape() as tape:
                tape.watch(x)
                found.extend(_compat.is_recorded([t]) for t in (2.0 * x, other))
            found.append(_compat.is_recorded([x]))
            return x

        testing_utils.in_mode(traced, mode)()
        self.assertEqual(found, [True, False, False])

    def test_twice_differentiable_moments(self):
        """The Hessian of a Keras layer; without the patch it is still wrong."""
        layer = keras.layers.BatchNormalization(dtype="float64")
        rng = np.random.default_rng(0)
        x, weight, direction = (tf.constant(rng.normal(size=[5, 2])) for _ in range(3))
        layer.build(x.shape)

        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                loss = tf.reduce_sum(weight * tf.sin(layer(x, training=True)))
            return tape.gradient(loss, x)

        def product():
            with tf.GradientTape() as tape:
                tape.watch(x)
                along = tf.reduce_sum(gradient(x) * direction)
            return tape.gradient(along, x)

        (expected,) = testing_utils.directional_difference(
            lambda x: [gradient(tf.constant(x)).numpy()],
            [x.numpy()],
            [direction.numpy()],
        )
        original = tf.nn.moments
        with _compat.twice_differentiable_moments():
            self.assertLess(testing_utils.relative_error(product(), expected), 1e-7)
        self.assertIs(tf.nn.moments, original)
        self.assertGreater(testing_utils.relative_error(product(), expected), 1e-3)

    def test_twice_differentiable_moments_have_the_usual_values_and_shapes(self):
        x = tf.constant(np.random.default_rng(0).normal(size=(4, 3, 2)))
        for axes in ([0], [0, 1], [1, -1]):
            for keepdims in (False, True):
                expected = tf.nn.moments(x, axes, keepdims=keepdims)
                with _compat.twice_differentiable_moments():
                    found = tf.nn.moments(x, axes, keepdims=keepdims)
                self.assertAllClose(found, expected)

    def test_onednn_enabled(self):
        self.assertIsInstance(_compat.onednn_enabled(), bool)

    def test_summary_metadata(self):
        metadata = _compat.summary_metadata("histograms", 2)
        self.assertEqual(metadata.plugin_data.plugin_name, "histograms")
        self.assertEqual(metadata.data_class, 2)
        writer = tf.summary.create_file_writer(self.get_temp_dir())
        with writer.as_default(step=0):
            self.assertTrue(tf.summary.write("tag", 1.0, metadata=metadata))


if __name__ == "__main__":
    tf.test.main()
