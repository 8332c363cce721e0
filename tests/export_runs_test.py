"""Tests of scripts/export_runs.py, run_exported.py and import_runs.py.

Modules are run here by TensorFlow's own operation for StableHLO: JAX is none of the
packages of the tests.
"""

import contextlib
import io
import json
import os
import re
import sys
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops import gen_xla_ops

from tests import testing_utils
from tfbn.experiment import TrainConfig
from tfbn.recording import records
from tfbn.reproduction.plan import Run
from tfbn.training import run_directory

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

import run_exported  # noqa: E402
from _elsewhere import exporting  # noqa: E402
from _elsewhere import initial  # noqa: E402
from _elsewhere import modules  # noqa: E402
from _elsewhere import plans  # noqa: E402

_FLAGS = """
--dataset=shapes
--model=mlp
--norm=batch_renorm
--momentum_warmup
--batch_size=32
--learning_rate=0.05
--train_steps=6
--log_every=2
--eval_every=4
--ics_every=3
--landscape_every=4
--landscape_points=2
--activations_every=5
--eval_in_training_mode
--training_mode_batch_size=128
--recalibration_batches=3
--ics_kernels
"""


class ModulesTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.kept, self.counted = tf.Variable(3.0), tf.Variable([5, 7])
        self.data = tf.constant([1.0, 2.0])
        self.names = modules.Names([self.kept, self.counted], {"train": [self.data]})

    def test_a_module_takes_what_a_function_captures(self):
        other = tf.constant([[4.0]])

        def function(x):
            self.counted.assign_add([1, 1])
            return {"sum": x + self.kept + self.data[0], "other": other}

        spec = tf.TensorSpec([2], tf.float32)
        module = modules.lifted(function, {"x": spec}, self.names, writes=[0, 1])
        named = dict(zip(module.inputs, "abcde", strict=True))
        (constant,) = self.names.constants
        self.assertCountEqual(named, ["x", "state:0", "state:1", "train:0", constant])
        self.assertAllEqual(self.names.constants[constant], [[4.0]])
        values = {
            "x": [10.0, 20.0],
            "state:0": 6.0,
            "state:1": [1, 2],
            "train:0": [100.0, 0.0],
            constant: [[9.0]],
        }
        outputs = _run(module.text, [values[name] for name in module.inputs])
        results, written = (
            outputs[:2],
            dict(zip(module.writes, outputs[2:], strict=True)),
        )
        # In the order of the names; new values also of what keeps its value.
        self.assertAllEqual(results[0], [[9.0]])
        self.assertAllEqual(results[1], [116.0, 126.0])
        self.assertAllEqual(written[0], 6.0)
        self.assertAllEqual(written[1], [2, 3])
        # Nothing was computed here.
        self.assertAllEqual(self.counted, [5, 7])

    def test_equal_functions_give_one_module(self):
        spec = {"x": tf.TensorSpec([2], tf.float32)}
        first, second = (
            modules.lifted(lambda x: x * self.kept, spec, self.names) for _ in range(2)
        )
        self.assertEqual(first.name, second.name)
        self.assertNotIn("alias", first.text)

    def test_an_input_that_xla_needs_to_compile_is_refused(self):
        spec = {"shape": tf.TensorSpec([1], tf.int32)}
        with self.assertRaisesRegex(Exception, "compile|constant"):
            modules.lifted(tf.zeros, spec, self.names)

    def test_structures_survive_json(self):
        value = {"b": [1, (2, 3)], "a": 4}
        structure = json.loads(json.dumps(plans.structure_of(value)))
        leaves = tf.nest.flatten(value)
        self.assertEqual(plans.packed(structure, leaves), {"a": 4, "b": [1, [2, 3]]})


