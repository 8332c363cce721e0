"""The quick tests reach every module and every test file."""

import ast
import importlib
import pathlib
import pkgutil
import re

import tensorflow as tf

import tfbn
from tests import conftest

_TESTS = pathlib.Path(__file__).parent
_SLOW = (_TESTS / "slow_tests.txt").read_text(encoding="utf-8").splitlines()


def _methods(path):
    """`file::class::method` of all that a test file defines."""
    name = path.relative_to(_TESTS.parent).as_posix()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for child in node.body if isinstance(node, ast.ClassDef) else ():
            if getattr(child, "name", "").startswith("test_"):
                yield f"{name}::{node.name}::{child.name}"


class QuickTest(tf.test.TestCase):
    def test_each_test_file_has_one(self):
        for path in _TESTS.rglob("*_test.py"):
            methods = set(_methods(path))
            self.assertNotEmpty(methods - set(_SLOW), path)

    def test_each_module_can_be_imported(self):
        names = [m.name for m in pkgutil.walk_packages(tfbn.__path__, "tfbn.")]
        self.assertIn("tfbn.ops.one_pass", names)
        for name in names:
            importlib.import_module(name)

    def test_slow_tests(self):
        """The longest ones, but for the shortest of each file."""
        seconds = {"a::T::x": 9.0, "a::T::y": 2.0, "b::T::x": 5.0, "a::T::z": 1.0}
        self.assertEqual(conftest.slow_tests(seconds, 20.0), [])
        self.assertEqual(conftest.slow_tests(seconds, 10.0), ["a::T::x"])
        self.assertEqual(conftest.slow_tests(seconds, 7.0), ["a::T::x", "a::T::y"])
        self.assertRegex(_SLOW[0], re.compile(r"^tests/.*_test\.py::\w+::test_\w+$"))


if __name__ == "__main__":
    tf.test.main()
