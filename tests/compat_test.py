"""Tests of tfbn._compat: each fails loudly where TensorFlow or Keras has changed."""

import os
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from matplotlib import figure

from tests import testing_utils
from tfbn import _compat


class Nested(keras.layers.Layer):
    """A layer that holds another one where `model.layers` does not show it."""

    def __init__(self):
        super().__init__(name="nested")
        self.inner = keras.layers.Dense(2, name="inner")

    def call(self, x):
        return self.inner(x)


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


class KerasTest(tf.test.TestCase):
    def test_flatten_layers(self):
        model = keras.Sequential([keras.Input((3,)), Nested(), keras.layers.ReLU()])
        names = [layer.name for layer in _compat.flatten_layers(model)]
        self.assertLess(names.index("nested"), names.index("inner"))
        self.assertNotIn(model.name, names)

    def test_sublayers(self):
        owner = keras.layers.TimeDistributed(keras.layers.Dense(2))
        (old,), new = _compat.sublayers(owner), keras.layers.Dense(3)
        _compat.replace_sublayer(owner, old, new)
        self.assertEqual(_compat.sublayers(owner), [new])

    def test_run_through_graph(self):
        x = keras.Input((2,))
        model = keras.Model(x, keras.layers.Rescaling(2.0)(x))
        double = keras.layers.Rescaling(4.0)
        y = _compat.run_through_graph(model, tf.ones([1, 2]), lambda _: double)
        self.assertAllEqual(y, [[4.0, 4.0]])

    def test_copy_of_lambda(self):
        factor = 3.0
        layer = keras.layers.Lambda(lambda x: factor * x, output_shape=(2,), name="a")
        copy = _compat.copy_of_lambda(layer)
        self.assertIs(copy.function, layer.function)
        self.assertEqual(copy.compute_output_shape((4, 1)), (4, 2))
        self.assertEqual(copy.name, "a")

    def test_call_has_training_arg(self):
        class WithoutMode(keras.Model):
            def call(self, x):
                return x

        model = keras.Sequential([keras.Input((3,)), keras.layers.ReLU()])
        self.assertTrue(_compat.call_has_training_arg(model))
        self.assertFalse(_compat.call_has_training_arg(WithoutMode()))

    def test_compile_loss(self):
        model = keras.Sequential([keras.Input((1,)), keras.layers.ReLU()])
        self.assertIsNone(_compat.compile_loss(model))
        model.compile(loss="mse", loss_weights=3.0)
        x, y = tf.ones([2, 1]), tf.zeros([2, 1])
        compiled = _compat.compile_loss(model)
        copied = _compat.copy_compile_loss(compiled)
        self.assertAllClose([compiled(y, x), copied(y, x)], [3.0, 3.0])
        self.assertIsNot(copied, compiled)

    def test_stored_beside(self):
        """Each layer looks for weights that the file has under the other's name."""
        found = {}

        class Asking(keras.layers.Dense):
            def load_own_variables(self, store):
                classes = ("dense", "asking", "einsum_dense")
                found[self.name] = _compat.stored_beside(store, self.name, classes)
                inside = len(store.keys())
                found[f"{self.name} afterwards"] = inside

        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        stored = [keras.layers.Dense(2, name="a"), keras.layers.Dense(3, name="b")]
        keras.Sequential([keras.Input((2,)), *stored]).save_weights(path)
        asking = [Asking(3, name="b"), Asking(2, name="none")]
        keras.Sequential([keras.Input((2,)), *asking]).load_weights(path)
        for key, weight in zip("01", stored[1].weights, strict=True):
            self.assertAllEqual(found["b"][key], weight)
        self.assertIsNone(found["none"])
        self.assertEqual(found["b afterwards"], 0)
        self.assertIsNone(_compat.stored_beside({"0": np.ones(2)}, "b", ("dense",)))


