"""Tests of graphs for converters: TensorFlow Lite folds them as it folds Keras's."""

import collections
import os

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.framework import convert_to_constants
from tensorflow.python.grappler import tf_optimizer
from tensorflow.python.tools import optimize_for_inference_lib

import tfbn
from tests import testing_utils
from tfbn import ops

LAYERS = {
    "BatchNorm": tfbn.BatchNorm,
    "BatchRenorm": tfbn.BatchRenorm,
    "LpBatchNorm": tfbn.LpBatchNorm,
}


def network(make_norm):
    """Layers that a norm can be folded into, and one that it cannot."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(8, 3, use_bias=False),
            make_norm(),
            keras.layers.ReLU(),
            keras.layers.DepthwiseConv2D(3),
            make_norm(),
            keras.layers.AveragePooling2D(2),
            make_norm(),
            keras.layers.Reshape((4, 8)),
            keras.layers.Conv1D(8, 3),
            make_norm(),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
            make_norm(),
        ]
    )
    return randomized(model)


def randomized(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if weight.dtype == "float32":
            low = 0.5 if weight.shape.rank == 1 else -0.5
            weight.assign(rng.uniform(low, 1.5, size=weight.shape))
    return model


def convert(model, kind="float", converter=None):
    """The converted model, with TensorFlow Lite's own operations only."""
    converter = converter or tf.lite.TFLiteConverter.from_keras_model(model)
    if kind == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x[None]] for x in inputs())
    return tf.lite.Interpreter(model_content=converter.convert())


def inputs():
    return np.random.default_rng(1).normal(size=(16, 8, 8, 3)).astype("float32")


def operations(interpreter):
    names = (d["op_name"] for d in interpreter._get_ops_details())
    return collections.Counter(name for name in names if name != "DELEGATE")


