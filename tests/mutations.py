"""Measures the tests of tfbn/ops and tfbn/layers: how many faults do they catch?

A script, not a test. tests/mutations.toml lists faults that a programmer could make.
Each one in turn is put into a copy of the tree, and pytest runs until a test fails. The
tests of the file that holds the fault run first, the quick ones before the others; long
tests run last. A fault has survived when all have passed. Results go to a JSON file
after each fault; a second run with the same file continues, and repeats those that ran
out of time.

    python tests/mutations.py --output=/tmp/mutations.json
    python tests/mutations.py --output=/tmp/mutations.json --report
"""

import argparse
import importlib
import json
import multiprocessing
import os
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile
import time
import tomllib

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TESTS = (
    "tests/layers",
    "tests/serialization_test.py",
    "tests/conformance_test.py",
    "tests/ops",
)
VERDICTS = ("killed", "survived")
# What the tests import and no mutation changes.
LIBRARIES = ("tensorflow", "keras", "tf_keras", "hypothesis", "matplotlib.pyplot")
# Ways in which a fault ends the process, by no hand from outside.
CRASHES = (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGFPE)


def main():
    options = parse_arguments()
    with open(options.table, "rb") as file:
        mutations = tomllib.load(file)["mutation"]
    if options.only:
        mutations = [m for m in mutations if m["id"] in options.only]
    for mutation in mutations:
        apply_edits(options.tree, mutation, dry_run=True)
    results = read_results(options.output)
    if not options.report:
        for name in LIBRARIES:
            importlib.import_module(name)
        with tempfile.TemporaryDirectory() as folder:
            tree = copy_tree(options.tree, folder)
            run_all(mutations, results, tree, options)
    print_report(mutations, results)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", required=True, help="the JSON file of results")
    parser.add_argument("--tree", type=pathlib.Path, default=HERE.parent)
    parser.add_argument("--table", default=HERE / "mutations.toml")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="pytest's arguments")
    parser.add_argument("--deselect", nargs="+", default=[], help="tests to leave out")
    parser.add_argument("--only", nargs="+", help="the ids of some mutations")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for each")
    parser.add_argument("--report", action="store_true", help="run nothing")
    return parser.parse_args()


def run_all(mutations, results, tree, options):
    for mutation in mutations:
        name = mutation["id"]
        if results.get(name, {}).get("outcome") in VERDICTS:
            continue
        originals = apply_edits(tree, mutation)
        results[name] = run_tests(tree, mutation, options)
        for path, text in originals.items():
            path.write_text(text)
        with open(options.output, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)
        print(name, results[name], flush=True)


def apply_edits(tree, mutation, dry_run=False):
    """Changes the files of `tree`; returns the original texts by path."""
    originals = {}
    for edit in mutation["edit"]:
        path = tree / edit["file"]
        text = path.read_text()
        if text.count(edit["old"]) != 1:
            raise SystemExit(
                f"{mutation['id']}: {edit['file']} must contain this once:\n"
                f"{edit['old']}"
            )
        originals.setdefault(path, text)
        if not dry_run:
            path.write_text(text.replace(edit["old"], edit["new"]))
    return originals


def run_tests(tree, mutation, options):
    """Runs the tests until one fails: `{"outcome":, "seconds":, "by": the test}`."""
    start = time.monotonic()
    outcome, failed = run_pytest(tree, mirrors(tree, mutation), options)
    seconds = round(time.monotonic() - start)
    return {"outcome": outcome, "seconds": seconds, "by": failed}


def run_pytest(tree, first, options):
    """`(outcome, the first failed test or None)`; the files `first` run first."""
    arguments = ["-x", "-q", "--no-header", "--tb=line", "-p", "no:cacheprovider"]
    arguments += [f"--deselect={name}" for name in options.deselect]
    arguments += [*first, *options.tests]
    with tempfile.TemporaryFile("w+") as output:
        # A fork of this process has TensorFlow imported: most of the time of a run in
        # which a test fails at once. Nothing here starts it.
        child = multiprocessing.get_context("fork").Process(
            target=_run_child, args=(tree, arguments, Order(first), output.fileno())
        )
        child.start()
        child.join(options.timeout)
        if child.is_alive():
            child.kill()
            child.join()
            return "timeout", None
        output.seek(0)
        return outcome_of(child.exitcode, output.read().splitlines())


def outcome_of(exitcode, lines):
    """`(outcome, the first failed test or None)`, from what pytest ended with."""
    if exitcode == 0:
        return "survived", None
    for line in lines:
        if line.startswith(("FAILED", "ERROR", "SUBFAILED")):
            return "killed", line.partition(" - ")[0].partition(" ")[2]
    if exitcode in CRASHES:
        return "killed", f"signal {-exitcode}"
    raise SystemExit("\n".join([f"pytest ended with {exitcode}:", *lines]))


class Order:
    """A plugin of pytest: each test once, those that may fail soonest first.

    First come those in the files `first`, then those in files of similar names, and
    then those of the same folders.
    """

    def __init__(self, first):
        self._first = tuple(first)
        self._words = set().union(*map(_words, first))
        self._folders = {pathlib.Path(file).parent for file in first}

    # After conftest.py has marked the quick tests.
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        items[:] = sorted({i.nodeid: i for i in items}.values(), key=self._rank)

    def _rank(self, item):
        quick, long = (
            item.get_closest_marker(m) is not None for m in ("quick", "long")
        )
        file = item.nodeid.partition("::")[0]
        is_similar = not self._words.isdisjoint(_words(file))
        is_near = pathlib.Path(file).parent in self._folders
        return long, file not in self._first, not is_similar, not is_near, not quick


def _words(file):
    return set(pathlib.Path(file).stem.split("_")) - {"test", "properties"}


def _run_child(tree, arguments, order, output):
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)  # of scripts that tests start
    sys.path[0] = str(tree)
    sys.exit(pytest.main(arguments, plugins=[order]))


def mirrors(tree, mutation):
    """The test files of the mutated modules."""
    found = []
    for edit in mutation["edit"]:
        path = pathlib.Path(edit["file"])
        folder = pathlib.Path("tests", *path.parts[1:-1])
        module = path.stem.lstrip("_")
        for name in (f"{module}_test.py", f"{module}_properties_test.py"):
            if (tree / folder / name).exists():
                found.append(str(folder / name))
    return list(dict.fromkeys(found))


def copy_tree(source, folder):
    target = pathlib.Path(folder, "tree")
    for name in ("tfbn", "tests", "scripts"):
        shutil.copytree(
            source / name,
            target / name,
            ignore=shutil.ignore_patterns("__pycache__", "runs"),
        )
    shutil.copy(source / "pyproject.toml", target)
    return target


def read_results(path):
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def print_report(mutations, results):
    known = [(m, results[m["id"]]) for m in mutations if m["id"] in results]
    for mutation, result in known:
        if result["outcome"] != "killed":
            print(f"{result['outcome']}: {mutation['id']}: {mutation['breaks']}")
    killed = [(m, r) for m, r in known if r["outcome"] == "killed"]
    print(f"{len(killed)} of {len(known)} caught, {len(mutations)} in all.")
    if killed:
        near = sum(
            r["by"].startswith(tuple(mirrors(HERE.parent, m))) for m, r in killed
        )
        seconds = statistics.median(r["seconds"] for _, r in killed)
        print(
            f"By the tests of the file: {near}. Median: {seconds:.0f} s, "
            f"sum: {sum(r['seconds'] for _, r in known)} s."
        )


if __name__ == "__main__":
    main()