class InitialTest(tf.test.TestCase):
    def test_only_what_initializers_drew_is_drawn_there(self):
        keras.utils.set_random_seed(0)
        drawn, scaled = (keras.layers.Dense(3) for _ in range(2))
        model = keras.Sequential([keras.Input((3,)), drawn, scaled])
        scaled.kernel.assign(2.0 * scaled.kernel)
        module, values = initial.initial_values(model, model.variables, target="cpu")
        self.assertIsNone(module)  # small networks are sent
        self.assertAllEqual(values[0], drawn.kernel)
        with mock.patch.object(initial, "_MOST_BYTES", 0):
            module, values = initial.initial_values(
                model, model.variables, target="cpu"
            )
        self.assertEqual(values[0], 0)
        self.assertAllEqual(values[2], scaled.kernel)
        (kernel,) = _run(module.text, [])
        # Of the same distribution, Glorot's uniform one.
        self.assertEqual(kernel.shape, (3, 3))
        self.assertLessEqual(np.max(np.abs(kernel)), 1.0)
        self.assertGreater(np.std(kernel), 0.2)


class FailureTest(tf.test.TestCase):
    def test_the_other_runs_go_on(self):
        folder = mock.Mock()
        folder.plan = {"runs": [{"label": n, "seed": 0} for n in ("bad", "good")]}
        folder.path.return_value = "no such file"
        trained = []

        def train(_, run):
            if run["label"] == "bad":
                raise RuntimeError("out of memory")
            trained.append(run["label"])

        options = mock.Mock(labels="", seconds=None, jobs=1)
        with (
            mock.patch.object(run_exported, "_trained", train),
            mock.patch.object(run_exported, "_modules", lambda run: []),
            contextlib.redirect_stdout(io.StringIO()) as out,
        ):
            self.assertEqual(run_exported._train_all(folder, options), 1)
        self.assertEqual(trained, ["good"])
        self.assertIn("bad, seed 0: RuntimeError: out of memory\n", out.getvalue())
        self.assertIn("1 runs failed", out.getvalue())


class RunTest(tf.test.TestCase):
    @pytest.mark.long
    def test_records_are_those_of_a_run_here(self):
        flagfile = os.path.join(self.get_temp_dir(), "small.cfg")
        with open(flagfile, "w", encoding="utf-8") as file:
            file.write(_FLAGS)
        folder = os.path.join(self.get_temp_dir(), "export")
        out = self._script("export_runs.py", flagfile, f"--out_dir={folder}")
        self.assertIn("1 runs in", out)
        _train(folder)
        imported = os.path.join(self.get_temp_dir(), "imported")
        out = self._script("import_runs.py", folder, f"--out={imported}")
        run_dir = os.path.join(imported, "small")
        self.assertEqual(out.splitlines(), [run_dir])
        here = os.path.join(self.get_temp_dir(), "here")
        self._script("train.py", f"--flagfile={flagfile}", f"--run_dir={here}")
        self._check_records(_records(run_dir), _records(here))
        with open(os.path.join(run_dir, "origin.json"), encoding="utf-8") as file:
            self.assertEqual(json.load(file)["device"], "TensorFlow")
        with self.assertRaisesRegex(ValueError, "whose run has ended"):
            run_directory.check(run_dir, [])
        # Once is enough.
        again = self._script("import_runs.py", folder, f"--out={imported}")
        self.assertEqual(again, "")

    def test_wrong_names(self):
        folder = self.get_temp_dir()
        for script, arguments, message in (
            ("export_runs.py", [f"--out_dir={folder}"], "Name what to export"),
            ("export_runs.py", ["fig4", f"--out_dir={folder}"], "Received: 'fig4'"),
            ("import_runs.py", [f"--out={folder}"], "Name one folder, DIR"),
            ("import_runs.py", [folder, f"--out={folder}"], "must hold plan.json"),
            ("run_exported.py", [folder], "JAX is missing|must hold plan.json"),
        ):
            status, _, err = testing_utils.run_script(
                os.path.join(_SCRIPTS, script), *arguments
            )
            self.assertEqual(status, 2, script)
            self.assertRegex(err, message)
            self.assertNotIn("Traceback", err)

    def test_what_cannot_be_measured_elsewhere(self):
        for options, message in (
            ({"curvature_every": 5}, "can measure ics, .* Received: curvature"),
            (
                {"landscape_every": 5, "landscape_directions": "both"},
                "follows the gradient. Received: landscape_directions=both",
            ),
            (
                {"landscape_every": 5, "learning_rate_schedule": "cosine"},
                "constant learning rate. Received: learning_rate_schedule=cosine",
            ),
        ):
            config = TrainConfig(
                dataset="shapes", model="mlp", train_steps=6, run_dir="run", **options
            )
            with self.assertRaisesRegex(ValueError, message):
                folder = plans.Folder(self.get_temp_dir())
                exporting.export([Run("run", config)], folder)

    def _script(self, name, *arguments):
        status, out, err = testing_utils.run_script(
            os.path.join(_SCRIPTS, name), *arguments
        )
        self.assertEqual(status, 0, err)
        return out

    def _check_records(self, actual, expected):
        self.assertLen(actual, len(expected))
        # Of 2,000 test images, each counted once.
        counts = [2000 * r["accuracy"] for r in actual if r["kind"] == "eval"]
        self.assertAllClose(counts, np.round(counts), atol=1e-3)
        for one, other in zip(actual, expected, strict=True):
            self.assertEqual((one["kind"], one["step"]), (other["kind"], other["step"]))
            # Counts of values at the edge of a bin may move to the next one.
            keras.tree.assert_same_structure(one, other)
            for a, b in zip(*map(keras.tree.flatten, (one, other)), strict=True):
                if isinstance(a, float):
                    # XLA and TensorFlow's kernels round in other orders.
                    self.assertAllClose(a, b, 2e-3, 1e-4, msg=str((one["kind"], a, b)))


