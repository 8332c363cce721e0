"""Tests of virtual batches: each group of samples alone, in every layer."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.layers.every_layer import CLASSES
from tests.layers.every_layer import NORMALIZERS
from tests.layers.every_layer import SILENT
from tests.layers.every_layer import each

# float32 against float32 sums in another order: what tfbn promises.
EXACT = 2e-6

LAYERS = NORMALIZERS | {
    "NoisyBatchNorm": lambda **kw: tfbn.NoisyBatchNorm(**SILENT, **kw)
}
SHAPES = (((6, 5, 4), -1), ((6, 4, 2, 2), 1))


def data(shape, axis=-1):
    """An input and a gradient of the output, float32."""
    rng = np.random.default_rng(0)
    x = testing_utils.random_batch(rng, shape, axis)
    return x, rng.normal(size=shape).astype("float32")


class VirtualBatchesTest(tf.test.TestCase, parameterized.TestCase):
    def assert_close(self, actual, expected):
        for a, b in zip(actual, expected, strict=True):
            error = np.max(np.abs(np.subtract(a, b, dtype=np.float64)))
            self.assertLessEqual(error, EXACT * max(1.0, np.max(np.abs(b))))

    @each(LAYERS)
    def test_is_the_layer_called_for_each_group(self, make):
        for shape, axis in SHAPES:
            with self.subTest(shape=shape, axis=axis):
                self.check(make, shape, axis)

    @parameterized.parameters("BatchNorm", "BatchRenorm/fixed")
    def test_of_a_batch_for_the_kernels(self, name):
        self.check(LAYERS[name], (1024, 6, 8), size=512)

    def check(self, make, shape, axis=-1, size=2):
        def built(**options):
            layer = make(axis=axis, momentum=0.7, **options)
            layer.build(shape)
            testing_utils.set_random_state(layer, np.random.default_rng(1))
            return layer

        x, upstream = data(shape, axis)
        layer = built(virtual_batch_size=size)
        y, gradients = testing_utils.train_call(layer, x, upstream)
        outputs, by_group, states = [], [], []
        for start in range(0, shape[0], size):
            group = slice(start, start + size)
            alone = built()
            result, parts = testing_utils.train_call(alone, x[group], upstream[group])
            outputs.append(result)
            by_group.append(parts)
            states.append(testing_utils.state(alone))
        dx, *rest = zip(*by_group, strict=True)
        expected = [np.concatenate(dx), *(np.sum(g, axis=0) for g in rest)]
        self.assert_close([y, *gradients], [np.concatenate(outputs), *expected])
        # Updates are linear in the statistics: that with the mean is the mean of those.
        state = testing_utils.state(layer)
        expected = {n: np.mean([s[n] for s in states], axis=0) for n in state}
        if "moving_stddev" in state:
            variance = expected["moving_stddev"] ** 2 - layer.epsilon
            expected["moving_variance"] = variance
        self.assert_close(state.values(), expected.values())

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

    @each({k: v for k, v in LAYERS.items() if "/" not in k})
    def test_a_non_finite_group_leaves_the_averages(self, make):
        """Those of the other groups too, which are normalised as ever."""
        x, _ = data((6, 5, 4))
        layers = [make(virtual_batch_size=2) for _ in range(2)]
        expected = layers[0](x, training=True)
        layers[1].build(x.shape)
        before = testing_utils.state(layers[1])
        x[4, 3, 1] = np.nan
        y = layers[1](x, training=True)
        self.assertAllEqual(y[:4], expected[:4])
        self.assertAllEqual(y[4:, :, 2], expected[4:, :, 2])
        self.assertAllEqual(tf.math.is_nan(y[4:, :, 1]), np.ones((2, 5), "bool"))
        after = testing_utils.state(layers[1])
        after.pop("step", None), before.pop("step", None)
        testing_utils.assert_same_state(after, before)


if __name__ == "__main__":
    tf.test.main()
