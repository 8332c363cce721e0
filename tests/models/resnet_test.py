"""Tests of tfbn.models.resnet."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import diagnostics
from tfbn import models


class ResNetTest(tf.test.TestCase, parameterized.TestCase):
    # Millions of parameters: He et al. 2015, table 6.
    @parameterized.parameters((20, 0.27), (32, 0.46), (56, 0.85))
    def test_parameters_are_those_of_the_paper(self, depth, millions):
        model = models.resnet(depth, norm=keras.layers.BatchNormalization)
        count = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        self.assertAlmostEqual(count / 1e6, millions, delta=0.005)

    def test_output_is_that_of_the_formula(self):
        """Without norms, in float64: convolutions, additions, padded shortcuts."""
        model = models.resnet(8, width=0.25, input_shape=(7, 6, 3))
        x = np.random.default_rng(0).normal(size=(2, 7, 6, 3))
        h = _relu(_convolved(model, "conv1", x))
        for block, strides in enumerate((1, 2, 2)):
            y = _relu(_convolved(model, f"conv{2 * block + 2}", h, strides))
            y = _convolved(model, f"conv{2 * block + 3}", y)
            shortcut = h[:, ::strides, ::strides]
            extra = y.shape[-1] - shortcut.shape[-1]
            h = _relu(np.pad(shortcut, [(0, 0)] * 3 + [(0, extra)]) + y)
        kernel, bias = (w.astype("float64") for w in model.layers[-1].get_weights())
        expected = h.mean(axis=(1, 2)) @ kernel + bias
        self.assertAllClose(model(x), expected, rtol=1e-5, atol=1e-6)

    @parameterized.parameters("identity", "projection")
    def test_groups_of_diagnostics_are_in_forward_order(self, shortcut):
        model = models.resnet(14, width=0.25, shortcut=shortcut, norm=tfbn.BatchNorm)
        names = [group.name for group in diagnostics.layer_groups(model)]
        numbered = [n for n in names if n.startswith("conv")]
        self.assertEqual(numbered, [f"conv{i}" for i in range(1, 14)])
        self.assertEqual(names[-1], "logits")
        if shortcut == "projection":
            place = names.index("shortcut1")
            self.assertLess(names.index("conv6"), place)
            self.assertLess(place, names.index("conv8"))

    def test_each_convolution_is_normalised(self):
        model = models.resnet(8, width=0.5, shortcut="projection", norm=tfbn.BatchNorm)
        kinds = [type(layer).__name__ for layer in model.layers]
        self.assertEqual(kinds.count("Conv2D"), 9)
        self.assertEqual(kinds.count("BatchNorm"), 9)
        self.assertFalse(any(getattr(la, "use_bias", 0) for la in model.layers[:-1]))

    @parameterized.parameters(
        ({"depth": 18}, "6n . 2.*depth=18"),
        ({"depth": 2}, "depth=2"),
        ({"shortcut": "pad"}, "shortcut='pad'"),
        ({"input_shape": (28, 28)}, r"input_shape=\(28, 28\)"),
        ({"width": 1e5}, "memory.*width="),
    )
    def test_refuses(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            models.resnet(**options)


def _relu(x):
    return np.maximum(x, 0.0)


def _convolved(model, name, x, strides=1):
    kernel, bias = (w.astype("float64") for w in model.get_layer(name).get_weights())
    return tf.nn.conv2d(x, kernel, strides, "SAME").numpy() + bias


if __name__ == "__main__":
    tf.test.main()