def run(interpreter, x):
    details = interpreter.get_input_details()[0]["index"]
    interpreter.resize_tensor_input(details, x.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(details, x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


class InferenceTest(tf.test.TestCase, parameterized.TestCase):
    of_keras: dict

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.of_keras = {
            kind: convert(network(keras.layers.BatchNormalization), kind)
            for kind in ("float", "int8")
        }

    @parameterized.parameters("BatchNorm", "LpBatchNorm")
    def test_folds_as_keras_does(self, name):
        model = network(LAYERS[name])
        converted = convert(model)
        self.assertEqual(operations(converted), operations(self.of_keras["float"]))
        self.assertNotIn("SUB", operations(converted))
        x = inputs()
        # Folded weights are rounded anew.
        self.assertAllClose(run(converted, x), model(x), 1e-4, 1e-4)

    def test_folds_when_quantized(self):
        x, converted = inputs(), convert(network(tfbn.BatchNorm), "int8")
        of_keras = self.of_keras["int8"]
        self.assertEqual(operations(converted), operations(of_keras))
        # The same weights and the same graph: the same error.
        self.assertAllClose(run(converted, x), run(of_keras, x), 1e-5, 1e-5)

    def test_where_the_digits_are_kept(self):
        """In a tf.function, but not in what is exported: there x * a + b is folded."""
        layer = tfbn.BatchNorm(epsilon=1e-12)
        layer.build((None, 3))
        layer.moving_mean.assign([1e4] * 3)
        layer.gamma.assign([1.0, 0.7, 1.3])
        x = (1e4 + np.random.default_rng(0).normal(size=(64, 3))).astype("float32")
        expected = (np.float64(x) - 1e4) * np.float64(layer.gamma)
        errors = []
        for exported in (False, True):
            call = tf.function(lambda x: layer(x))
            if exported:
                with ops.exporting():
                    call.get_concrete_function(tf.TensorSpec(x.shape))
            errors.append(testing_utils.relative_error(call(x), expected))
        self.assertLess(errors[0], 2e-6)
        self.assertBetween(errors[1], 1e-5, 1e-2)
        self.assertLess(testing_utils.relative_error(layer(x), expected), 2e-6)


class FrozenTest(tf.test.TestCase, parameterized.TestCase):
    """Graphs with their weights as constants, optimised by what TensorFlow offers."""

    @parameterized.parameters("BatchNorm", "BatchRenorm")
    def test_as_many_operations_as_with_keras(self, name):
        of_keras, ours = map(frozen, (keras.layers.BatchNormalization, LAYERS[name]))
        for optimized in (for_inference, by_grappler):
            left, wanted = (computing(optimized(f)) for f in (ours, of_keras))
            self.assertEqual(left.total(), wanted.total())
        # Folded into the convolutions.
        self.assertEqual(left, {"Conv2D": 2, "AddV2": 2, "Relu": 2})


def frozen(make_norm):
    model = keras.Sequential([keras.Input((8, 8, 3))])
    for filters in (8, 4):
        model.add(keras.layers.Conv2D(filters, 3, use_bias=False))
        model.add(make_norm())
        model.add(keras.layers.ReLU())
    randomized(model)
    with ops.exporting():
        call = tf.function(lambda x: model(x, training=False))
        function = call.get_concrete_function(tf.TensorSpec([None, 8, 8, 3]))
    return convert_to_constants.convert_variables_to_constants_v2(function)


def for_inference(function):
    names = [[t.op.name for t in part] for part in (function.inputs, function.outputs)]
    return optimize_for_inference_lib.optimize_for_inference(
        function.graph.as_graph_def(), *names, tf.float32.as_datatype_enum
    )


def by_grappler(function):
    config = config_pb2.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.optimizers.extend(["constfold", "arithmetic", "remap"])
    rewrites.meta_optimizer_iterations = 2
    rewrites.min_graph_nodes = -1  # also small graphs
    graph = tf.compat.v1.train.export_meta_graph(
        graph=function.graph, graph_def=function.graph.as_graph_def()
    )
    fetched = graph.collection_def["train_op"].node_list
    fetched.value.extend(t.name for t in function.outputs)
    return tf_optimizer.OptimizeGraph(config, graph)


def computing(graph):
    """How many operations of each type a graph has, without those that do nothing."""
    passive = ("Const", "Identity", "NoOp", "Placeholder")
    return collections.Counter(n.op for n in graph.node if n.op not in passive)


class InTraining(keras.Model):
    """A model that always normalises with the statistics of its batch."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def call(self, x):
        return self.norm(x, training=True)


class TrainingTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("BatchNorm", None, 64),  # more than 2^15 elements have other kernels
        ("BatchRenorm", 4, 8),
        ("LpBatchNorm", None, 8),
    )
    def test_has_operations_of_tensorflow_lite_only(self, name, samples, size):
        x = np.random.default_rng(0).normal(2.0, 3.0, size=(4, size, size, 4))
        model = InTraining(LAYERS[name]())
        expected = model(x.astype("float32"))
        folder = os.path.join(self.get_temp_dir(), name)
        archive = keras.export.ExportArchive()
        archive.track(model)
        spec = tf.TensorSpec([samples, size, size, 4])
        archive.add_endpoint("serve", model.call, [spec])
        archive.write_out(folder, verbose=False)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
        converter.experimental_enable_resource_variables = True
        converted = convert(None, converter=converter)
        self.assertAllClose(run(converted, x.astype("float32")), expected, 1e-5, 1e-5)


class ExportingTest(tf.test.TestCase):
    def test_of_saved_models(self):
        """`model.export` and `tf.saved_model.save` are seen without a scope."""
        model = network(tfbn.BatchNorm)
        folders = [os.path.join(self.get_temp_dir(), name) for name in "ab"]
        model.export(folders[0], verbose=False)
        tf.saved_model.save(model, folders[1])
        for folder in folders:
            loaded = tf.saved_model.load(folder)
            graph = loaded.signatures["serving_default"].graph.as_graph_def()
            types = {n.op for f in graph.library.function for n in f.node_def}
            self.assertIn("Conv2D", types)
            # The kernel that serves batches of any size elsewhere.
            self.assertNotIn("FusedBatchNormV3", types)


if __name__ == "__main__":
    tf.test.main()
