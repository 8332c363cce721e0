"""Tests of the averages of a layer as a mapping."""

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tfbn import ops
from tfbn.layers import moving_averages


def held(layer, *names):
    channels = ops.Channels(
        [axis % 3 for axis in np.atleast_1d(layer.axis)], (None, 2, 3)
    )
    return moving_averages.HeldAverages(layer, names, channels)


class HeldAveragesTest(tf.test.TestCase):
    def test_reads_vectors_whatever_the_shape_of_the_weights(self):
        layer = tfbn.BatchRenorm(axis=(1, 2))
        layer.build((None, 2, 3))
        values = np.arange(6.0, dtype="float32")
        layer.moving_mean.assign(values.reshape(1, 2, 3))
        averages = held(layer, "moving_mean", "step")
        self.assertAllEqual(averages["moving_mean"], values)
        self.assertAllEqual(averages["step"], 0)

    def test_sets_the_weights(self):
        layer = tfbn.BatchRenorm(axis=(1, 2))
        layer.build((None, 2, 3))
        averages = held(layer, "moving_mean", "step")
        averages["moving_mean"] = tf.range(6.0)
        averages["step"] += 1
        self.assertAllEqual(layer.moving_mean, np.arange(6.0).reshape(1, 2, 3))
        self.assertAllEqual(layer.step, 1)

    def test_in_a_stateless_scope(self):
        layer = tfbn.BatchNorm()
        layer.build((None, 2, 3))
        averages = held(layer, "moving_mean")
        with keras.StatelessScope() as scope:
            averages["moving_mean"] = tf.constant([1.0, 2.0, 3.0])
            self.assertAllEqual(averages["moving_mean"], [1.0, 2.0, 3.0])
        self.assertAllEqual(layer.moving_mean, np.zeros(3))
        self.assertAllEqual(scope.get_current_value(layer.moving_mean), [1.0, 2.0, 3.0])

    def test_has_what_is_named_and_no_more(self):
        layer = tfbn.BatchNorm()
        layer.build((None, 2, 3))
        averages = held(layer, "moving_mean")
        self.assertEqual(list(averages), ["moving_mean"])
        with self.assertRaises(KeyError):
            _ = averages["moving_variance"]
        with self.assertRaises(TypeError):
            del averages["moving_mean"]


class MeanAndSpreadTest(tf.test.TestCase):
    def test_by_hand(self):
        averages = {
            "moving_mean": tf.constant([1.0, 2.0]),
            "moving_norm": tf.constant([4.0, 8.0]),
        }
        statistics = ops.Statistics(
            mean=tf.constant([3.0, 6.0]),
            remainder=tf.zeros([2]),
            spread=tf.constant([8.0, 0.0]),
            scale=tf.ones([2]),
            valid=tf.constant([True, False]),
        )
        moving_averages.MeanAndSpread(0.75, "moving_norm")(averages, statistics)
        self.assertAllEqual(averages["moving_mean"], [1.5, 2.0])
        self.assertAllEqual(averages["moving_norm"], [5.0, 8.0])


if __name__ == "__main__":
    tf.test.main()