class DistributionTest(tf.test.TestCase):
    """On two replicas; Keras's own behaviour is the contrast."""

    def setUp(self):
        super().setUp()
        self.strategy = testing_utils.two_cpus_strategy()

    def _on_replicas(self, function):
        run = tf.function(lambda: self.strategy.run(function))
        return self.strategy.experimental_local_results(run())

    def test_summed_gradients(self):
        with self.strategy.scope():
            variable = keras.Variable(1.0)
            optimizer = keras.optimizers.SGD(1.0)
            optimizer.build([variable])

        def apply():
            optimizer.apply([tf.constant(0.25)])

        self._on_replicas(apply)  # Keras adds up the gradients
        self.assertAllClose(variable, 0.5)
        with _compat.summed_gradients(optimizer):
            self._on_replicas(apply)
        self.assertAllClose(variable, 0.25)
        self.assertNotIn("_all_reduce_sum_gradients", vars(optimizer))

    def test_unscaled_losses(self):
        loss = keras.losses.MeanSquaredError()

        def value():
            return loss(tf.zeros([2, 1]), tf.ones([2, 1]))

        self.assertAllClose(self._on_replicas(value), [0.5, 0.5])  # a share of the sum
        with _compat.unscaled_losses():
            self.assertAllClose(self._on_replicas(value), [1.0, 1.0])
        self.assertAllClose(self._on_replicas(value), [0.5, 0.5])

    def test_outside_strategy(self):
        loss = keras.losses.MeanSquaredError()
        strategy = testing_utils.two_cpus_strategy()

        def value():
            return loss(tf.zeros([2, 1]), tf.ones([2, 1]))

        with strategy.scope():
            self.assertAllClose(value(), 0.5)
            with _compat.outside_strategy():
                self.assertFalse(tf.distribute.has_strategy())
                self.assertAllClose(value(), 1.0)
                self.assertAllClose(tf.function(value)(), 1.0)
                variable = keras.Variable(1.0)
            self.assertNotIsInstance(variable.value, tf.distribute.DistributedValues)
            variable = keras.Variable(1.0)
            self.assertIsInstance(variable.value, tf.distribute.DistributedValues)
            self.assertIs(tf.distribute.get_strategy(), strategy)
        with _compat.outside_strategy():
            self.assertFalse(tf.distribute.has_strategy())

    def test_seeds_of_replicas(self):
        with testing_utils.two_cpus_strategy().scope():
            own, same = (keras.random.SeedGenerator(1) for _ in range(2))
        same.same_on_replicas = True

        def draw():
            return tf.stack([tf.cast(g.next(), tf.int32) for g in (own, same)])

        one, other = self._on_replicas(draw)
        self.assertAllEqual(one, other)
        with _compat.seeds_of_replicas():
            one, other = self._on_replicas(draw)
        self.assertNotAllEqual(one[0], other[0])
        self.assertAllEqual(one[1], other[1])
        one, other = self._on_replicas(draw)
        self.assertAllEqual(one, other)

    def test_keras_mask(self):
        tokens = np.array([[1, 0]])
        y = keras.layers.Embedding(3, 2, mask_zero=True)(tokens)
        self.assertAllEqual(_compat.keras_mask(y), tokens != 0)
        self.assertIsNone(_compat.keras_mask(tf.zeros([1, 2])))


class MatplotlibTest(tf.test.TestCase):
    def test_stop_aligning_ylabel(self):
        drawn = figure.Figure()
        above, last = drawn.subplots(2, 1)
        drawn.align_ylabels()
        grouper = drawn._align_label_groups["y"]
        self.assertTrue(grouper.joined(above, last))
        _compat.stop_aligning_ylabel(last)
        self.assertNotIn(last, grouper)
        last.remove()
        drawn.draw_without_rendering()
        with self.assertRaisesRegex(ImportError, "_align_label_groups.* matplotlib "):
            _compat.stop_aligning_ylabel(mock.Mock(figure=object()))


class MissingNameTest(tf.test.TestCase):
    def test_error_names_what_is_gone_and_the_version(self):
        with self.assertRaisesRegex(
            ImportError, f"needs os.gone, .* TensorFlow {tf.__version__}"
        ):
            _compat._tensorflow("os", "gone")
        with self.assertRaisesRegex(ImportError, f"object.gone, .*{keras.__version__}"):
            _compat._keras(object(), "gone")

    @pytest.mark.long
    def test_import_looks_no_private_name_up(self):
        code = "import tfbn; print(tfbn._compat._tensorflow.cache_info().currsize)"
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(found.stdout.strip(), "0")

    @pytest.mark.long
    def test_bound_waiting(self):
        code = """if True:
            import json, os
            import tensorflow as tf
            from tfbn import _compat
            cluster = {"worker": ["127.0.0.1:0", "127.0.0.1:1"]}
            task = {"type": "worker", "index": 0}
            os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
            _compat.bound_waiting(cluster, start_seconds=0.5, lost_seconds=5)
            try:
                tf.distribute.MultiWorkerMirroredStrategy()
            except tf.errors.DeadlineExceededError as error:
                print("Ended:", error.message)
            """
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertRegex(found.stdout, "^Ended: Barrier timed out", found.stderr)


if __name__ == "__main__":
    tf.test.main()
