"""Tests of Keras's own loading: what tfbn's layers take from files of its layers."""

import os

import keras
import tensorflow as tf
import tf_keras
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.loading import models

# Other float32 programs for the same numbers.
CLOSE = 1e-5


class ByKerasTest(tf.test.TestCase, parameterized.TestCase):
    def ours(self, norm):
        """Keras's model with other norms, which keep their names."""

        def change(layer):
            config = layer.get_config()
            if isinstance(layer, keras.layers.BatchNormalization):
                return norm.from_config(config)
            return type(layer).from_config(config)

        theirs = models.trained("keras_renorm")
        return keras.models.clone_model(theirs, clone_function=change, recursive=True)

    @parameterized.parameters(".weights.h5", ".keras")
    def test_by_name(self, suffix):
        model = self.ours(tfbn.BatchRenorm)
        model.load_weights(models.saved("keras_renorm", suffix))
        expected = models.trained("keras_renorm")(models.X)
        error = testing_utils.relative_error(model(models.X), expected)
        self.assertLess(error, CLOSE)

    def test_a_name_under_another_class_comes_first(self):
        """Under its own class, Keras finds it the weights of the second layer."""
        path = os.path.join(self.get_temp_dir(), "x.weights.h5")
        norms = keras.layers.BatchNormalization, tfbn.BatchNorm
        models.randomize(self.chain(*norms)).save_weights(path)
        theirs, ours = self.chain(*norms), self.chain(tfbn.BatchNorm, tfbn.BatchNorm)
        theirs.load_weights(path)
        ours.load_weights(path)
        for i in (0, 1):
            values = ours.layers[i].get_weights(), theirs.layers[i].get_weights()
            self.assertAllClose(*values, rtol=0.0, atol=0.0)

    def chain(self, first, second):
        layers = [first(name="a"), second(name="b")]
        return keras.Sequential([keras.Input((3,)), *layers])

    @parameterized.parameters(".weights.h5", ".keras")
    def test_other_names(self, suffix):
        model = models.build("batch_norm")
        with self.assertRaisesRegex(ValueError, r"Use tfbn.load_weights\(model, path"):
            model.load_weights(models.saved("keras", suffix))

    def test_custom_objects(self):
        """Keras takes them for .h5 files."""
        theirs = tf_keras.Sequential(
            [tf_keras.Input((3,)), tf_keras.layers.BatchNormalization()]
        )
        path = os.path.join(self.get_temp_dir(), "x.h5")
        models.randomize(theirs).save(path)
        model = keras.models.load_model(
            path, {"BatchNormalization": tfbn.BatchNorm}, compile=False
        )
        self.assertIsInstance(model.layers[0], tfbn.BatchNorm)
        for ours, their in zip(model.get_weights(), theirs.get_weights(), strict=True):
            self.assertAllEqual(ours, their)


if __name__ == "__main__":
    tf.test.main()
