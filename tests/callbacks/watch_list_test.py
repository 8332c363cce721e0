"""Tests of tfbn.callbacks.watch_list: for which model, and with which loss."""

import keras
import numpy as np
import tensorflow as tf

from tests.callbacks import small
from tfbn import callbacks

# float32 losses by two programs.
RTOL = 1e-5


class WatchListTest(tf.test.TestCase):
    def test_another_fit_counts_on_with_the_same_meters(self):
        x, y = small.data()
        model = small.compiled("functional")
        steps, made = [], []

        def make(of_model):
            made.append(of_model)
            return small.spy(steps)(of_model)

        watch = callbacks.Diagnostics(make, *small.probe(x, y), every=2)
        small.fit(model, x, y, watch, epochs=1)
        small.fit(model, x, y, watch, epochs=1)
        self.assertEqual([r["step"] for r in watch.records], [0, 2, 4])
        self.assertLen(made, 1)
        self.assertIs(made[0], model)
        model.layers[1].trainable = False
        model.compile("sgd", "mse")
        small.fit(model, x, y, watch, epochs=1)
        self.assertLen(made, 2)
        self.assertLen(steps[-1].before.parameters, len(model.trainable_variables))
        # A new optimizer begins at 0; the later record of a step is kept.
        self.assertEqual([r["step"] for r in watch.records], [4, 0, 2])
        self.assertEqual([r["number"] for r in watch.history["spy"]], [3.0, 4.0, 5.0])

    def test_a_loss_that_is_given_wins(self):
        x, y = small.data()
        model = small.compiled("functional")
        kernel = model.layers[1].kernel.numpy()

        def nothing(y_true, y_pred):
            del y_true
            return 0.0 * keras.ops.sum(y_pred)

        watch = callbacks.Diagnostics(["landscape"], *small.probe(x, y), loss=nothing)
        small.fit(model, x, y, watch, epochs=1)
        # Only the penalty is left, once.
        expected = 0.01 * np.sum(kernel**2)
        self.assertAllClose(watch.records[0]["loss"], expected, rtol=RTOL)

    def test_no_loss(self):
        x, y = small.data()

        class Own(small.Subclassed):
            def compute_loss(self, x, y, y_pred, sample_weight=None):
                return keras.ops.mean(keras.ops.abs(y - y_pred))

        for make, why in (
            (_with_add_loss, "has none"),
            (Own, "compute_loss of its own"),
        ):
            model = make()
            loss = "mse" if make is Own else None
            model.compile("sgd", loss, jit_compile=False)
            watch = callbacks.Diagnostics(["ics"], x, y)
            with self.assertRaisesRegex(ValueError, f"loss must be given.*{why}"):
                small.fit(model, x, y, watch)
            # Which takes no loss, or is given one.
            loss = keras.losses.MeanAbsoluteError()
            small.fit(
                model, x, y, callbacks.Diagnostics(["activations"], x, y), epochs=1
            )
            small.fit(
                model, x, y, callbacks.Diagnostics(["ics"], x, y, loss=loss), epochs=1
            )


class WithAddLoss(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x


def _with_add_loss():
    return keras.Sequential([keras.layers.Dense(2), WithAddLoss()])


if __name__ == "__main__":
    tf.test.main()
