"""Tests of scripts/compare.py: its references, its page, its peers; never its times."""

import io
import json
import os
import stat
import sys
import tempfile
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

from _compare import formulas  # noqa: E402
from _compare import layers  # noqa: E402
from _compare import peers  # noqa: E402
from _compare import serving  # noqa: E402

_COMPARE = os.path.join(_SCRIPTS, "compare.py")
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


class PeersTest(tf.test.TestCase):
    def _interpreter(self, program):
        """An executable that runs a program, whatever it is asked to run."""
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        path, code = os.path.join(folder, "python"), os.path.join(folder, "code.py")
        with open(code, "w", encoding="utf-8") as file:
            file.write(f"import sys\nsys.path.insert(0, {_SCRIPTS!r})\n{program}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\nexec {sys.executable} {code}\n")
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
            rf"--x_python must be .* Received: {path} \(ModuleNotFoundError: No module",
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
