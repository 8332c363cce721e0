"""Tests of tfbn.callbacks.checks: bad arguments, and models that do not fit them."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

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
        ("x", (8, 3), (8, 2), r"x must be a batch.*\(8, 3\)"),
        ("y", (8, 4), (8, 7), r"y must fit the loss.*\(8, 7\)"),
    )
    def test_when_fit_begins(self, x_shape, y_shape, message):
        model = small.compiled("functional")
        before = [v.numpy() for v in model.variables]
        model.optimizer.iterations.assign(1)  # not a step that is measured
        watch = callbacks.Diagnostics(["ics"], np.zeros(x_shape), np.zeros(y_shape))
        with self.assertRaisesRegex(ValueError, message):
            small.fit(model, *small.data(), watch)
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(variable, value)

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


if __name__ == "__main__":
    tf.test.main()
