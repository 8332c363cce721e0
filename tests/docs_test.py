"""Tests that the documentation runs as written: pages, docstrings, shell commands.

Pages are README.md, CONTRIBUTING.md and all of docs/, found by themselves. The Python
blocks of a page run one after the other, in one namespace and an empty folder.
"""

import contextlib
import dataclasses
import doctest
import importlib
import io
import json
import pathlib
import re
import shlex
import sys
import tempfile
from typing import NamedTuple
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import app
from absl import flags
from absl.testing import parameterized

import tfbn
from tests import testing_utils
from tfbn.commands import cli
from tfbn.reproduction import archive
from tfbn.reproduction import experiments
from tfbn.reproduction import phrases
from tfbn.reproduction import verdicts

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_SCRIPTS = _ROOT / "scripts"
sys.path.insert(0, str(_SCRIPTS))


class Block(NamedTuple):
    """A fenced block of a page."""

    language: str
    line: int  # of the page, before its first one
    text: str


def _blocks(page):
    """The fenced blocks of the text of a page."""
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        Block(match[1], page.count("\n", 0, match.start(2)), match[2])
        for match in fence.finditer(page)
    ]


def _inline(page):
    """The code in single backquotes of the text of a page."""
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)
    return [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", prose)]


def _commands(shell):
    """The commands of a shell block, as lists of words, with variables put in."""
    variables, found = {}, []
    for line in shell.replace("\\\n", " ").splitlines():
        line = re.sub(r"\$(\w+)", lambda name: variables.get(name[1], name[0]), line)
        for command in line.split(" && "):
            words = shlex.split(command, comments=True)
            if len(words) == 1 and re.match(r"\w+=", words[0]):
                name, _, value = words[0].partition("=")
                variables[name] = value
            elif words:
                found.append(words)
    return found


def _shell_commands(page):
    """The commands of a page. Blocks of no language may hold formulas."""
    return [
        words
        for block in _blocks(page)
        if block.language == "sh" or block.text.startswith("python ")
        for words in _commands(block.text)
    ]


def _script(words):
    """The place of a script or an example among words, or None."""
    folders = "scripts/", "examples/"
    return next((i for i, w in enumerate(words) if w.startswith(folders)), None)


def _text(path):
    return path.read_text(encoding="utf-8")


_PAGES = {
    str(path.relative_to(_ROOT)): _text(path)
    for path in (*sorted(_ROOT.glob("*.md")), *sorted(_ROOT.glob("docs/**/*.md")))
}
_WITH_PYTHON = [
    (name, name)
    for name, page in _PAGES.items()
    if any(block.language == "python" for block in _blocks(page))
]
_EXAMPLE = re.compile(r"^ *>>> ", re.MULTILINE)
_WITH_EXAMPLES = [
    ".".join(path.relative_to(_ROOT).with_suffix("").parts)
    for path in sorted(_ROOT.glob("tfbn/**/*.py"))
    if _EXAMPLE.search(_text(path))
]


class PythonTest(tf.test.TestCase, parameterized.TestCase):
    def test_there_are_pages(self):
        self.assertContainsSubset(["README.md", "docs/diagnostics.md"], _PAGES)
        self.assertIn(("README.md",) * 2, _WITH_PYTHON)

    def test_readme(self):
        self._assert_blocks_run("README.md")

    @parameterized.named_parameters(
        *(page for page in _WITH_PYTHON if page[0] != "README.md")
    )
    @pytest.mark.long
    def test_page(self, name):
        self._assert_blocks_run(name)

    def _assert_blocks_run(self, name):
        keras.utils.set_random_seed(0)
        namespace = {"__name__": "page"}
        folder = self.enter_context(tempfile.TemporaryDirectory())
        self.enter_context(contextlib.chdir(folder))
        self.enter_context(contextlib.redirect_stdout(io.StringIO()))
        blocks = [b for b in _blocks(_PAGES[name]) if b.language == "python"]
        self.assertNotEmpty(blocks)
        for block in blocks:
            # Errors name the line of the page.
            code = compile("\n" * block.line + block.text, _ROOT / name, "exec")
            exec(code, namespace)

    def test_examples_in_docstrings(self):
        self.assertIn("tfbn.layers.batch_norm", _WITH_EXAMPLES)
        for name in _WITH_EXAMPLES:
            names = {"tfbn": tfbn, "keras": keras, "np": np}
            results = doctest.testmod(importlib.import_module(name), extraglobs=names)
            self.assertGreater(results.attempted, 0, name)
            self.assertEqual(results.failed, 0, name)


class NotebookTest(tf.test.TestCase):
    @pytest.mark.long
    def test_it_runs(self):
        """Without Jupyter: its cells are plain Python."""
        namespace = {"__name__": "notebook"}
        self.enter_context(contextlib.chdir(self.get_temp_dir()))
        self.enter_context(contextlib.redirect_stdout(io.StringIO()))
        for number, cell in enumerate(_code_cells()):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), namespace)
        shown = namespace["Shown"](namespace["figures"]["landscape"])
        self.assertStartsWith(shown._repr_png_(), b"\x89PNG")

    def test_is_committed_without_outputs(self):
        for cell in _code_cells():
            self.assertEqual((cell["outputs"], cell["execution_count"]), ([], None))


def _code_cells():
    notebook = json.loads(_text(_ROOT / "docs" / "tour.ipynb"))
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


