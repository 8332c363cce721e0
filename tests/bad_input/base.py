"""What the tables of bad input share: their rows, and what a refusal has to say."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils  # noqa: F401  (before TensorFlow starts)

# Long enough for a list of all choices; a value of a million items is cut short.
LONGEST_MESSAGE = 600


class Row(NamedTuple):
    """`call(**{argument: value})` has to be refused by an error that says `rule`."""

    call: Callable
    argument: str
    rule: str
    value: Any


def rows(call, argument, rule, *values):
    """A row for each value."""
    return [Row(call, argument, rule, value) for value in values]


class BadInputTest(tf.test.TestCase, parameterized.TestCase):
    """Checks what an error says: the argument, the rule, the value; in one line."""

    def assert_refused(self, row):
        with self.assertRaises(ValueError) as caught:
            row.call(**{row.argument: row.value})
        self.assert_message(str(caught.exception), row)

    def assert_message(self, message, row):
        rule, received, value = message.partition("Received: ")
        self.assertTrue(received, message)
        self.assertIn(row.argument, rule)
        self.assertIn(row.rule, message)
        self.assertTrue(any(text in value for text in _shown(row.value)), message)
        self.assertLen(message.splitlines(), 1)
        self.assertLess(len(message), LONGEST_MESSAGE)


def _shown(value):
    """How a message may show a value: the beginning of a long one."""
    return [" ".join(text.split())[:40] for text in (repr(value), str(value))]
