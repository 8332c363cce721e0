"""Tests of virtual batches where there are none: in inference, and of other sizes.

Their numbers have conformance_test.py and the property tests.
"""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.layers.every_layer import NORMALIZERS
from tests.layers.every_layer import QUIET
from tests.layers.every_layer import SILENT
from tests.layers.every_layer import each
from tfbn import ops

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

    @parameterized.parameters(
        ("BatchNorm", "eager", "consecutive"),
        ("BatchNorm", "unknown_size", "interleaved"),
        ("BatchNorm", "xla", "interleaved"),
        ("BatchNorm", "gpu", "consecutive"),
        ("BatchRenorm/corrected", "unknown_size", "consecutive"),
        ("LpBatchNorm/inf", "unknown_size", "consecutive"),
        ("LpBatchNorm", "tpu", "interleaved"),
    )
    def test_a_remainder_is_a_group_of_its_own(self, name, mode, order):
        """Of the mean 1e3, against which the zeros that fill a group up show."""
        if mode in ops.TARGETS:
            self.enter_context(ops.compiling_for(mode))
            mode = "xla"
        options = {"virtual_batch_size": 4, "virtual_batch_order": order}
        for masked, samples in ((False, 5), (True, 6)):
            layer = QUIET[name](momentum=0.75, **options)
            layer.build((samples, 3, 2))
            testing_utils.set_random_state(layer, np.random.default_rng(0))
            x, upstream = data((samples, 3, 2))
            x = x + np.float32(0.0 if name.startswith("Lp") else 1e3)
            mask = None
            if masked:
                mask = np.random.default_rng(1).uniform(size=(samples, 3)) < 0.7
                upstream[~mask] = 0.0
            expected = testing_utils.TrainingCall(layer, x.astype("float64"), mask)
            y, gradients = testing_utils.trainer(layer, mask, mode)(
                tf.constant(x), tf.constant(upstream)
            )
            if masked:
                y = np.where(mask[..., None], y, expected.output)
            wanted = [expected.output, *expected.gradients(upstream.astype("float64"))]
            after = expected.after()
            pairs = [*zip([y, *gradients], wanted, strict=True)]
            pairs += [(v, after[k]) for k, v in testing_utils.state(layer).items()]
            for actual, value in pairs:
                self.assertLess(testing_utils.relative_error(actual, value), 4e-6)

    def test_fit_with_a_last_batch_of_another_size(self):
        model = keras.Sequential(
            [keras.Input((3,)), tfbn.BatchNorm(virtual_batch_size=10)]
        )
        model.compile("sgd", "mse", jit_compile=True)
        x = np.random.default_rng(0).normal(size=(101, 3))
        history = model.fit(x, x, batch_size=20, verbose=0)
        self.assertLess(history.history["loss"][0], 1.0)


if __name__ == "__main__":
    tf.test.main()
