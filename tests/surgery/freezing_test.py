"""Tests of tfbn.freeze_batch_norm and tfbn.unfreeze_batch_norm."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

import tfbn
from tests import testing_utils


class FreezingTest(tf.test.TestCase):
    def test_frozen_layers_infer_in_training_at_any_depth(self):
        inner = keras.Sequential(
            [layers.TimeDistributed(tfbn.BatchRenorm()), tfbn.NoisyBatchNorm()]
        )
        norms = [inner, layers.BatchNormalization(), tfbn.LpBatchNorm()]
        model = keras.Sequential([keras.Input((2, 3)), layers.Dense(3), *norms])
        x = np.random.default_rng(0).normal(size=(4, 2, 3))
        model(x, training=True)
        before = [v.numpy() for v in model.variables]
        self.assertEqual(tfbn.freeze_batch_norm(model), 4)
        self.assertAllClose(model(x, training=True), model(x), rtol=1e-6, atol=1e-6)
        for variable, value in zip(model.variables, before, strict=True):
            self.assertAllEqual(variable, value)
        self.assertLen(model.trainable_weights, 2)  # those of the dense layer
        self.assertEqual(tfbn.unfreeze_batch_norm(model), 4)
        self.assertLen(model.trainable_weights, 10)
        model(x, training=True)
        self.assertNotAllClose(model.layers[-1].moving_norm, before[-1])

    def test_refusals(self):
        model = testing_utils.one_layer_model(layers.Dense(2), (3,))
        for function in (tfbn.freeze_batch_norm, tfbn.unfreeze_batch_norm):
            with self.assertRaisesRegex(ValueError, "batch-norm layers.*has none"):
                function(model)
            with self.assertRaisesRegex(ValueError, "must be a Keras model"):
                function([model])


if __name__ == "__main__":
    tf.test.main()
