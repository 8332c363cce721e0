"""Tests of virtual batches where there are none: in inference, and of other sizes.

Their numbers have conformance_test.py and the property tests.
"""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.layers.every_layer import CLASSES
from tests.layers.every_layer import NORMALIZERS
from tests.layers.every_layer import SILENT
from tests.layers.every_layer import each

LAYERS = NORMALIZERS | {
    "NoisyBatchNorm": lambda **kw: tfbn.NoisyBatchNorm(**SILENT, **kw)
}


def data(shape, axis=-1):
    """An input and a gradient of the output, float32."""
    rng = np.random.default_rng(0)
    x = testing_utils.random_batch(rng, shape, axis)
    return x, rng.normal(size=shape).astype("float32")


class VirtualBatchesTest(tf.test.TestCase, parameterized.TestCase):
    @each(LAYERS)
    def test_inference_knows_no_groups(self, make):
        x, _ = data((7, 4))  # 3 does not divide it
        layers = make(virtual_batch_size=3), make()
        for layer in layers:
            layer.build(x.shape)
            testing_utils.set_random_state(layer, np.random.default_rng(1))
        self.assertAllEqual(*(layer(x) for layer in layers))
        for layer in layers:
            layer.trainable = False
        self.assertAllEqual(*(layer(x, training=True) for layer in layers))

    @each({k: v for k, v in CLASSES.items() if k != "ActivationNoise"})
    def test_a_batch_that_it_does_not_divide(self, make):
        layer = make(virtual_batch_size=4)
        message = r"must divide.*virtual_batch_size=4, number of samples: 6"
        with self.assertRaisesRegex(ValueError, message):
            layer(np.ones((6, 3)), training=True)
        call = tf.function(
            lambda x: layer(x, training=True),
            input_signature=[tf.TensorSpec((None, 3))],
        )
        call(tf.ones((8, 3)))
        before = layer.moving_mean.numpy()
        with self.assertRaisesRegex(
            tf.errors.InvalidArgumentError, "must divide.*virtual_batch_size=4"
        ):
            call(tf.ones((6, 3)))
        self.assertAllEqual(layer.moving_mean, before)


if __name__ == "__main__":
    tf.test.main()
