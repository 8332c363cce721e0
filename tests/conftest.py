"""Settings of the tests: TensorFlow's start, and which tests are the quick ones.

`pytest -m quick` runs the first case of each test method that tests/slow_tests.txt does
not list, of every test file. To write that list anew, after tests have changed, run
`pytest tests -m quick --choose-quick`: it measures all first cases and lists those that
take the most CPU time, until the others fit into `BUDGET`.
"""

import collections
import inspect
import os
import pathlib

import pytest

# Seconds of CPU time that the quick tests take, without the start of the processes and
# what each process takes longer for where it does something for the first time.
BUDGET = 55.0

_SLOW = pathlib.Path(__file__).with_name("slow_tests.txt")
# Filled by --choose-quick: seconds of methods, and of the setUpClass of classes.
_seconds, _class_seconds = {}, collections.Counter()


def pytest_configure(config):
    # The process that hands the tests out to workers runs none.
    if not getattr(config.option, "numprocesses", None):
        from tests import testing_utils

        testing_utils.start_tensorflow()


def pytest_addoption(parser):
    parser.addoption(
        "--choose-quick",
        action="store_true",
        help="measure the first case of each test, and write tests/slow_tests.txt",
    )


def pytest_collection_modifyitems(config, items):
    """Marks the quick tests."""
    slow = set()
    if not config.getoption("--choose-quick"):
        slow = set(_SLOW.read_text(encoding="utf-8").splitlines())
    seen = {_method(item) for item in items if item.name == "test_session"}
    for item in items:
        method = _method(item)
        is_long = item.get_closest_marker("long")
        if method not in seen and method not in slow and not is_long:
            seen.add(method)
            item.add_marker(pytest.mark.quick)


def _method(item):
    """`file::class::method`: the same for all cases of a parameterized method."""
    # They wrap the function that is written down.
    name = inspect.unwrap(item.function).__name__
    return f"{item.parent.nodeid}::{name}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    before, of_classes = _cpu_seconds(), _class_seconds.total()
    try:
        return (yield)
    finally:
        of_classes = _class_seconds.total() - of_classes
        _seconds[_method(item)] = _cpu_seconds() - before - of_classes


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef, request):
    before = _cpu_seconds()
    try:
        return (yield)
    finally:
        if fixturedef.scope == "class":
            _class_seconds[request.node.nodeid] += _cpu_seconds() - before


def _cpu_seconds():
    """Of this process and its children."""
    return sum(os.times()[:4])


def pytest_sessionfinish(session):
    if session.config.getoption("--choose-quick"):
        # Whichever test of a class is left pays for its setUpClass.
        seconds = {
            method: own + _class_seconds[method.rpartition("::")[0]]
            for method, own in _seconds.items()
        }
        slow = slow_tests(seconds, BUDGET)
        _SLOW.write_text("".join(f"{name}\n" for name in slow), encoding="utf-8")


def slow_tests(seconds, budget):
    """The methods to leave out, from a dict of CPU seconds by method.

    The longest ones, until the rest fits; but the shortest of each file stays.
    """
    files = {}
    for method in sorted(seconds, key=seconds.get):
        files.setdefault(method.partition("::")[0], method)
    left, total = [], sum(seconds.values())
    for method in sorted(seconds, key=seconds.get, reverse=True):
        if total > budget and method not in files.values():
            left.append(method)
            total -= seconds[method]
    return sorted(left)
