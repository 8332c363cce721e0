"""Tests of layers inside tf.recompute_grad and keras.RematScope."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tests.layers.every_layer import CLASSES
from tests.layers.every_layer import each

_X = np.random.default_rng(0).normal(2.0, 3.0, size=(8, 3)).astype("float32")


def train(call, x):
    """`(output, gradient for x)` of a cubic loss."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = call(x)
        loss = tf.reduce_sum(y**3)
    return y, tape.gradient(loss, x)


class RecomputationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.product(
        cls=(tfbn.BatchNorm, tfbn.LpBatchNorm), mode=("eager", "graph", "outside")
    )
    def test_state_moves_once_and_gradients_are_those_without(self, cls, mode):
        self._check(cls(momentum=0.5), mode)

    @parameterized.parameters("eager", "graph")
    def test_virtual_batches(self, mode):
        self._check(tfbn.BatchNorm(momentum=0.5, virtual_batch_size=3), mode)

    def _check(self, layer, mode):
        layer.build(_X.shape)
        expected = testing_utils.TrainingCall(layer, _X.astype("float64"))
        recomputed = tf.recompute_grad(lambda x: layer(x, training=True))
        if mode == "outside":
            recomputed = tf.function(recomputed)
        step = testing_utils.in_mode(
            lambda x: train(recomputed, x), "graph" if mode == "graph" else "eager"
        )
        y, gradient = step(tf.constant(_X))
        testing_utils.assert_same_state(
            {k: v.round(5) for k, v in testing_utils.state(layer).items()},
            {k: np.float32(v).round(5) for k, v in expected.after().items()},
        )
        wanted = expected.gradients(3.0 * expected.output**2)[0]
        self.assertLess(testing_utils.relative_error(y, expected.output), 2e-6)
        self.assertLess(testing_utils.relative_error(gradient, wanted), 2e-5)

    @each({k: CLASSES[k] for k in ("BatchRenorm", "NoisyBatchNorm", "ActivationNoise")})
    def test_what_would_differ_is_refused(self, make):
        layer = make()
        layer.build(_X.shape)
        before = testing_utils.state(layer)
        recomputed = tf.recompute_grad(lambda x: layer(x, training=True))
        with self.assertRaisesRegex(ValueError, "must not be recomputed in training"):
            train(recomputed, tf.constant(_X))
        testing_utils.assert_same_state(testing_utils.state(layer), before)
        inference = tf.recompute_grad(lambda x: layer(x, training=False))
        train(inference, tf.constant(_X))

    def test_remat_scope(self):
        """Eagerly: in a graph, Keras's scope takes no layer that knows `training`."""
        for cls in (tfbn.BatchNorm, tfbn.BatchRenorm):
            with keras.RematScope("full"):
                layer = cls(momentum=0.5)
            if cls is tfbn.BatchNorm:
                train(lambda x, f=layer: f(x, training=True), tf.constant(_X))
                mean = np.mean(_X, axis=0)
                self.assertAllClose(layer.moving_mean, 0.5 * mean, 1e-5)
            else:
                with self.assertRaisesRegex(ValueError, "must not be recomputed"):
                    layer(_X, training=True)


if __name__ == "__main__":
    tf.test.main()
