"""Tests of the checks of arguments: the value back, or a message that names it."""

import math

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils  # noqa: F401  (before TensorFlow starts)
from tfbn import validation


class ValidationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(3, np.int64(3), np.int32(3))
    def test_integer_comes_back_as_int(self, value):
        result = validation.integer("n", value, minimum=3)
        self.assertIs(type(result), int)
        self.assertEqual(result, 3)

    @parameterized.parameters(
        (2, r"n must be at least 3\. Received: n=2\."),
        (3.0, r"n must be an integer of at least 3\. Received: n=3\.0 of type float"),
        (True, r"Received: n=True of type bool"),
        ("5", r"Received: n='5' of type str"),
        (None, r"Received: n=None of type NoneType"),
    )
    def test_no_integer(self, value, message):
        with self.assertRaisesRegex(ValueError, message):
            validation.integer("n", value, minimum=3)

    @parameterized.parameters(2, 2.0, np.float32(2.0), np.float64(2.0), np.int64(2))
    def test_number_comes_back_as_float(self, value):
        result = validation.number("p", value, minimum=2.0, maximum=2.0)
        self.assertIs(type(result), float)
        self.assertEqual(result, 2.0)

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
        ({}, True, r"p must be a number\. Received: p=True of type bool"),
        ({}, "1", r"p must be a number\. Received: p='1' of type str"),
        ({}, 1j, r"p must be a number\. Received: p=1j of type complex"),
        ({"alternative": "a cat"}, None, r"p must be a number or a cat\. .*p=None"),
    )
    def test_no_such_number(self, limits, value, message):
        with self.assertRaisesRegex(ValueError, message):
            validation.number("p", value, **limits)

    def test_infinity_where_it_is_allowed(self):
        self.assertEqual(validation.number("p", math.inf, finite=False), math.inf)

    def test_a_number_just_above(self):
        value = np.nextafter(0.0, 1.0)
        self.assertEqual(validation.number("p", value, above=0.0), value)

    def test_choice(self):
        self.assertEqual(validation.choice("kind", "relu", ("relu", "tanh")), "relu")

    def test_choice_suggests_the_nearest(self):
        with self.assertRaisesRegex(
            ValueError,
            r"kind must be one of 'relu', 'tanh'\. Received: kind='rellu'\. "
            r"Did you mean 'relu'\?",
        ):
            validation.choice("kind", "rellu", ("relu", "tanh"))

    def test_choice_without_a_near_one_suggests_nothing(self):
        with self.assertRaisesRegex(ValueError, r"Received: kind=7\.$"):
            validation.choice("kind", 7, ("relu", "tanh"))

    @parameterized.parameters(True, False)
    def test_boolean(self, value):
        self.assertIs(validation.boolean("flag", value), value)

    @parameterized.parameters(1, 0, None, "True")
    def test_no_boolean(self, value):
        with self.assertRaisesRegex(ValueError, f"True or False.*flag={value!r}"):
            validation.boolean("flag", value)


if __name__ == "__main__":
    tf.test.main()
