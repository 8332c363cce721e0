"""Tests of scripts/export_stablehlo.py and scripts/run_stablehlo.py.

A module is run here by TensorFlow's own operation for StableHLO: JAX is none of the
packages of the tests.
"""

import importlib.util
import os
import re
import subprocess
import sys
import tempfile

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from tests import testing_utils

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

from _benchmark import candidates  # noqa: E402
from _benchmark import stablehlo  # noqa: E402

_SHAPE = (6, 3, 5, 4)
# The float weights beside gamma and beta, in the layer's order.
_AVERAGES = {
    "keras_bn": ["moving_mean", "moving_variance"],
    "tfbn_bn": ["moving_mean", "moving_variance"],
    "keras_renorm": [
        "moving_mean",
        "moving_variance",
        "moving_stddev",
        "renorm_mean",
        "renorm_stddev",
    ],
    "tfbn_renorm": ["moving_mean", "moving_variance", "moving_stddev"],
}
# After them come those that are no floats.
_INTEGERS = {"tfbn_renorm": ["step"]}
_TOLERANCE = {"float32": 1e-5, "bfloat16": 2.0**-7}


@pytest.mark.long
class ExportTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ("keras_renorm", "float32"),
        ("tfbn_bn", "bfloat16"),
        ("tfbn_renorm", "float32"),
    )
    def test_module_computes_the_formula(self, name, dtype):
        text, inputs, outputs = self._export(name, dtype, check=True)
        x, dy, gamma, beta, *state = inputs
        names = [*_AVERAGES[name], *_INTEGERS.get(name, ())]
        averages = dict(zip(names, state, strict=True))
        expected = _expected(name, x, dy, gamma, beta, averages)
        names = ["y", "dx", "dgamma", "dbeta", *_AVERAGES[name]]
        ran = _run_module(text, inputs, outputs, dtype)
        for key, stored, again in zip(names, outputs, ran, strict=True):
            self.assertEqual(stored.dtype, np.float32)
            if key in expected:
                error = testing_utils.relative_error(stored, expected[key])
                self.assertLess(error, _TOLERANCE[dtype], key)
            self.assertAllClose(again, stored, 1e-6, 1e-6, msg=key)

    @parameterized.parameters("keras_bn", "tfbn_renorm")
    def test_signature_and_recipes(self, name):
        text, inputs, outputs = self._export(name, "float16", check=False)
        data, channels = "6x3x5x4xf16", "4xf32"
        weights = [channels] * (2 + len(_AVERAGES[name]))
        arguments, results = _signature(text)
        integers = ["i32"] * len(_INTEGERS.get(name, ()))
        self.assertEqual(arguments, [data, data, *weights, *integers])
        self.assertEqual(results, [data, data, *weights])
        self.assertEqual(
            [str(recipe) for recipe in inputs[:2]],
            ["normal:7:6,3,5,4:float16", "normal:8:6,3,5,4:float16"],
        )
        shapes = [(4,)] * len(weights) + [()] * len(integers)
        self.assertEqual([w.shape for w in inputs[2:]], shapes)
        self.assertEmpty(outputs)
        self.assertNotIn("loc", text)
        self.assertNotIn(os.sep + "site-packages", text)

    def test_a_recipe_is_drawn_as_documented(self):
        expected = np.random.default_rng(7).standard_normal((2, 3), dtype="float32")
        self.assertAllEqual(stablehlo.draw("normal:7:2,3:float32"), expected)
        half = stablehlo.draw("normal:7:2,3:bfloat16")
        self.assertEqual(half.dtype, tf.bfloat16)
        self.assertAllEqual(half, tf.cast(expected, tf.bfloat16))

    def _export(self, name, dtype, *, check):
        """The module's text, its inputs and its outputs."""
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        paths = stablehlo.export(folder, name, _SHAPE, dtype, seed=7, check=check)
        expected = [f"{name}_6x3x5x4_{dtype}{end}" for end in (".stablehlo", ".npz")]
        self.assertEqual([os.path.relpath(path, folder) for path in paths], expected)
        self.assertCountEqual(os.listdir(folder), expected)
        with open(paths[0], encoding="utf-8") as file:
            text = file.read()
        with np.load(paths[1]) as data:
            inputs = _numbered(data, "in")
            outputs = _numbered(data, "out")
        if check:
            inputs = [_value(array) for array in inputs]
        return text, inputs, outputs


