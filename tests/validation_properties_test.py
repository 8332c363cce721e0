"""Property tests of the checks: a good value comes back, a message shows a bad one."""

import math

import hypothesis
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

from tests import strategies
from tfbn import validation

NAMES = st.from_regex(r"[a-z][a-z_]{0,20}", fullmatch=True)
LARGEST = 2**63 - 1


def whole_numbers():
    """Python's and NumPy's, as wide as they come."""
    return (
        st.integers()
        | st.integers(-(2**31), 2**31 - 1).map(np.int32)
        | st.integers(-(2**63), LARGEST).map(np.int64)
    )


def others():
    """What is no number."""
    return st.none() | st.booleans() | st.text() | st.lists(st.integers())


class ValidationTest(tf.test.TestCase):
    def assert_refused(self, name, value, check):
        """The message, which names the argument and shows the value in one line."""
        with self.assertRaises(ValueError) as raised:
            check()
        message = str(raised.exception)
        self.assertStartsWith(message, f"{name} must be ")
        self.assertIn(f"Received: {name}={validation.shown(value)}", message)
        self.assertNotIn("\n", message)
        return message

    @strategies.examples(10)
    @hypothesis.given(NAMES, whole_numbers(), st.integers(-100, 100))
    def test_integer(self, name, value, minimum):
        def check():
            return validation.integer(name, value, minimum=minimum)

        if minimum <= value <= LARGEST:
            self.assertEqual(check(), value)
            self.assertIs(type(check()), int)
        else:
            self.assert_refused(name, value, check)

    @strategies.examples(10)
    @hypothesis.given(
        NAMES, st.floats() | whole_numbers(), st.floats(-10.0, 10.0), st.booleans()
    )
    def test_number(self, name, value, minimum, finite):
        def check():
            return validation.number(name, value, minimum=minimum, finite=finite)

        try:
            number = float(value)
        except OverflowError:
            number = math.copysign(math.inf, value)
        if number >= minimum and (math.isfinite(number) or not finite):
            self.assertEqual(check(), number)
            self.assertIs(type(check()), float)
        else:
            self.assert_refused(name, value, check)

    @strategies.examples(10)
    @hypothesis.given(st.floats(-10.0, 10.0), st.floats(-10.0, 10.0), st.data())
    def test_open_bounds(self, one, two, data):
        low, high = sorted((one, two))
        value = data.draw(st.sampled_from((low, high)) | st.floats(-11.0, 11.0))

        def check():
            return validation.number("n", value, above=low, below=high)

        if low < value < high:
            self.assertEqual(check(), value)
        else:
            self.assert_refused("n", value, check)

    @strategies.examples(10)
    @hypothesis.given(NAMES, others())
    def test_other_kinds_are_refused(self, name, value):
        self.assert_refused(name, value, lambda: validation.number(name, value))
        self.assert_refused(
            name, value, lambda: validation.integer(name, value, minimum=0)
        )

    @strategies.examples(10)
    @hypothesis.given(NAMES, st.lists(st.text(), min_size=1, unique=True), st.data())
    def test_choice(self, name, allowed, data):
        value = data.draw(st.sampled_from(allowed) | st.text() | others())
        allowed = tuple(allowed)
        if isinstance(value, str) and value in allowed:
            self.assertEqual(validation.choice(name, value, allowed), value)
        else:
            with self.assertRaisesRegex(ValueError, f"^{name} must be one of "):
                validation.choice(name, value, allowed)

    @strategies.examples(10)
    @hypothesis.given(
        NAMES, st.booleans() | st.booleans().map(np.bool_) | st.integers()
    )
    def test_boolean(self, name, value):
        if isinstance(value, (bool, np.bool_)):
            self.assertIs(validation.boolean(name, value), bool(value))
        else:
            self.assert_refused(name, value, lambda: validation.boolean(name, value))

    @strategies.examples(10)
    @hypothesis.given(others() | st.text(min_size=200) | st.integers(10**90))
    def test_shown_is_one_short_line(self, value):
        text = validation.shown(value)
        self.assertLessEqual(len(text), 100)
        self.assertLen((text + "x").splitlines(), 1)


if __name__ == "__main__":
    tf.test.main()
