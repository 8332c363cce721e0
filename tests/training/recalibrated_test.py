"""Tests of tfbn.training.recalibrated."""

import keras
import numpy as np
import tensorflow as tf

import tfbn
from tfbn import data
from tfbn.training import RecalibratedEvaluation

# float32 against float64.
RTOL = 1e-5
_EPSILON = 0.01


class RecalibratedTest(tf.test.TestCase):
    def test_loss_by_the_pooled_statistics_of_the_first_batches(self):
        rng = np.random.default_rng(0)
        x = rng.normal([1.0, -2.0, 5.0], [1.0, 2.0, 0.5], (60, 3)).astype("float32")
        y = rng.normal(size=(60, 2)).astype("float32")
        tests = x[40:] + 1.0, y[40:]
        dense = keras.layers.Dense(2, use_bias=False)
        model = keras.Sequential(
            [keras.Input((3,)), tfbn.BatchRenorm(epsilon=_EPSILON), dense]
        )
        model(x, training=True)  # averages of something, and a step of 1
        before = [v.numpy() for v in model.variables]
        batches = data.ArrayBatches(x[:40], y[:40], data.IIDBatches(40, 16))
        loss = keras.losses.MeanSquaredError()
        evaluate = RecalibratedEvaluation(
            model, loss, batches, 2, tests, validation_batch_size=7
        )
        used = np.concatenate([batches(step)[0] for step in (0, 1)]).astype("float64")
        scaled = (tests[0] - used.mean(axis=0)) / np.sqrt(used.var(axis=0) + _EPSILON)
        expected = np.mean((scaled @ dense.kernel.numpy() - tests[1]) ** 2)
        for _ in range(2):
            self.assertAllClose(evaluate(), {"loss": expected}, rtol=RTOL)
        own = np.mean((model.predict(tests[0], verbose=0) - tests[1]) ** 2)
        self.assertGreater(abs(own - expected), 0.1)
        for value, variable in zip(before, model.variables, strict=True):
            self.assertAllEqual(value, variable.numpy())

    def test_a_model_that_diverged_has_no_finite_loss(self):
        dense = keras.layers.Dense(2, use_bias=False)
        model = keras.Sequential([keras.Input((3,)), dense, tfbn.BatchNorm()])
        dense.kernel.assign(np.full((3, 2), np.nan))
        x, y = np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
        batches = data.ArrayBatches(x, y, data.IIDBatches(8, 4))
        loss = keras.losses.MeanSquaredError()
        evaluate = RecalibratedEvaluation(model, loss, batches, 2, (x, y))
        before = [v.numpy() for v in model.variables]
        self.assertAllEqual(np.isfinite(evaluate()["loss"]), False)
        for value, variable in zip(before, model.variables, strict=True):
            self.assertAllEqual(value, variable.numpy())


if __name__ == "__main__":
    tf.test.main()
