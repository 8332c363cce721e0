"""Tests of scripts/compare.py: its references, its page, its peers; never its times."""

import io
import json
import os
import re
import shlex
import stat
import sys
import tempfile
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

from _compare import answers  # noqa: E402
from _compare import diagnostic_titles  # noqa: E402
from _compare import features  # noqa: E402
from _compare import findings  # noqa: E402
from _compare import formulas  # noqa: E402
from _compare import hessians  # noqa: E402
from _compare import layers  # noqa: E402
from _compare import page  # noqa: E402
from _compare import peers  # noqa: E402
from _compare import probing  # noqa: E402
from _compare import serving  # noqa: E402

_COMPARE = os.path.join(_SCRIPTS, "compare.py")
_JSON = os.path.join(_ROOT, "docs", "comparison.json")
_RENORMS = ("tf_renorm", "torchrl_renorm", "sbx_renorm")


def _case(**more):
    rng = np.random.default_rng(3)
    return {
        "x": rng.normal(2.0, 1.5, size=(7, 2, 3)),
        "upstream": rng.normal(1.0, 1.0, size=(7, 2, 3)),
        "epsilon": 1e-3,
        "moving_mean": 1.75,
        "moving_stddev": 2.0,
        "rmax": 10.0,
        "dmax": 10.0,
        **more,
    }


class FormulasTest(tf.test.TestCase, parameterized.TestCase):
    def test_batch_norm_of_two_samples(self):
        """x = c -+ a: mean c, variance a^2."""
        case = _case(x=np.array([[3.0], [7.0]]), upstream=np.array([[1.0], [1.0]]))
        output, gradient = formulas.batch_norm(case)
        unit = 2.0 / np.sqrt(4.0 + 1e-3)
        self.assertAllClose(output, [[-unit], [unit]], 1e-14)
        self.assertAllClose(gradient, [[0.0], [0.0]], atol=1e-14)

    @parameterized.parameters(*_RENORMS)
    def test_within_the_bounds_renorm_is_inference(self, name):
        case = _case(epsilon=0.0)
        output, gradient = getattr(formulas, name)(case)
        self.assertAllClose(output, (case["x"] - 1.75) / 2.0, 1e-12)
        # The mean of the batch and its scale still take their part of the gradient.
        self.assertAllClose(gradient.mean((0, 1)), np.zeros(3), atol=1e-12)

    def test_sigma(self):
        case = _case(epsilon=9.0)
        expected = (case["x"] - 1.75) / 3.0  # the floor: sqrt(epsilon)
        self.assertAllClose(formulas.tf_renorm(case)[0], expected, 1e-12)
        expected = (case["x"] - 1.75) / np.sqrt(4.0 + 9.0)
        self.assertAllClose(formulas.torchrl_renorm(case)[0], expected, 1e-12)

    @parameterized.parameters(
        *(
            (name, mean, stddev)
            for name in _RENORMS
            for mean in (9, -9)
            for stddev in (1, 3)
        )
    )
    def test_at_the_bounds(self, name, moving_mean, moving_stddev):
        """r and d are constants there, so the gradient is that of differences."""
        case = _case(
            moving_mean=moving_mean,
            moving_stddev=moving_stddev,
            rmax=1.0625,
            dmax=0.5,
            epsilon=0.25,
        )
        formula = getattr(formulas, name)
        output, gradient = formula(case)
        x, step = case["x"], 1e-5
        var = x.var((0, 1))
        r = 1.0625 if moving_stddev == 1 else 1.0 / 1.0625
        d = -np.sign(moving_mean) * 0.5
        if name == "sbx_renorm":
            expected = (x - x.mean((0, 1))) * r + d * np.sqrt(var)
            expected /= np.sqrt(var + 0.25 * r**2)
        else:
            expected = (x - x.mean((0, 1))) / np.sqrt(var + 0.25) * r + d
        self.assertAllClose(output, expected, 1e-12)
        for index in ((0, 0, 0), (3, 1, 2)):
            moved = np.zeros_like(x)
            moved[index] = step
            above, below = (
                np.sum(formula({**case, "x": x + sign * moved})[0] * case["upstream"])
                for sign in (1, -1)
            )
            self.assertAllClose((above - below) / (2 * step), gradient[index], 1e-7)


