"""Tests of the checks of arguments: the value back, or a message that names it."""

import math
import re

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tfbn import validation


class ValidationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        (2, r"n must be at least 3\. Received: n=2\."),
        (2**63, r"n must be at most 9223372036854775807.* Received: n=92233720368"),
        (3.0, r"n must be an integer of at least 3\. Received: n=3\.0 of type float"),
        (True, r"Received: n=True of type bool"),
        ("5", r"Received: n='5' of type str"),
        (None, r"Received: n=None of type NoneType"),
    )
    def test_no_integer(self, value, message):
        with self.assertRaisesRegex(ValueError, message):
            validation.integer("n", value, minimum=3)

    def test_integer_that_python_does_not_write(self):
        for check in (validation.integer, validation.number):
            with self.assertRaisesRegex(ValueError, "n=an integer of 16610 bits"):
                check("n", 10**5000, minimum=0)
        with self.assertRaisesRegex(ValueError, "n=an integer of 16610 bits"):
            validation.choice("n", 10**5000, (1, 2))

    @parameterized.parameters([(1, 2)], [[np.int64(1), 2]], [np.array([1, 2])])
    def test_integers_come_back_as_a_tuple(self, values):
        result = validation.integers("n", values, minimum=1)
        self.assertEqual(result, (1, 2))
        self.assertEqual({type(n) for n in result}, {int})

    @parameterized.parameters([(1, 0)], [(1.0,)], ["12"], [3], [None])
    def test_no_integers(self, values):
        message = rf"n must be a list of .*at least 1\..*n={re.escape(repr(values))} of"
        with self.assertRaisesRegex(ValueError, message):
            validation.integers("n", values, minimum=1)

    @parameterized.parameters(
        ({"minimum": 0.0}, -0.5, r"p must be at least 0\. Received: p=-0\.5\."),
        ({"maximum": 1.0}, 1.5, r"p must be at most 1\. Received: p=1\.5\."),
        ({"above": 0.0}, 0.0, r"p must be greater than 0\. Received: p=0\.0\."),
        ({"above": 0.0}, -1.0, r"p must be greater than 0\. Received: p=-1\.0\."),
        ({"below": 1.0}, 1.0, r"p must be less than 1\. Received: p=1\.0\."),
        (
            {"minimum": 0.0, "maximum": 1.0},
            2.0,
            r"p must be at least 0 and at most 1\. Received: p=2\.0\.",
        ),
        ({}, math.nan, r"p must be finite\. Received: p=nan"),
        ({"finite": False}, math.nan, r"Received: p=nan"),
        ({}, math.inf, r"p must be finite\. Received: p=inf"),
        ({}, -math.inf, r"p must be finite\. Received: p=-inf"),
        ({}, 10**400, r"p must be finite\. Received: p=1000000"),
        ({}, True, r"p must be a number\. Received: p=True of type bool"),
        ({}, "1", r"p must be a number\. Received: p='1' of type str"),
        ({}, 1j, r"p must be a number\. Received: p=1j of type complex"),
        ({"alternative": "a cat"}, None, r"p must be a number or a cat\. .*p=None"),
    )
    def test_no_such_number(self, limits, value, message):
        with self.assertRaisesRegex(ValueError, message):
            validation.number("p", value, **limits)

    def test_choice_suggests_the_nearest(self):
        with self.assertRaisesRegex(
            ValueError,
            r"kind must be one of 'relu', 'tanh'\. Received: kind='rellu'\. "
            r"Did you mean 'relu'\?",
        ):
            validation.choice("kind", "rellu", ("relu", "tanh"))

    def test_choice_is_what_the_list_has(self):
        for value, expected in ((2.0, 2), (np.int64(1), 1), (np.str_("inf"), "inf")):
            chosen = validation.choice("order", value, (1, 2, "inf"))
            self.assertEqual(chosen, expected)
            self.assertIs(type(chosen), type(expected))

    @parameterized.parameters([True], [[1]], [np.ones(2)], [None])
    def test_choice_of_another_type(self, value):
        with self.assertRaisesRegex(ValueError, "order must be one of 1, 2, 'inf'"):
            validation.choice("order", value, (1, 2, "inf"))

    @parameterized.parameters("Relu", "RELU", "relu ")
    def test_suggestion_whatever_the_case(self, value):
        self.assertEqual(
            validation.suggestion(value, ("relu", "tanh")), " Did you mean 'relu'?"
        )

    def test_keras_object(self):
        def get(value):
            return validation.keras_object("start", value, keras.initializers)

        ones = keras.initializers.Ones()
        self.assertIs(get(ones), ones)
        self.assertIsInstance(get("ones"), keras.initializers.Ones)
        self.assertIsNone(get(None))
        with self.assertRaisesRegex(
            ValueError,
            r"start must be one of keras\.initializers, or the name of one\. Received: "
            r"start='onse'\. Did you mean 'ones'\?",
        ):
            get("onse")

    def test_memory(self):
        validation.memory(2**40, rows=2, columns=2**39)
        with self.assertRaisesRegex(
            ValueError,
            r"rows, columns must fit into memory together\. Received: rows=3, "
            r"columns=1649267441664, which takes 4 TiB\.",
        ):
            validation.memory(9 * 2**39, rows=3, columns=3 * 2**39)

    def test_shown_is_one_short_line(self):
        self.assertEqual(validation.shown("a\nb"), r"'a\nb'")
        self.assertEqual(validation.shown(np.float64(0.5)), "0.5")
        self.assertEqual(validation.shown(np.eye(2)), "array([[1., 0.], [0., 1.]])")
        text = validation.shown(list(range(100)))
        self.assertStartsWith(text, "[0, 1, 2, 3")
        self.assertEndsWith(text, "98, 99]")
        self.assertLess(len(text), 100)


if __name__ == "__main__":
    tf.test.main()
