"""Tests that the imports of tfbn go down its floors, which tfbn/floors.bzl lists."""

import ast
import pathlib
import re

import tensorflow as tf

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT / "tfbn"


class ArchitectureTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        text = (_PACKAGE / "floors.bzl").read_text(encoding="utf-8")
        self.floors = ast.literal_eval(re.search(r"FLOORS = (.*)", text, re.S)[1])
        self.imports = {path: _imported(path) for path in _PACKAGE.rglob("*.py")}

    def test_a_module_imports_from_floors_below_its_own(self):
        level = {name: i for i, floor in enumerate(self.floors) for name in floor}
        self.assertLen(level, sum(map(len, self.floors)))
        level["__init__"] = len(self.floors)
        wrong = [
            f"{path.relative_to(_ROOT)} imports {other.relative_to(_ROOT)}"
            for path, others in self.imports.items()
            for other in others
            if _unit(path) != _unit(other) and level[_unit(path)] <= level[_unit(other)]
        ]
        self.assertEmpty(wrong)

    def test_imports_form_no_circle(self):
        waiting = {path: set(others) for path, others in self.imports.items()}
        while free := {path for path, others in waiting.items() if not others}:
            waiting = {p: o - free for p, o in waiting.items() if p not in free}
        self.assertEmpty(waiting)


def _unit(path):
    """The module or package of tfbn that a file is, or is in."""
    return path.relative_to(_PACKAGE).parts[0].removesuffix(".py")


def _imported(path):
    """The files of tfbn that a file imports, at whatever time and place."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {_file(name) for name in names if name.startswith("tfbn.")}


def _file(name):
    """The file of a module, or of what a module or package defines."""
    path = _ROOT.joinpath(*name.split("."))
    files = path.with_suffix(".py"), path / "__init__.py"
    outer = path.parent.with_suffix(".py"), path.parent / "__init__.py"
    return next(file for file in (*files, *outer) if file.exists())


if __name__ == "__main__":
    tf.test.main()