class LayersTest(tf.test.TestCase):
    def test_candidates_have_formulas(self):
        for kind in layers.KINDS.values():
            libraries = {name.partition(":")[0] for name in kind.candidates}
            self.assertEqual(libraries, set(kind.formulas))
            self.assertIn(layers.BASE, kind.candidates)

    def test_without_peers_their_rows_are_left_out(self):
        libraries = {n.partition(":")[0] for n in layers.present("renorm", {})}
        self.assertEqual(libraries, {"tfbn", "keras", "tf_keras"})
        with_jax = set(layers.present("renorm", {"jax": None}))
        self.assertEqual(with_jax - set(layers.present("renorm", {})), {"sbx:jit"})

    def test_rows(self):
        small = {
            kind: about._replace(
                shape=shape,
                repeats=1,
                candidates=("tfbn:function", "keras:eager", "tf_keras:function"),
            )
            for (kind, about), shape in zip(
                layers.KINDS.items(), ((4, 3, 3, 4), (16, 8)), strict=True
            )
        }
        self.enter_context(mock.patch.object(layers, "KINDS", small))
        rows = layers.errors({}, progress=lambda text: None)
        self.assertLen(rows, 5 * 3)
        for row in rows:
            if row["offset"] == 0.0 or row["candidate"] == layers.BASE:
                self.assertBetween(row["output"], 1e-9, 1e-5, row)
                self.assertBetween(row["gradient"], 1e-9, 1e-5, row)
        rows = layers.times({}, rounds=2, progress=lambda text: None)
        self.assertLen(rows, 2 * 3)
        for row in rows:
            self.assertGreater(row["ms"], 0.0)
            if row["candidate"] == layers.BASE:
                self.assertEqual(row["ratio"]["median"], 1.0)
        json.dumps(rows, allow_nan=False)


class ProbingTest(tf.test.TestCase):
    def test_answers(self):
        def broken():
            raise TypeError("no such thing:\nand more")

        found = probing.answers(
            {
                "given": probing.partly("half", "read"),
                "probed": lambda: probing.check(True, "seen"),
                "broken": broken,
            }
        )
        self.assertEqual(
            found,
            {
                "given": {"answer": "partly", "how": "read", "note": "half"},
                "probed": {"answer": "yes", "how": "probe", "note": "seen"},
                "broken": probing.no("TypeError: no such thing"),
            },
        )

    def test_absent(self):
        def layer(x, sync_group=None):
            return x, sync_group

        answer = probing.absent(layer, "mask")
        self.assertEqual((answer["answer"], answer["how"]), ("no", "signature"))
        self.assertIn("takes no mask", answer["note"])
        with self.assertRaisesRegex(LookupError, "sync"):
            probing.absent(layer, "mask", "sync")
        with self.assertRaisesRegex(LookupError, "dumps"):
            probing.absent(json, "dumps")

    def test_error_of_second_derivatives(self):
        """Of sum(x^3): the Hessian is 6 x, on the diagonal."""
        x = probing.data((5,))
        error = probing.second_derivative_error(
            lambda x, v: 6.0 * x * v, lambda x: 3.0 * x**2, x
        )
        self.assertLess(error, 1e-4)
        error = probing.second_derivative_error(
            lambda x, v: 6.1 * x * v, lambda x: 3.0 * x**2, x
        )
        self.assertAllClose(error, 0.1 / 6.0, rtol=0.01)

    def test_normalized(self):
        x = np.array([[1.0, 4.0], [3.0, 4.0]])
        expected = [[-1.0 / np.sqrt(1.25), 0.0], [1.0 / np.sqrt(1.25), 0.0]]
        self.assertAllClose(probing.normalized(x, 0.25), expected)


