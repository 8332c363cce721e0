"""Tests of Option: one declaration of each type, its rules and its text."""

import tensorflow as tf
from absl.testing import parameterized

from tfbn.options import Option

_FLAG = Option("shuffle", False, "Shuffle.")
_COUNT = Option("count", 3, "Count.", minimum=1, maximum=9)
_SEED = Option("seed", 0, "Seed.")
_RATE = Option("rate", 0.5, "Rate.", above=0.0, maximum=1.0)
_SHARE = Option("share", 0.5, "Share.", minimum=0.0, below=1.0)
_KIND = Option("kind", "sum", "Kind.", choices=("sum", "mean"))
_FOLDER = Option("folder", "", "Folder.")
_SIZES = Option("sizes", (4, 2), "Sizes.", minimum=1)


class OptionTest(parameterized.TestCase, tf.test.TestCase):
    @parameterized.named_parameters(
        ("bool", _FLAG, True, "true"),
        ("int", _COUNT, 9, "9"),
        ("float", _RATE, 1, "1.0"),
        ("choice", _KIND, "mean", "mean"),
        ("str", _FOLDER, "a b", "a b"),
        ("tuple", _SIZES, [7, 1], "7,1"),
        ("empty tuple", _SIZES, (), ""),
    )
    def test_value_is_returned_as_the_type_of_the_default(self, option, value, text):
        checked = option.checked(value)

        self.assertIs(type(checked), option.type)
        self.assertEqual(option.text(checked), text)
        self.assertEqual(option.checked(option.default), option.default)

    @parameterized.named_parameters(
        ("bool", _FLAG, 1),
        ("int of another type", _COUNT, 2.0),
        ("int below", _COUNT, 0),
        ("int above", _COUNT, 10),
        ("int below its implied minimum", _SEED, -1),
        ("float at its exclusive bound", _RATE, 0.0),
        ("float above", _RATE, 1.5),
        ("float at its upper bound", _SHARE, 1.0),
        ("NaN", _RATE, float("nan")),
        ("choice", _KIND, "men"),
        ("str", _FOLDER, 3),
        ("tuple", _SIZES, (2, 0)),
        ("tuple of one", _SIZES, 2),
    )
    def test_refuses_a_value_that_breaks_the_rule(self, option, value):
        with self.assertRaisesRegex(ValueError, f"^{option.name} must be .*Received"):
            option.checked(value)


if __name__ == "__main__":
    tf.test.main()
