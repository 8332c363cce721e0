"""Tests of tfbn._scopes."""

import contextvars

import tensorflow as tf

from tfbn import _scopes


class ScopesTest(tf.test.TestCase):
    def test_holding(self):
        variable = contextvars.ContextVar("variable", default=0)
        seen = [variable.get()]
        with _scopes.holding(variable, 1):
            seen.append(variable.get())
            with self.assertRaisesRegex(ValueError, "inside"):
                with _scopes.holding(variable, 2):
                    seen.append(variable.get())
                    raise ValueError("inside")
            seen.append(variable.get())
        self.assertEqual([*seen, variable.get()], [0, 1, 2, 1, 0])


if __name__ == "__main__":
    tf.test.main()