class HessiansTest(tf.test.TestCase):
    def test_rows(self):
        exact = {"top_eigenvalue": 2.0, "trace": -4.0}
        turns = {
            "tfbn_top": lambda seed: {"seconds": 2.0, "value": 2.0 + 0.5 * seed},
            "cockpit_top": lambda seed: {"seconds": 0.5, "value": 1.9},
        }
        seconds, values = hessians._taken_turns(turns, rounds=3)
        self.assertEqual(
            values, {"tfbn_top": [2.0, 2.5, 3.0], "cockpit_top": [1.9] * 3}
        )
        row = hessians._row("tfbn_top", {"tfbn_top": 2e3}, seconds, values, exact)
        self.assertEqual((row["value"], row["largest_error"]), (2.5, 0.5))
        medians = {"cockpit_top": 5e2}
        row = hessians._row("cockpit_top", medians, seconds, values, exact)
        self.assertEqual(row["ratio"], {"median": 0.25, "quartiles": [0.25, 0.25]})
        self.assertAllClose(row["largest_error"], 0.05)

    def test_network(self):
        """tanh between the layers, and none after the last."""
        arrays = hessians.network()
        expected = arrays["x"].astype("float64")
        for i in range(3):
            expected = expected @ arrays[f"kernel{i}"] + arrays[f"bias{i}"]
            expected = np.tanh(expected) if i < 2 else expected
        outputs = hessians.model_of(arrays)(arrays["x"])
        self.assertAllClose(outputs, expected, 1e-5, 1e-5)

    def test_nothing_without_pytorch(self):
        found = hessians.measure({}, rounds=1, progress=lambda text: None)
        self.assertEqual(found, {})


class PageTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(_JSON, encoding="utf-8") as file:
            cls.results = json.load(file)

    def test_page_is_what_the_results_give(self):
        with open(os.path.join(_ROOT, "docs", "comparison.md"), encoding="utf-8") as f:
            self.assertEqual(f.read(), page.render(self.results))

    def test_readme_has_the_core(self):
        with open(os.path.join(_ROOT, "README.md"), encoding="utf-8") as file:
            readme = file.read()
        self.assertIn(page.core.table_of(self.results["sections"]), readme)

    def test_all_was_measured(self):
        sections = self.results["sections"]
        self.assertCountEqual(sections, page.SECTIONS)
        self.assertCountEqual(sections["findings"], findings.FINDINGS)
        for kind, about in layers.KINDS.items():
            found = [r["candidate"] for r in sections["times"] if r["kind"] == kind]
            self.assertCountEqual(found, about.candidates)
        for titles, found in (
            (probing.TITLES, sections["features"]),
            (diagnostic_titles.TITLES, sections["diagnostics"]),
        ):
            self.assertCountEqual(found["tfbn"], titles)
            for cells in found.values():
                self.assertContainsSubset(cells, titles)
                for cell in cells.values():
                    self.assertIn(cell["answer"], ("yes", "partly", "no"))
                    self.assertIn(cell["how"], ("probe", "signature", "read"))

    def test_what_tfbn_alone_has_and_what_it_lacks(self):
        yes, no, partly = probing.yes(), probing.no(), probing.partly("in part")
        titles = {"a": "first", "b": "second", "c": "third", "d": "fourth"}
        found = {
            "tfbn": {"a": yes, "b": no, "c": partly, "d": yes},
            "keras": {"a": partly, "b": yes, "c": yes, "d": yes},
            "torch": {"a": no, "b": no},
        }
        text = answers.section("## Title", titles, list(found), found)
        self.assertIn("| first  | yes    | partly | no    |", text)
        self.assertIn("| third  | partly | yes    | –     |", text)
        self.assertIn("Only tfbn has: first.", text)
        self.assertIn("tfbn lacks, or has in part: second; third.", text)
        self.assertIn("- Keras, first: in part.", text)
        self.assertNotIn("second:", text)

    def test_core_has_the_fastest_run_of_each_library(self):
        def time(name, least_ratio):
            return {"kind": "bn", "candidate": name, "least_ratio": least_ratio}

        def error(name, offset, output, gradient):
            errors = {"output": output, "gradient": gradient, "offset": offset}
            return {"kind": "bn", "candidate": name, "at_bounds": False, **errors}

        sections = {
            "times": [
                time("tfbn:function", 1.0),
                time("keras:jit", 2.5),
                time("keras:eager", 4.0),
            ],
            "errors": [
                error("tfbn:function", 1e4, 1e-7, 2e-7),
                error("keras:jit", 0.0, 1e-6, 1e-6),
                error("keras:jit", 1e4, 0.25, None),
                error("keras:eager", 1e4, 0.5, 0.5),
            ],
        }
        rows = page.core.table_of(sections).splitlines()[2:]
        cells = [[cell.strip() for cell in row.split("|")[1:4]] for row in rows]
        self.assertEqual(
            cells,
            [
                ["tfbn", "1.00 (tf.function)", "1e-07, 2e-07"],
                ["Keras", "2.50 (jit)", "2e-01, NaN"],
            ],
        )


