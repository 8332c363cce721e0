"""What the tests of bad input share: wrong values, and what a refusal has to say."""

import inspect

import keras
import tensorflow as tf
from absl.testing import parameterized

# Long enough for a list of all choices; a value of a million items is abbreviated.
LONGEST_MESSAGE = 600


class Wrong:
    """A value that no argument accepts."""

    def __repr__(self):
        return "<a Wrong>"


def parameters(function):
    """The names of the arguments of a function or class: `(all, required)`.

    A layer's **kwargs are the named arguments of its base class, as far as
    keras.layers.BatchNormalization.
    """
    owners = [function]
    if inspect.isclass(function):
        layer = keras.layers.BatchNormalization
        owners += [c for c in function.__mro__[1:] if issubclass(c, layer)]
    found = {}
    for owner in owners:
        for parameter in inspect.signature(owner).parameters.values():
            if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                found.setdefault(parameter.name, parameter)
    return list(found), [p.name for p in found.values() if p.default is p.empty]


class BadInputTest(tf.test.TestCase, parameterized.TestCase):
    """Checks what an error says: the argument, the rule, the value; in one line."""

    def assert_refused(self, call, argument, value, rule=" must ", **others):
        with self.assertRaises(ValueError) as caught:
            call(**{**others, argument: value})
        message = str(caught.exception)
        said, received, shown = message.partition("Received: ")
        self.assertTrue(received, message)
        self.assertIn(argument, said)
        self.assertIn(rule, said if rule == " must " else message)
        self.assertTrue(any(text in shown for text in _shown(value)), message)
        self.assertLen(message.splitlines(), 1)
        self.assertLess(len(message), LONGEST_MESSAGE)


def _shown(value):
    """How a message may show a value: abbreviated, or by its type."""
    texts = [" ".join(text.split())[:40] for text in (repr(value), str(value))]
    if isinstance(value, Wrong):
        texts += ["Wrong", "dtype object"]
    return texts
