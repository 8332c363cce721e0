"""Tests of tfbn._compat.keras_names: each fails where Keras has changed."""

import os

import keras
import numpy as np
import tensorflow as tf

from tfbn import _compat


class Nested(keras.layers.Layer):
    """A layer that holds another one where `model.layers` does not show it."""

    def __init__(self):
        super().__init__(name="nested")
        self.inner = keras.layers.Dense(2, name="inner")

    def call(self, x):
        return self.inner(x)


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

    def test_keras_mask(self):
        tokens = np.array([[1, 0]])
        y = keras.layers.Embedding(3, 2, mask_zero=True)(tokens)
        self.assertAllEqual(_compat.keras_mask(y), tokens != 0)
        self.assertIsNone(_compat.keras_mask(tf.zeros([1, 2])))


if __name__ == "__main__":
    tf.test.main()