class AnswersTest(tf.test.TestCase):
    @pytest.mark.long
    def test_those_of_tfbn_are_what_its_probes_say(self):
        with open(_JSON, encoding="utf-8") as file:
            sections = json.load(file)["sections"]
        for name, ask in (
            ("features", features.measure),
            ("diagnostics", features.diagnostics),
        ):
            found = ask({}, progress=lambda text: None)["tfbn"]
            self.assertEqual(
                {key: cell["answer"] for key, cell in found.items()},
                {key: cell["answer"] for key, cell in sections[name]["tfbn"].items()},
            )


class PeersTest(tf.test.TestCase):
    def _interpreter(self, program):
        """An executable that runs a program, whatever it is asked to run."""
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        path, code = os.path.join(folder, "python"), os.path.join(folder, "code.py")
        with open(code, "w", encoding="utf-8") as file:
            file.write(f"import sys\nsys.path.insert(0, {_SCRIPTS!r})\n{program}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\nexec {shlex.join([sys.executable, code])}\n")
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def test_answers_and_errors(self):
        program = (
            "from _compare import serving\n"
            "def divide(a, b):\n"
            "    print('not an answer')\n"
            "    return a / b\n"
            "serving.serve({'versions': lambda: {'x': '1'}, 'divide': divide})\n"
        )
        with peers.Peer("x_python", self._interpreter(program), "x_worker") as peer:
            self.assertEqual(peer.versions, {"x": "1"})
            self.assertEqual(peer.ask("divide", a=3.0, b=2.0), 1.5)
            with self.assertRaisesRegex(RuntimeError, "^ZeroDivisionError: .*by zero$"):
                peer.ask("divide", a=3.0, b=0.0)
            self.assertEqual(peer.ask("divide", a=1.0, b=2.0), 0.5)

    def test_interpreter_without_the_packages(self):
        path = self._interpreter("import a_package_that_is_not_there")
        with self.assertRaisesRegex(
            ValueError,
            rf"--x_python must .*: {re.escape(path)} \(ModuleNotFoundError: No module",
        ):
            peers.Peer("x_python", path, "x_worker")

    def test_wrong_path_is_one_line(self):
        status, out, err = testing_utils.run_script(
            _COMPARE, "--torch_python=/nowhere/python"
        )
        self.assertEqual((status, out), (2, ""))
        self.assertRegex(
            err,
            r"^compare.py: error: --torch_python must be a Python interpreter .*"
            r"Received: /nowhere/python \(No such file or directory\)\. .*\n$",
        )


class ServingTest(tf.test.TestCase):
    def test_calls(self):
        made, path = [], os.path.join(self.get_temp_dir(), "data.npz")
        np.savez(path, x=np.arange(3.0))

        def make(name, case):
            def call():
                made.append(name)
                return case["x"], case["x"] * case["factor"], "more"

            return call

        calls = serving.Calls(make, lambda result: result + 1.0)
        case = {"data": path, "factor": 2.0}
        calls.prepare("key", "name", case, warmups=4)
        self.assertGreaterEqual(calls.seconds("key", 3), 0.0)
        self.assertEqual(made, ["name"] * (4 + 1 + 3))
        calls.forget("key")
        out = os.path.join(self.get_temp_dir(), "out.npz")
        calls.results("name", case, out)
        with np.load(out) as found:
            self.assertAllEqual(found["output"], [1.0, 2.0, 3.0])
            self.assertAllEqual(found["gradient"], [1.0, 3.0, 5.0])

    def test_printed(self):
        with mock.patch.object(sys, "stdout", io.StringIO()) as stdout:
            self.assertEqual(serving.printed("x = 2\nprint(x + 1)"), "3\n")
        self.assertEqual(stdout.getvalue(), "")


if __name__ == "__main__":
    tf.test.main()
