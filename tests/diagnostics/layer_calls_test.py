"""Tests of tfbn.diagnostics.layer_calls."""

import keras
import tensorflow as tf

from tfbn.diagnostics import layer_calls


class _Block(keras.layers.Layer):
    """A layer inside a layer, which `model.layers` does not show."""

    def __init__(self):
        super().__init__(name="block")
        self.inner = keras.layers.Dense(2, name="inner")

    def call(self, x):
        return self.inner(x)


class LayerCallsTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.model = keras.Sequential(
            [keras.Input((3,)), _Block(), keras.layers.ReLU(name="relu")]
        )
        self.x = tf.constant([[1.0, -2.0, 3.0]])

    def test_every_call_goes_through_the_handler(self):
        seen = []

        def handler(layer, call, *args, **kwargs):
            seen.append(layer.name)
            return 2.0 * call(*args, **kwargs)

        expected = 4.0 * self.model(self.x)  # doubled in inner and in block: relu(4x)
        with layer_calls.intercepted(self.model, handler):
            outputs = self.model(self.x)
        self.assertEqual(seen, ["block", "inner", "relu"])
        self.assertAllClose(outputs, 2.0 * expected)

    def test_afterwards_the_model_is_as_before(self):
        layers = layer_calls.all_layers(self.model)
        attributes = [set(vars(layer)) for layer in layers]
        with self.assertRaisesRegex(KeyError, "stop"):
            with layer_calls.intercepted(self.model, _raise):
                self.model(self.x)
        self.assertEqual([set(vars(layer)) for layer in layers], attributes)
        self.model(self.x)

    def test_all_layers_has_each_once(self):
        shared = keras.layers.Dense(3, name="shared")
        inputs = keras.Input((3,))
        model = keras.Model(inputs, shared(shared(inputs)))
        names = [layer.name for layer in layer_calls.all_layers(model)]
        self.assertEqual(names.count("shared"), 1)
        names = [layer.name for layer in layer_calls.all_layers(self.model)]
        self.assertEqual(names[-3:], ["block", "inner", "relu"])


def _raise(layer, call, *args, **kwargs):
    raise KeyError("stop")


if __name__ == "__main__":
    tf.test.main()