class _Folder(run_exported._Folder):
    """An export whose modules TensorFlow runs."""

    def put(self, value):
        return tf.constant(value)

    def _compiled(self, name):
        path = os.path.join(self._path, "modules", f"{name}.stablehlo")
        with open(path, encoding="utf-8") as file:
            text = file.read()
        return lambda inputs: _run(text, inputs)


def _train(folder):
    exported = _Folder(folder, device="TensorFlow", fast=True)
    (run,) = exported.plan["runs"]
    exported.compile(run_exported._modules(run))
    exported.write(run, run_exported._Run(exported, run).train(), 1.0)


def _run(text, inputs):
    """What a module computes: XLA reads its text again."""
    types, shapes = zip(*_results(text), strict=True)

    @tf.function(jit_compile=True)
    def run(*args):
        return gen_xla_ops.xla_call_module(
            args=args,
            version=9,
            module=text,
            Sout=list(shapes),
            Tout=list(types),
            dim_args_spec=[],
            platforms=["CPU"],
        )

    arguments = _types(text, "(", "->")
    tensors = [
        tf.cast(value, dtype)
        for value, (dtype, _) in zip(inputs, arguments, strict=True)
    ]
    return run(*tensors)


_DTYPES = {
    "f32": tf.float32,
    "f64": tf.float64,
    "i32": tf.int32,
    "i64": tf.int64,
    "ui8": tf.uint8,
}


def _types(text, begin, end):
    """The dtypes and shapes in a part of the line of the main function."""
    line = next(line for line in text.splitlines() if "@main(" in line)
    part = line[line.index(begin) :].split(end)[0]
    return [_type(found) for found in re.findall(r"tensor<([^>]*)>", part)]


def _results(text):
    return _types(text, "->", "{")


def _type(text):
    *shape, dtype = text.split("x")
    return _DTYPES[dtype], [int(size) for size in shape]


def _records(run_dir):
    return list(records.read_records(run_dir))


if __name__ == "__main__":
    tf.test.main()
