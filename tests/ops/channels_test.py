"""Tests of Channels: the view of a tensor with all channels along one axis."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn import ops

_SHAPE = (2, 3, 4, 5)


class ChannelsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ((3,), 3, (2, 3, 4, 5), (5,)),
        ((1,), 1, (2, 3, 4, 5), (3,)),
        ((1, 2), 1, (2, 12, 5), (1, 3, 4, 1)),
        ((2, 3), 2, (2, 3, 20), (1, 1, 4, 5)),
        ((1, 3), 2, (2, 4, 15), (1, 3, 1, 5)),
        ((0, 3), 2, (3, 4, 10), (2, 1, 1, 5)),
    )
    def test_view_and_back(self, axes, axis, viewed, weight_shape):
        channels = ops.Channels(axes, _SHAPE)
        x = np.arange(120.0).reshape(_SHAPE)
        view = channels.merge(tf.constant(x))
        self.assertEqual((channels.axis, view.shape), (axis, viewed))
        self.assertEqual(channels.weight_shape, weight_shape)
        self.assertAllEqual(channels.split(view, tf.constant(x)), x)
        # A weight broadcasts to the input as its vector does to the view.
        weight = np.arange(np.prod(weight_shape)).reshape(weight_shape) + 1.0
        shape = weight_shape
        if len(axes) == 1:
            shape = [n if i in axes else 1 for i, n in enumerate(_SHAPE)]
        vector = channels.vector(tf.constant(weight))
        self.assertAllEqual(channels.weight(vector), weight)
        along = tf.reshape(vector, [-1 if i == axis else 1 for i in range(view.ndim)])
        self.assertAllEqual(
            channels.split(view * along, tf.constant(x)), x * weight.reshape(shape)
        )

    @parameterized.parameters(None, [[None] * 4])
    def test_what_the_graph_does_not_know(self, spec):
        channels = ops.Channels([1, 3], [None, 3, None, 5])
        x = np.arange(120.0).reshape(_SHAPE)

        @tf.function(input_signature=[tf.TensorSpec(spec, tf.float64)])
        def call(x):
            view = channels.merge(x)
            self.assertEqual(view.shape.as_list(), [None, None, 15])
            return channels.split(view, x)

        self.assertAllEqual(call(x), x)

    @parameterized.parameters(
        ((5, 4, 6), (5, 4, 6, 3), [3], (5, 4, 6, 1)),
        ((5, 1, 6), (5, 4, 6, 3), [1], (5, 1, 6, 1)),
        ((5, 4, 6), (5, 4, 6, 3), [1], (5, 4, 6, 1)),
        ((5, 4, 6), (5, 4, 6, 3), [1, 3], (5, 6, 12)),
    )
    def test_mask(self, mask, x, axes, expected):
        kept = np.random.default_rng(0).uniform(size=mask) < 0.5
        channels = ops.Channels(axes, x)
        result = channels.mask(tf.constant(kept.astype("int32")), tf.zeros(x))
        self.assertEqual(result.dtype, "bool")
        self.assertEqual(result.shape, expected)
        if len(axes) > 1:
            kept = np.moveaxis(np.broadcast_to(kept[..., None], x), 1, 2)
        self.assertAllEqual(result, kept.reshape(expected))


if __name__ == "__main__":
    tf.test.main()
