"""Tests of tfbn.replace_batch_norm: the same inference, wherever the layers are."""

import contextlib
import functools
import io

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from keras import layers

import tfbn
from tests import testing_utils
from tfbn import _compat

# Layers of Keras and tfbn compute inference by other formulas, in float32.
CLOSE = 2e-6

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 4)).astype("float32")


@keras.saving.register_keras_serializable("tests")
class Block(layers.Layer):
    """A custom layer with batch norm in a dict and in a tuple."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = [layers.Dense(units)]
        self.norms = {"a": layers.BatchNormalization()}
        self.last = (layers.BatchNormalization(name="last"),)

    def build(self, shape):
        shapes = [shape, *[(*shape[:-1], self.units)] * 2]
        inner = (self.dense[0], self.norms["a"], self.last[0])
        for layer, its_shape in zip(inner, shapes, strict=True):
            layer.build(its_shape)

    def call(self, x, training=None):
        x = self.norms["a"](self.dense[0](x), training=training)
        return self.last[0](x, training=training)

    def compute_output_shape(self, shape):
        return (*shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Subclassed(keras.Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.base = keras.Sequential(
            [keras.Input((4,)), layers.Dense(3), layers.BatchNormalization()]
        )
        self.block, self.norm = Block(units), layers.BatchNormalization()

    def call(self, x, training=None):
        x = self.block(self.base(x, training=training), training=training)
        return self.norm(x, training=training)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def functional():
    """With shared, nested, wrapped and frozen layers, and one called as frozen."""
    shared = layers.BatchNormalization(name="shared")
    inner = keras.Sequential([layers.Dense(4), layers.BatchNormalization()])
    x = keras.Input((4,))
    y = layers.Activation("relu")(shared(layers.Dense(4)(x)))
    nested = keras.Model(x, y, name="nested")
    x = keras.Input((4,))
    y = nested(nested(shared(inner(x))))
    y = layers.BatchNormalization(trainable=False, name="frozen")(y)
    y = layers.BatchNormalization(name="called")(y, training=False)
    y = layers.Lambda(lambda t: RNG.uniform(1.0, 1.0) * t)(keras.ops.relu(y) + 1.0)
    y = layers.Reshape((2, 2, 1))(layers.Dropout(0.5, seed=1)(y))
    y = layers.TimeDistributed(Wrapped())(y)
    y = layers.TimeDistributed(layers.BatchNormalization())(y)
    model = keras.Model(x, layers.Dense(2, dtype="float64")(y))
    nested.trainable = False
    shared.trainable = True
    return model


def Wrapped():
    return keras.Sequential([layers.Dense(3), layers.BatchNormalization(scale=False)])


def subclassed():
    model = Subclassed(5)
    model(X)
    return model


def with_a_past(model):
    for layer in _compat.flatten_layers(model):
        if not _compat.sublayers(layer):
            testing_utils.set_random_state(layer, RNG)
    return model


def described(model):
    inside = _compat.flatten_layers(model)
    return [(x.name, x.trainable, x.dtype_policy.name) for x in [model, *inside]]


def replaced(*args, **kwargs):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        return tfbn.replace_batch_norm(*args, **kwargs), out.getvalue()


class ModelsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((functional, 6), (subclassed, 4))
    def test_there_and_back(self, build, number):
        model = with_a_past(build())
        before = [v.numpy() for v in model.variables]
        copy, line = replaced(model)
        self.assertIn(f"{number} BatchNormalization by {number} BatchRenorm.", line)
        self.assertLess(testing_utils.relative_error(copy(X), model(X)), CLOSE)
        back, _ = replaced(copy, layers.BatchNormalization)
        for other in (copy, back):
            self.assertIs(type(other), type(model))
            self.assertEqual(described(other), described(model))
        self.assertAllEqual(back(X), model(X))
        for variable, other in zip(model.variables, back.variables, strict=True):
            self.assertEqual(variable.name, other.name)
            self.assertAllEqual(variable, other)
        copy.compile("sgd", "mse", run_eagerly=True)
        copy.train_on_batch(X, np.zeros(copy(X).shape))
        for variable, value in zip(model.variables, before, strict=True):
            self.assertAllEqual(variable, value)

    def test_a_shared_layer_stays_one_and_arguments_of_calls_stay(self):
        copy, _ = replaced(functional())
        nested = copy.get_layer("nested")
        self.assertIs(copy.get_layer("shared"), nested.get_layer("shared"))
        self.assertLen(nested._inbound_nodes, 2)
        (node,) = copy.get_layer("called")._inbound_nodes
        self.assertEqual(node.arguments.kwargs, {"training": False})

    def test_of_keras_applications(self):
        model = keras.applications.MobileNet((32, 32, 3), 0.25, weights=None)
        model = with_a_past(model)
        x = RNG.uniform(size=(2, 32, 32, 3)).astype("float32")
        copy, line = replaced(model)
        self.assertIn("27 of 27", line)
        self.assertLess(testing_utils.relative_error(copy(x), model(x)), CLOSE)

    def test_cells_and_policies(self):
        """A cell that comes out of a configuration is built already."""
        previous = keras.config.dtype_policy()
        keras.config.set_dtype_policy("mixed_bfloat16")
        self.addCleanup(keras.config.set_dtype_policy, previous)
        inputs = keras.Input((3, 4))
        outputs = layers.TimeDistributed(Block(5))(inputs)
        model = with_a_past(keras.Model(inputs, outputs))
        keras.config.set_dtype_policy(previous)
        copy, _ = replaced(model, tfbn.BatchNorm)
        self.assertEqual(described(copy), described(model))
        x = RNG.normal(size=(2, 3, 4))
        self.assertLess(testing_utils.relative_error(copy(x), model(x)), 1e-2)

    def test_a_model_whose_class_is_lost(self):
        class Backbone(keras.Model):
            def __init__(self, units):
                inputs = keras.Input((4,))
                x = layers.BatchNormalization()(layers.Dense(units)(inputs))
                super().__init__(inputs, x, name="backbone")

        copy, line = replaced(with_a_past(Backbone(3)))
        self.assertIn("backbone is a keras.Model now, not a Backbone", line)
        self.assertIsInstance(copy.layers[-1], tfbn.BatchRenorm)


class LayersTest(tf.test.TestCase, parameterized.TestCase):
    def _replaced(self, layer, factory, **options):
        model = testing_utils.one_layer_model(layer, (3, 4))
        with_a_past(model)
        copy, _ = replaced(model, factory, **options)
        x = RNG.normal(size=(5, 3, 4))
        self.assertLess(testing_utils.relative_error(copy(x), model(x)), CLOSE)
        return copy.layers[-1]

    def test_arguments(self):
        layer = layers.BatchNormalization(
            axis=1,
            momentum=0.5,
            epsilon=0.1,
            center=False,
            gamma_regularizer="l2",
            name="norm",
            dtype="mixed_bfloat16",
        )
        bounds = functools.partial(tfbn.BatchRenorm, rmax=1.5, dmax=0.5)
        for factory in (
            tfbn.BatchRenorm,
            bounds,
            lambda **kwargs: tfbn.NoisyBatchNorm(seed=1, **kwargs),
        ):
            made = self._replaced(layer, factory)
            config = made.get_config()
            for name, value in layer.get_config().items():
                if "renorm" not in name:
                    self.assertEqual(config[name], value, name)
        self.assertEqual(self._replaced(layer, bounds).rmax, 1.5)
        for make in (tfbn.BatchNorm, lambda **kwargs: tfbn.BatchNorm(**kwargs)):
            fixed = functools.partial(make, momentum=0.25)
            self.assertEqual(self._replaced(layer, fixed).momentum, 0.25)

    def test_options_that_only_some_classes_have(self):
        given = {"renorm_clipping": {"rmax": 2.0, "rmin": 0.5, "dmax": 1.0}}
        layer = layers.BatchNormalization(renorm=True, renorm_momentum=0.9, **given)
        made = self._replaced(layer, tfbn.BatchRenorm)
        self.assertEqual((made.rmax, made.dmax, made.renorm_momentum), (2.0, 1.0, 0.9))
        for factory in (tfbn.BatchNorm, lambda **kwargs: tfbn.BatchRenorm(**kwargs)):
            self.assertNotIn(
                "renorm_mean", testing_utils.state(self._replaced(layer, factory))
            )
        layer = tfbn.BatchRenorm(rmax=2.0, virtual_batch_size=2)
        made = self._replaced(layer, tfbn.BatchRenorm)
        self.assertEqual((made.rmax, made.virtual_batch_size), (2.0, 2))
        self.assertEqual(int(made.step), 0)
        self.assertEqual(self._replaced(layer, tfbn.BatchNorm).virtual_batch_size, 2)
        self._replaced(layer, layers.BatchNormalization)

    @parameterized.parameters(
        (lambda layer: layer.name == "shared", 1),
        ("shared", 1),
        (["shared", "frozen"], 2),
    )
    def test_where(self, where, number):
        copy, line = replaced(functional(), tfbn.BatchNorm, where=where)
        self.assertIn(f"replaced {number} of 6", line)
        self.assertIn("Left as they are: ", line)
        self.assertIsInstance(copy.get_layer("shared"), tfbn.BatchNorm)
        self.assertNotIsInstance(copy.get_layer("called"), tfbn.BatchNorm)


class Late(layers.Layer):
    def build(self, shape):
        self.norm = layers.BatchNormalization()
        self.norm.build(shape)

    def call(self, x):
        return self.norm(x)


class Hidden(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization()
        norm = self.norm
        self.function = lambda x: norm(x)

    def call(self, x):
        return self.function(x)


class WithoutConfig(layers.Layer):
    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def call(self, x):
        return self.norm(x)


class OwnCall(keras.Model):
    def call(self, x):
        return 2.0 * super().call(x)


class OwnList(keras.Sequential):
    def call(self, x):
        return 2.0 * super().call(x)


class RefusalsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (dict(model=keras.Sequential([layers.Dense(2)])), "must be built.*no weights"),
        (dict(model=3), "model must be a Keras model.*model=3"),
        (dict(factory=layers.Dense), "factory must be a subclass.*Dense"),
        (dict(factory=tfbn.LpBatchNorm), "factory must be.*LpBatchNorm"),
        (dict(factory=3), "factory must be.*factory=3"),
        (
            dict(factory=functools.partial(tfbn.BatchRenorm, rmax=0.5)),
            "factory must make.*rmax must be at least 1. Received: rmax=0.5",
        ),
        (dict(factory=lambda: 0), "factory must make.*Received: name, trainable.*name"),
        (dict(factory=lambda **k: layers.Dense(3)), "factory must return.*Dense"),
        (dict(factory=lambda **k: tfbn.BatchNorm()), "with the name.*for frozen"),
        (
            dict(factory=lambda **k: tfbn.BatchNorm(**{**k, "epsilon": 0.1})),
            "must keep.*epsilon=0.1 for frozen with epsilon=0.001",
        ),
        (dict(where=lambda layer: False), "where must match.*none of"),
        (dict(where="sharde"), "where must name.*'sharde'. Did you mean 'shared'"),
        (dict(where=3), "where must be a function.*where=3"),
        (dict(verbose=3), "verbose must be True or False"),
    )
    def test_one_line(self, arguments, message):
        if "model" not in arguments:
            arguments = {"model": functional(), "where": "frozen", **arguments}
        with self.assertRaisesRegex(ValueError, f"{message}.*") as caught:
            tfbn.replace_batch_norm(**arguments)
        self.assertLen(str(caught.exception).splitlines(), 1)

    def test_models(self):
        def of(layer):
            return testing_utils.one_layer_model(layer, (4,))

        x = keras.Input((4,))
        for model, message in (
            (of(layers.Dense(2)), "must contain batch-norm layers.* has none"),
            (of(tfbn.LpBatchNorm()), "must contain.*has LpBatchNorm"),
            (of(Late()), "in the constructor.*late of class Late"),
            (of(Hidden()), "in attributes, lists.*batch_norm.*another place"),
            (
                of(WithoutConfig(layers.BatchNormalization())),
                "get_config.*WithoutConfig",
            ),
            (OwnCall(x, layers.BatchNormalization()(x)), "compute its graph.*OwnCall"),
            (OwnList([x, layers.BatchNormalization()]), "compute its graph.*OwnList"),
        ):
            with self.assertRaisesRegex(ValueError, message) as caught:
                tfbn.replace_batch_norm(model)
            self.assertLen(str(caught.exception).splitlines(), 1)


if __name__ == "__main__":
    tf.test.main()
