"""Tests of tfbn.callbacks.checks: bad arguments, and models that do not fit them."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tests.callbacks import small
from tfbn import callbacks

_PAIRS = tf.data.Dataset.from_tensors((np.zeros((4, 4)), np.zeros((4, 2))))


class ErrorsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("unknown", {"diagnostics": ["isc"]}, "'isc'.*Did you mean 'ics'"),
        ("string", {"diagnostics": "ics"}, "list of names.*diagnostics='ics'"),
        ("none", {"diagnostics": []}, r"one or more.*diagnostics=\[\]"),
        ("options", {"options": {"isc": {}}}, "'isc'.*Did you mean 'ics'"),
        ("option", {"options": {"ics": 3}}, r"options={'ics': 3}"),
        ("loss", {"loss": "mse"}, "loss must be a function.*loss='mse'"),
        ("sizes", {"y": np.zeros((3, 2))}, r"same number of examples.*\(3, 2\)"),
        ("targets", {"x": _PAIRS}, "y must be None where x is a dataset"),
        (
            "one batch only",
            {"diagnostics": ["theory"], "x": _PAIRS, "y": None},
            "must be among ics, .* where x is a dataset. Received: 'theory'",
        ),
    )
    def test_at_once(self, changed, message):
        x, y = small.data()
        arguments = {"diagnostics": ["ics"], "x": x, "y": y, **changed}
        with self.assertRaisesRegex(ValueError, message):
            callbacks.Diagnostics(**arguments)

    @parameterized.named_parameters(
        ("x", {}, (8, 3), (8, 2), r"x must be a batch.*\(8, 3\)"),
        ("y", {}, (8, 4), (8, 7), r"y must fit the loss.*\(8, 7\)"),
        ("group", {"steps_per_execution": 3}, (8, 4), (8, 2), "steps_per_execution=3"),
    )
    def test_when_fit_begins(self, options, x_shape, y_shape, message):
        model = small.compiled("functional", **options)
        before = [v.numpy() for v in model.variables]
        model.optimizer.iterations.assign(1)  # not a step that is measured
        watch = callbacks.Diagnostics(["ics"], np.zeros(x_shape), np.zeros(y_shape))
        with self.assertRaisesRegex(ValueError, message):
            small.fit(model, *small.data(), watch)
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)

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

    def test_another_model(self):
        x, y = small.data()
        watch = callbacks.Diagnostics(small.spy([]), x, y)
        small.fit(small.compiled("functional"), x, y, watch, epochs=1)
        with self.assertRaisesRegex(
            ValueError, "belongs to one model. Received: functional"
        ):
            small.fit(small.compiled("functional"), x, y, watch, epochs=1)

    @parameterized.parameters(lambda m: None, lambda m: ["ics"])
    def test_no_meters_of_a_function(self, make):
        x, y = small.data()
        with self.assertRaisesRegex(
            ValueError, "must return a list of tfbn.diagnostics.Meter"
        ):
            small.fit(
                small.compiled("functional"), x, y, callbacks.Diagnostics(make, x, y)
            )

    def test_several_replicas(self):
        x, y = small.data()
        with testing_utils.two_cpus_strategy().scope():
            model = small.compiled("sequential")
        with self.assertRaisesRegex(ValueError, "one replica. Received: sequential"):
            small.fit(model, x, y, callbacks.Diagnostics(["ics"], x, y))


class WithAddLoss(keras.layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x


def _with_add_loss():
    return keras.Sequential([keras.layers.Dense(2), WithAddLoss()])


if __name__ == "__main__":
    tf.test.main()