class ShellTest(tf.test.TestCase):
    def test_commands(self):
        page = 'flags="--a --b=1"\nrun.py $flags --c  # why\none && two \\\n  three\n'
        self.assertEqual(
            _commands(page),
            [["run.py", "--a", "--b=1", "--c"], ["one"], ["two", "three"]],
        )

    def test_scripts_take_the_flags(self):
        commands = set()
        for name, page in _PAGES.items():
            inline = [code.split() for code in _inline(page)]
            for words in _shell_commands(page) + inline:
                if (i := _script(words)) is not None and words[i].endswith(".py"):
                    commands.add((name, *words[i:]))
        self.assertNotEmpty(commands)
        for name, script, *arguments in sorted(commands):
            self.assertTrue((_ROOT / script).is_file(), f"{name}: {script}")
            # Without a value they are mentioned, as in "`scripts/benchmark.py --help`".
            if any("=" in argument for argument in arguments):
                with self.subTest(page=name, script=script, arguments=arguments):
                    _parse(_ROOT / script, arguments)

    def test_tests_and_programs_exist(self):
        for name, page in _PAGES.items():
            for program, *words in _shell_commands(page):
                paths = [w for w in words if w.startswith(("tests", "docs"))]
                if "/" in program and not program.startswith(".venv/"):
                    paths.append(program)
                for path in paths:
                    self.assertTrue((_ROOT / path).exists(), f"{name}: {path}")

    def test_flags_that_are_mentioned_exist(self):
        known = {"help", "dist"}  # the latter of pytest
        for folder in ("scripts", "examples"):
            for script in sorted(_ROOT.glob(f"{folder}/[a-z]*.py")):
                known |= _flags(script)
        for name, page in _PAGES.items():
            if name == "CHANGELOG.md":
                continue  # it has those of earlier versions too
            for code in _inline(page):
                for flag in re.findall(r"(?:^| )--(\w+)", code):
                    short = flag.removeprefix("no")
                    self.assertTrue({flag, short} & known, f"{name}: --{flag}")


class ClaimsTest(tf.test.TestCase):
    def test_readme_counts_those_of_the_reproduction(self):
        page = _PAGES["docs/reproduction/README.md"]
        told = " ".join(page.split())
        (summary,) = re.findall(r"\*\*(Of \d+ claims of the papers, .*?)\.\*\*", told)
        self.assertIn(summary, " ".join(_PAGES["README.md"].split()))
        rows = [page.count(f"| **{verdict}** ") for verdict in verdicts.VERDICTS]
        papers, others = (
            re.findall(r"\d+", summary)[:5],
            re.findall(r"\d+", summary)[5:],
        )
        self.assertEqual(sum(rows), int(papers[0]) + int(others[0]))
        counts = zip(papers[1:], others[1:], strict=True)
        self.assertEqual(rows, [int(a) + int(b) for a, b in counts])

    def test_what_suggested_the_claims_about_ranks(self):
        name = "santurkar_fig5_lp_norms"
        experiment = experiments.load()[name]
        path = _ROOT / "docs" / "reproduction" / "records" / f"{name}.jsonl.gz"
        results = archive.read(str(path), "cpu")
        chosen = [claim for claim in experiment.claims if "learn rank" in claim.text]
        self.assertLen(chosen, 4)
        told = " ".join(experiment.setting.split())
        for claim in chosen:
            sides = [
                s._replace(label=s.label.replace(" again", "")) for s in claim.sides
            ]
            first = dataclasses.replace(claim, sides=sides, seeds_from={})
            judged = verdicts.judge(first, results)
            self.assertEqual(judged.num_seeds, 10)
            for number in re.findall(r"[\d.]+", phrases.contrast(judged)):
                self.assertIn(number, told, claim.text)

    def test_readme_answers_the_reader_as_the_reproduction_does(self):
        page = _PAGES["docs/reproduction/README.md"]
        (answer,) = re.findall(r"a2, .*VGG.*: (\S+) times \((\S+) to (\S+)\);", page)
        wanted = "{} times as large with batch normalisation (95 % interval {} to {}"
        readme = " ".join(_PAGES["README.md"].split())
        self.assertIn(wanted.format(*answer), readme)


class LinksTest(tf.test.TestCase):
    def test_files_that_are_linked_exist(self):
        for name, page in _PAGES.items():
            for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page):
                path = (_ROOT / name).parent / link
                self.assertTrue(path.exists(), f"{name}: {link}")


def _flags(script):
    """The names of the flags of a script, be they absl's or argparse's."""
    text = script.read_text(encoding="utf-8")
    names = set(re.findall(r'add_argument\(\s*"--(\w+)"', text))
    _until_it_parses(script, lambda argv: names.update(flags.FLAGS))
    return names


def _parse(script, arguments):
    """Has a script parse its arguments, and do no more."""
    _until_it_parses(script, flags.FLAGS, *arguments)


def _until_it_parses(script, parse, *arguments):
    def run(main, *, prepare=lambda argv: argv):
        parse(prepare([script.name, *arguments]))
        raise SystemExit(0)

    if script.name in ("run_stablehlo.py", "run_exported.py"):
        return  # take no flags of absl
    with mock.patch.object(cli, "run", run), mock.patch.object(app, "run", run):
        testing_utils.run_script(str(script))


if __name__ == "__main__":
    tf.test.main()
