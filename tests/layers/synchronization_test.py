"""Tests of tfbn.synchronize."""

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tests import testing_utils
from tfbn.layers import synchronization


class Block(keras.layers.Layer):
    """A layer that holds a norm where `model.layers` does not show it."""

    def __init__(self):
        super().__init__()
        self.norm = keras.layers.BatchNormalization(momentum=0.5)

    def call(self, x, training=None):
        return self.norm(x, training=training)


class SynchronizeTest(tf.test.TestCase):
    def test_a_compiled_model_on_two_replicas(self):
        x = np.random.default_rng(0).normal([1.0, -2.0], [1.0, 5.0], (8, 2))
        x[4:] += 3.0  # the halves have other statistics
        strategy = testing_utils.two_cpus_strategy()
        with strategy.scope():
            norm = tfbn.BatchNorm(momentum=0.5)
            model = keras.Sequential([keras.Input((2,)), norm, Block()])
            model.compile(keras.optimizers.SGD(0.0), "mse")
        dataset = tf.data.Dataset.from_tensors((x.astype("float32"), x))
        model.fit(dataset, verbose=0)
        self.assertNotAllClose(norm.moving_variance, 0.5 + 0.5 * x.var(0), rtol=0.01)
        weights = model.get_weights()

        self.assertIs(tfbn.synchronize(model), model)
        for one, other in zip(weights, model.get_weights(), strict=True):
            self.assertAllEqual(one, other)
        model.set_weights([np.array([i, i]) for i in (1, 0, 0, 1, 1, 0, 0, 1)])
        model.fit(dataset, verbose=0)
        self.assertAllClose(norm.moving_mean, 0.5 * x.mean(0))
        self.assertAllClose(norm.moving_variance, 0.5 + 0.5 * x.var(0))
        inner = model.layers[1].norm
        self.assertAllClose(inner.moving_mean, [0.0, 0.0], atol=1e-6)
        self.assertAllClose(inner.moving_variance, [1.0, 1.0], rtol=1e-3)

    def test_stateless_calls_on_replicas(self):
        """Their state is what they return, and nothing that the layer holds."""
        strategy = testing_utils.two_cpus_strategy()
        with strategy.scope():
            norm = tfbn.BatchRenorm(momentum=0.5, synchronized=True)
            norm.build((None, 1))

        def replica_step():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            x = tf.fill([2, 1], tf.cast(replica, tf.float32))
            weights = norm.trainable_variables, norm.non_trainable_variables
            weights = [[tf.identity(v.value) for v in group] for group in weights]
            return norm.stateless_call(*weights, x, training=True)[1]

        state = tf.function(lambda: strategy.run(replica_step))()
        mean, step = state[0].values, state[-1].values
        self.assertAllEqual(mean, [[0.25], [0.25]])  # half of the mean of 0 and 1
        self.assertAllEqual(step, [1, 1])
        self.assertAllEqual(norm.moving_mean, [0.0])
        self.assertAllEqual(norm.step, 0)

    def test_averaged_later(self):
        """Each replica keeps what it comes to, and is told of the variables."""
        strategy = testing_utils.two_cpus_strategy()
        with strategy.scope():
            norm = tfbn.BatchNorm(momentum=0.5)
            norm.build((None, 1))
        told = []

        def replica_step():
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            x = tf.fill([2, 1], tf.cast(replica, tf.float32))
            with synchronization.averaged_later() as averages:
                for _ in range(2):
                    norm(x, training=True)
            told.append([variable.name for variable in averages])
            return tf.identity(norm.moving_mean.value)

        step = tf.function(lambda: strategy.run(replica_step), autograph=False)
        self.assertAllEqual(step().values, [[0.0], [0.75]])
        self.assertEqual(told, [["moving_mean", "moving_variance"]] * 2)

    def test_refusals_change_nothing(self):
        plain, virtual = tfbn.BatchNorm(), tfbn.BatchRenorm(virtual_batch_size=4)
        model = keras.Sequential([plain, virtual])
        with self.assertRaisesRegex(ValueError, "with virtual_batch_size=4"):
            tfbn.synchronize(model)
        self.assertFalse(plain.synchronized)
        with self.assertRaisesRegex(ValueError, "Keras model or layer.*model='vgg'"):
            tfbn.synchronize("vgg")


if __name__ == "__main__":
    tf.test.main()
