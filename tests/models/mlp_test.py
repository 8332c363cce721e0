"""Tests of tfbn.models.mlp."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import models


class MlpTest(tf.test.TestCase, parameterized.TestCase):
    def test_output_is_that_of_the_formula(self):
        model = models.mlp(hidden_units=(4, 3), input_shape=(2, 3))
        weights = [w.astype("float64") for w in model.get_weights()]
        x = np.random.default_rng(0).normal(size=(5, 2, 3))
        h = x.reshape(5, 6)
        for kernel, bias in zip(weights[0:4:2], weights[1:4:2], strict=True):
            h = 1.0 / (1.0 + np.exp(-(h @ kernel + bias)))
        self.assertAllClose(model(x), h @ weights[4] + weights[5], rtol=1e-5)

    def test_papers_network_by_default(self):
        shapes = [
            v.shape for v in models.mlp().trainable_variables if v.name == "kernel"
        ]
        self.assertEqual(shapes, [(784, 100), (100, 100), (100, 100), (100, 10)])

    def test_norm_stands_before_the_activation_of_hidden_layers(self):
        kinds = [
            type(layer).__name__ for layer in models.mlp(norm=tfbn.BatchNorm).layers
        ]
        self.assertEqual(
            kinds[2:], ["Dense", "BatchNorm", "Activation"] * 3 + ["Dense"]
        )

    def test_activation_is_an_option(self):
        model = models.mlp(activation="relu")
        found = {
            layer.activation.__name__
            for layer in model.layers
            if isinstance(layer, keras.layers.Activation)
        }
        self.assertEqual(found, {"relu"})


if __name__ == "__main__":
    tf.test.main()
