"""Settings of the tests: TensorFlow's start, and which tests are the quick ones.

`pytest -m quick` runs the first case of each test method that tests/slow_tests.txt does
not list: every test file, and so every module, in about a minute. Lines of that list
are the beginnings of test ids.
"""

import inspect
import pathlib

import pytest

from tests import testing_utils

testing_utils.start_tensorflow()

_SLOW = pathlib.Path(__file__).with_name("slow_tests.txt")


def pytest_collection_modifyitems(items):
    """Marks the quick tests."""
    slow = tuple(_SLOW.read_text(encoding="utf-8").split())
    seen = set()
    for item in items:
        function = getattr(item, "function", None)
        # All cases of a parameterized method wrap the one that is written down.
        key = item.parent.nodeid, inspect.unwrap(function)
        if key not in seen and not item.nodeid.startswith(slow):
            seen.add(key)
            if item.name != "test_session":  # TensorFlow's, of every class
                item.add_marker(pytest.mark.quick)
