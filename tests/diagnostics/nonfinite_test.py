"""Tests of tfbn.diagnostics.nonfinite."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.testing_utils import squared_error
from tfbn.diagnostics import NonFinite
from tfbn.diagnostics import first_nonfinite
from tfbn.diagnostics.nonfinite import all_finite
from tfbn.diagnostics.nonfinite import first_nonfinite_variable


def _layer(name, function):
    """A layer that computes `function` of its input."""

    class Computed(keras.layers.Layer):
        def call(self, x):
            return function(x)

    return Computed(name=name)


@tf.custom_gradient
def _broken_gradient(x):
    return tf.identity(x), lambda upstream: upstream * np.nan


def _network(*between):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((3,), name="rows"),
            keras.layers.Dense(4, name="first"),
            tfbn.BatchNorm(name="norm"),
            *between,
            keras.layers.Dense(2, name="last"),
        ],
        name="network",
    )


class FirstNonFiniteTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(8, 3)).astype("float32")
        self.y = rng.normal(size=(8, 2)).astype("float32")

    def _found(self, model, loss=squared_error):
        before = [v.numpy() for v in model.variables]
        found = first_nonfinite(model, loss, self.x, self.y)
        for value, variable in zip(before, model.variables, strict=True):
            self.assertAllEqual(value, variable)
        return found

    def test_all_finite(self):
        self.assertIsNone(self._found(_network()))

    def test_input(self):
        self.x[3, 1] = np.inf
        self.assertEqual(self._found(_network()), NonFinite("network", "input"))

    @parameterized.parameters("first", "last")
    def test_weights(self, name):
        model = _network()
        kernel, bias = model.get_layer(name).get_weights()
        kernel[1, 0] = np.nan
        model.get_layer(name).set_weights([kernel, bias])
        self.assertEqual(self._found(model), NonFinite(name, "weights"))

    def test_moving_averages(self):
        model = _network()
        model.get_layer("norm").moving_mean.assign([np.inf] * 4)
        self.assertEqual(self._found(model), NonFinite("norm", "weights"))

    def test_output_of_the_first_of_several(self):
        model = _network(
            _layer("fine", tf.identity), _layer("log", tf.math.log), _layer("b", tf.abs)
        )
        self.assertEqual(self._found(model), NonFinite("log", "output"))

    def test_inner_layer_of_a_subclassed_model(self):
        class Inner(keras.layers.Layer):
            def __init__(self):
                super().__init__(name="inner")
                self.dense = keras.layers.Dense(3, name="dense")
                self.root = _layer("root", tf.sqrt)

            def call(self, x):
                return tf.where(x > 0, self.root(self.dense(x)), 0.0)

        model = keras.Sequential([keras.Input((3,)), Inner(), keras.layers.Dense(2)])
        found = self._found(model)
        self.assertEqual((found.layer.split("/")[-1], found.what), ("root", "output"))

    def test_loss(self):
        found = self._found(_network(), lambda y, y_pred: tf.reduce_sum(y_pred) / 0.0)
        self.assertEqual(found, NonFinite("network", "loss"))

    def test_gradient_that_backpropagation_comes_to_first(self):
        # Behind it, "last", is finite; before it all is not, and "first" comes later.
        model = _network(_layer("broken", _broken_gradient))
        found = self._found(model)
        self.assertEqual(found, NonFinite("first", "gradient"))
        deeper = _network(
            _layer("broken", _broken_gradient),
            keras.layers.Dense(3, name="middle"),
            _layer("broken_too", _broken_gradient),
        )
        self.assertEqual(self._found(deeper), NonFinite("middle", "gradient"))

    def test_recurrent(self):
        # The cell runs in a loop; what the layer puts out is looked at.
        model = keras.Sequential(
            [
                keras.Input((5, 3)),
                keras.layers.LSTM(2, name="lstm"),
                _layer("log", tf.math.log),
            ]
        )
        self.x = np.ones((8, 5, 3), "float32")
        self.assertEqual(self._found(model), NonFinite("log", "output"))

    def test_float16_overflow(self):
        policy = keras.DTypePolicy("mixed_float16")
        model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(2, dtype=policy, name="half"),
                keras.layers.Dense(2, name="full"),
            ]
        )
        self.x *= 1e6
        self.assertEqual(self._found(model), NonFinite("half", "output"))

    def test_batch_that_does_not_fit(self):
        with self.assertRaisesRegex(ValueError, "x must be a batch that model network"):
            first_nonfinite(_network(), squared_error, self.x[:, :2], self.y)


class AllFiniteTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ([1.0, 2.0], True),
        ([1.0, np.nan], False),
        ({"a": [np.inf], "b": [1.0]}, False),
        ([1, 2], True),
        ([], True),
        ([np.float16(1.0), np.float64(-np.inf)], False),
    )
    def test_structures(self, values, expected):
        tensors = tf.nest.map_structure(tf.constant, values)
        self.assertEqual(bool(all_finite(tensors)), expected)

    def test_what_is_no_tensor_is_left_out(self):
        self.assertTrue(bool(all_finite([None, "text", tf.constant(["a"])])))

    def test_first_variable(self):
        model = _network()
        self.assertIsNone(first_nonfinite_variable(model.variables))
        model.get_layer("norm").moving_mean.assign([np.nan] * 4)
        path = first_nonfinite_variable(model.variables)
        self.assertEqual(path, "network/norm/moving_mean")


if __name__ == "__main__":
    tf.test.main()