class ScriptTest(tf.test.TestCase):
    def test_writes_every_case_and_prints_its_path(self):
        folder = os.path.join(self.get_temp_dir(), "new", "folder")
        status, out, err = testing_utils.run_script(
            os.path.join(_SCRIPTS, "export_stablehlo.py"),
            f"--out_dir={folder}",
            "--layers=tfbn_renorm",
            "--dtypes=float32",
            "--shapes=9x2",
            "--check_shape=4x3",
        )
        self.assertEqual((status, err), (0, ""))
        stems = ["tfbn_renorm_4x3_float32", "tfbn_renorm_9x2_float32"]
        paths = [os.path.join(folder, f"{stem}.stablehlo") for stem in stems]
        self.assertEqual(out.splitlines(), paths)
        for stem, stored in zip(stems, (True, False), strict=True):
            with np.load(os.path.join(folder, f"{stem}.npz")) as data:
                self.assertEqual("out000" in data, stored)

    def test_runner_says_what_is_missing(self):
        done = _run("run_stablehlo.py", "no.stablehlo")
        self.assertEqual(done.returncode, 2)
        self.assertEndsWith(done.stderr, "there is no file no.stablehlo\n")
        if importlib.util.find_spec("jax") is None:
            folder = self.get_temp_dir()
            path = os.path.join(folder, "a.stablehlo")
            for name in ("a.stablehlo", "a.npz"):
                with open(os.path.join(folder, name), "wb"):
                    pass
            done = _run("run_stablehlo.py", path)
            self.assertEqual(done.returncode, 2)
            self.assertIn("run_stablehlo.py: error: JAX is missing", done.stderr)
            self.assertNotIn("Traceback", done.stderr)


def _expected(name, x, dy, gamma, beta, averages):
    """The results that the papers give, by name."""
    x, dy = (testing_utils.channels_last(a) for a in (x, dy))
    batch = testing_utils.Renorm(x, candidates.EPSILON, gamma, beta)
    momentum = 0.99
    expected = {}
    if name.endswith("renorm"):
        prefix = "renorm" if "renorm_mean" in averages else "moving"
        mean, stddev = (averages[f"{prefix}_{part}"] for part in ("mean", "stddev"))
        batch.correct(mean, stddev, candidates.RMAX, candidates.DMAX)
        new = momentum * averages["moving_stddev"] + (1 - momentum) * batch.sigma
        expected["moving_stddev"] = new
    else:
        old = averages["moving_variance"]
        expected["moving_variance"] = momentum * old + (1 - momentum) * batch.variance
    old = averages["moving_mean"]
    expected["moving_mean"] = momentum * old + (1 - momentum) * batch.mean
    dx, dgamma, dbeta = batch.gradients(dy)
    expected["y"] = testing_utils.like(batch.output, _SHAPE)
    expected["dx"] = testing_utils.like(dx, _SHAPE)
    return {**expected, "dgamma": dgamma, "dbeta": dbeta}


def _run_module(text, inputs, outputs, dtype):
    """What the module computes: XLA reads its text again."""

    @tf.function(jit_compile=True)
    def run(*args):
        return gen_xla_ops.xla_call_module(
            args=args,
            version=9,
            module=text,
            Sout=[output.shape for output in outputs],
            Tout=[dtype, dtype] + [tf.float32] * (len(outputs) - 2),
            dim_args_spec=[],
            platforms=["CPU"],
        )

    x, dy, *weights = inputs
    results = run(tf.cast(x, dtype), tf.cast(dy, dtype), *map(tf.constant, weights))
    return [tf.cast(result, tf.float32).numpy() for result in results]


def _signature(text):
    """The types of the arguments and of the results of the module's main function."""
    line = next(line for line in text.splitlines() if "@main(" in line)
    parts = line.split("->")
    return [re.findall(r"tensor<([^>]*)>", part) for part in parts]


def _numbered(data, prefix):
    names = [name for name in data if name.startswith(prefix)]
    expected = [f"{prefix}{i:03d}" for i in range(len(names))]
    return [data[name] for name in expected]


def _value(array):
    """The values of a stored array or recipe: float32, or integers."""
    values = stablehlo.draw(str(array)) if array.dtype.kind == "U" else array
    if array.dtype.kind == "i":
        return array
    return np.asarray(values).astype(np.float32)


def _run(script, *arguments):
    return subprocess.run(
        [sys.executable, os.path.join(_SCRIPTS, script), *arguments],
        capture_output=True,
        text=True,
        cwd=_ROOT,
    )


if __name__ == "__main__":
    tf.test.main()
