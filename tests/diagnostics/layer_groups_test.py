"""Tests of tfbn.diagnostics.layer_groups."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tfbn import diagnostics
from tfbn import models


class LayerGroupsTest(tf.test.TestCase, parameterized.TestCase):
    def test_gamma_and_beta_belong_to_the_layer_before(self):
        model = models.mlp(hidden_units=(3, 2), norm=tfbn.BatchNorm, input_shape=(4,))
        groups = diagnostics.layer_groups(model)
        self.assertEqual([g.name for g in groups], ["dense1", "dense2", "logits"])
        self.assertEqual(
            [[model.trainable_variables[i].name for i in g.indices] for g in groups],
            [
                ["kernel", "gamma", "beta"],
                ["kernel", "gamma", "beta"],
                ["kernel", "bias"],
            ],
        )

    def test_groups_of_ones_own(self):
        model = models.deep_linear(depth=3, units=2)
        groups = {"ends": ["linear1", "linear3"], "middle": ["linear2"]}
        ends, middle = diagnostics.layer_groups(model, groups)
        self.assertEqual((ends.name, ends.indices), ("ends", [0, 2]))
        self.assertEqual((middle.name, middle.indices), ("middle", [1]))

    def test_unknown_layer_is_named(self):
        model = models.deep_linear(depth=2, units=2)
        with self.assertRaisesRegex(ValueError, "'linear9' in group 'a'"):
            diagnostics.layer_groups(model, {"a": ["linear9"]})

    def test_name_of_a_block_stands_for_its_layers(self):
        inputs = keras.Input((4, 3))
        attention = keras.layers.MultiHeadAttention(1, 2, name="attention")
        outputs = keras.layers.Dense(1)(attention(inputs, inputs))
        model = keras.Model(inputs, outputs)
        self.assertLen(diagnostics.layer_groups(model), 5)  # query, key, value, output
        (group,) = diagnostics.layer_groups(model, {"all": ["attention"]})
        self.assertEqual(group.indices, list(range(8)))

    def test_name_of_the_model_is_left_out(self):
        layers = [keras.Input((3,)), keras.layers.Dense(2, name="only")]
        (group,) = diagnostics.layer_groups(keras.Sequential(layers))
        self.assertEqual(group.name, "only")

    def test_layers_of_one_name_are_two(self):
        parts = [
            keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="same")])
            for _ in range(2)
        ]
        model = keras.Sequential([keras.Input((3,)), *parts])
        groups = diagnostics.layer_groups(model)
        self.assertLen(groups, 2)
        self.assertEqual([g.indices for g in groups], [[0, 1], [2, 3]])
        self.assertLen({g.name for g in groups}, 2)

    def test_layer_in_two_groups_is_refused(self):
        model = models.deep_linear(depth=2, units=2)
        groups = {"a": ["linear1"], "b": ["linear2", "linear1"]}
        with self.assertRaisesRegex(ValueError, "one in 'a' and again in 'b'"):
            diagnostics.layer_groups(model, groups)

    def test_model_without_trainable_weights_is_refused(self):
        model = models.deep_linear(depth=2, units=2, name="frozen")
        model.trainable = False
        with self.assertRaisesRegex(ValueError, "frozen with none"):
            diagnostics.layer_groups(model)

    @parameterized.product(
        call=(diagnostics.layer_groups, diagnostics.snapshot),
        value=(None, "vgg", np.zeros(3)),
    )
    def test_anything_but_a_keras_model_is_refused(self, call, value):
        with self.assertRaisesRegex(
            ValueError, r"^model must be a Keras model\. Received: model=.+\.$"
        ):
            call(value)


if __name__ == "__main__":
    tf.test.main()
