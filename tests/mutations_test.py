"""Tests of the list of faults for tests/mutations.py."""

import pathlib
import tomllib

import tensorflow as tf

_ROOT = pathlib.Path(__file__).parent.parent


class MutationsTest(tf.test.TestCase):
    def test_each_fault_is_still_one_change_of_the_code(self):
        """A refactoring takes its faults with it."""
        text = (_ROOT / "tests" / "mutations.toml").read_text(encoding="utf-8")
        mutations = tomllib.loads(text)["mutation"]
        self.assertGreaterEqual(len(mutations), 63)
        for mutation in mutations:
            for edit in mutation["edit"]:
                code = (_ROOT / edit["file"]).read_text(encoding="utf-8")
                with self.subTest(mutation["id"]):
                    self.assertEqual(code.count(edit["old"]), 1)
                    self.assertNotEqual(edit["old"], edit["new"])


if __name__ == "__main__":
    tf.test.main()
