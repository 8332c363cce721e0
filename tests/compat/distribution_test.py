"""Tests of tfbn._compat.distribution: each fails where what it patches has changed."""

import os
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from tests import testing_utils
from tfbn import _compat


class DistributionTest(tf.test.TestCase):
    """On two replicas; Keras's own behaviour is the contrast."""

    def setUp(self):
        super().setUp()
        self.strategy = testing_utils.two_cpus_strategy()

    def _on_replicas(self, function):
        run = tf.function(lambda: self.strategy.run(function))
        return self.strategy.experimental_local_results(run())

    def test_summed_gradients(self):
        with self.strategy.scope():
            variable = keras.Variable(1.0)
            optimizer = keras.optimizers.SGD(1.0)
            optimizer.build([variable])

        def apply():
            optimizer.apply([tf.constant(0.25)])

        self._on_replicas(apply)  # Keras adds up the gradients
        self.assertAllClose(variable, 0.5)
        with _compat.summed_gradients(optimizer):
            self._on_replicas(apply)
        self.assertAllClose(variable, 0.25)
        self.assertNotIn("_all_reduce_sum_gradients", vars(optimizer))

    def test_unscaled_losses(self):
        loss = keras.losses.MeanSquaredError()

        def value():
            return loss(tf.zeros([2, 1]), tf.ones([2, 1]))

        self.assertAllClose(self._on_replicas(value), [0.5, 0.5])  # a share of the sum
        with _compat.unscaled_losses():
            self.assertAllClose(self._on_replicas(value), [1.0, 1.0])
        self.assertAllClose(self._on_replicas(value), [0.5, 0.5])

    def test_outside_strategy(self):
        loss = keras.losses.MeanSquaredError()
        strategy = testing_utils.two_cpus_strategy()

        def value():
            return loss(tf.zeros([2, 1]), tf.ones([2, 1]))

        with strategy.scope():
            self.assertAllClose(value(), 0.5)
            with _compat.outside_strategy():
                self.assertFalse(tf.distribute.has_strategy())
                self.assertAllClose(value(), 1.0)
                self.assertAllClose(tf.function(value)(), 1.0)
                variable = keras.Variable(1.0)
            self.assertNotIsInstance(variable.value, tf.distribute.DistributedValues)
            variable = keras.Variable(1.0)
            self.assertIsInstance(variable.value, tf.distribute.DistributedValues)
            self.assertIs(tf.distribute.get_strategy(), strategy)
        with _compat.outside_strategy():
            self.assertFalse(tf.distribute.has_strategy())

    def test_seeds_of_replicas(self):
        with testing_utils.two_cpus_strategy().scope():
            own, same = (keras.random.SeedGenerator(1) for _ in range(2))
        same.same_on_replicas = True

        def draw():
            return tf.stack([tf.cast(g.next(), tf.int32) for g in (own, same)])

        one, other = self._on_replicas(draw)
        self.assertAllEqual(one, other)
        with _compat.seeds_of_replicas():
            one, other = self._on_replicas(draw)
        self.assertNotAllEqual(one[0], other[0])
        self.assertAllEqual(one[1], other[1])
        one, other = self._on_replicas(draw)
        self.assertAllEqual(one, other)

    @pytest.mark.long
    def test_bound_waiting(self):
        code = """if True:
            import json, os
            import tensorflow as tf
            from tfbn import _compat
            cluster = {"worker": ["127.0.0.1:0", "127.0.0.1:1"]}
            task = {"type": "worker", "index": 0}
            os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
            _compat.bound_waiting(cluster, start_seconds=0.5, lost_seconds=5)
            try:
                tf.distribute.MultiWorkerMirroredStrategy()
            except tf.errors.DeadlineExceededError as error:
                print("Ended:", error.message)
            """
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        self.assertRegex(found.stdout, "^Ended: Barrier timed out", found.stderr)


if __name__ == "__main__":
    tf.test.main()
