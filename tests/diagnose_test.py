"""Tests of tfbn.diagnose, and of scripts/diagnose.py run in this process."""

import contextlib
import functools
import io
import os
import shutil
import sys
import tempfile
import warnings
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from absl.testing import parameterized

import tfbn
from tests import keras_files
from tests import testing_utils
from tfbn import data
from tfbn import diagnostics
from tfbn import models
from tfbn.experiment import TrainConfig
from tfbn.experiment import build_trainer
from tfbn.experiment import builders
from tfbn.recording import records

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(_ROOT, "scripts"))

import diagnose  # noqa: E402

from tfbn.commands import cli  # noqa: E402
from tfbn.commands import flagfiles  # noqa: E402

# The same float32 numbers, by another trace or in NumPy.
RTOL = 1e-4

# Of each kind of table and figure; the others are in registry_test.
_MEASURED = ("ics", "landscape", "activations", "surface", "surface_2d")
# Cheap ones.
_LINE = ("--measure=surface", "--surface_points=3")


class FunctionTest(tf.test.TestCase):
    def test_what_is_given_goes_before_what_is_compiled(self):
        x, y = np.ones((4, 3), "float32"), np.zeros((4, 1), "float32")
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(0.5), "mse")
        options = {"landscape": {"points": 2}}
        for given, factor, rate in (
            ({}, 1.0, 0.5),
            ({"loss": lambda t, p: 3.0 * keras.ops.mean(p**2)}, 3.0, 0.5),
            ({"learning_rate": 0.25}, 1.0, 0.25),
        ):
            (record,) = tfbn.diagnose(
                model, x, y, diagnostics=["landscape"], options=options, **given
            ).records
            expected = factor * np.mean(model(x) ** 2)
            self.assertAllClose(record["loss"], expected, rtol=RTOL)
            self.assertEqual(record["learning_rate"], rate)

    def test_without_a_learning_rate_where_no_update_is_measured(self):
        x, y = np.ones((4, 3), "float32"), np.zeros((4, 1), "float32")
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        loss = keras.losses.MeanSquaredError()
        (record,) = tfbn.diagnose(
            model, x, y, loss=loss, diagnostics=["curvature"]
        ).records
        self.assertAllClose(record["eigenvalue"], 8.0, rtol=RTOL)  # 2 (|1, 1, 1|^2 + 1)
        with self.assertRaisesRegex(ValueError, "learning_rate must be given"):
            tfbn.diagnose(model, x, y, loss=loss, diagnostics=["activations"])

    def test_errors(self):
        x, y = np.ones((4, 3), "float32"), np.zeros((4, 1), "float32")
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        given = {"loss": keras.losses.MeanSquaredError(), "learning_rate": 0.1}
        folder = self.get_temp_dir()
        with records.RecordWriter(folder) as writer:
            writer.write("eval", 0, loss=1.0)
        for changed, message in (
            ({"loss": None}, "loss must be given"),
            ({"learning_rate": None}, "learning_rate must be given"),
            ({"learning_rate": 0.0}, "learning_rate=0.0"),
            ({"diagnostics": ["isc"]}, "diagnostics must .*Did you mean 'ics'"),
            ({"diagnostics": ["replication"]}, "diagnostics must be one of 'ics'"),
            ({"diagnostics": "ics"}, "a list of names.*diagnostics='ics'"),
            ({"options": {"isc": {}}}, "options must .*Did you mean 'ics'"),
            ({"step": -1}, "step=-1"),
            ({"run_dir": folder}, "must not hold records already"),
            ({"y": y[:3]}, r"same number of examples.*\(4, 3\), \(3, 1\)"),
        ):
            arguments = {"model": model, "x": x, "y": y, **given, **changed}
            with self.assertRaisesRegex(ValueError, message):
                tfbn.diagnose(**arguments)


class DiagnoseTest(tf.test.TestCase, parameterized.TestCase):
    """Runs `diagnose.main` as the shell would."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.made = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.made)
        cls.datasets = {
            "shapes": data.shapes(num_train=64, num_test=16),
            "gaussian": data.gaussian(num_examples=50),
        }
        mlp = functools.partial(models.mlp, hidden_units=(4,))
        with (
            testing_utils.graphs_as_traced(),
            cls.small_data(),
            mock.patch.object(models, "mlp", mlp),
        ):
            for norm in ("batch_norm", "none"):
                cls.config = _config(norm, run_dir=os.path.join(cls.made, norm))
                build_trainer(cls.config).train()

    @classmethod
    def small_data(cls):
        def dataset(config):
            return cls.datasets[config.dataset]

        return mock.patch.object(builders, "build_dataset", dataset)

    def setUp(self):
        super().setUp()
        self.enter_context(testing_utils.graphs_as_traced())
        keras.utils.set_random_seed(1)
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        self.enter_context(testing_utils.flags_of_its_own())
        diagnose.define()
        self.enter_context(flagsaver.flagsaver())
        self.enter_context(self.small_data())

    def run_script(self, *arguments):
        """Returns exit status, stdout and stderr."""
        out, err = io.StringIO(), io.StringIO()
        argv = ["diagnose.py", *arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with mock.patch.object(sys, "argv", argv):
                with self.assertRaises(SystemExit) as exit_:
                    cli.run(diagnose.main, prepare=flagfiles.expand_flagfiles)
        return exit_.exception.code or 0, out.getvalue(), err.getvalue()

    def run_dir(self, norm="batch_norm"):
        """A copy of a run directory."""
        path = os.path.join(self.folder, "run")
        return shutil.copytree(os.path.join(self.made, norm), path)

    def saved(self, *layers):
        """The path of a model for inputs of the shapes."""
        model = keras.Sequential(
            [keras.Input((32, 32, 3)), keras.layers.Flatten(), *layers]
        )
        path = os.path.join(self.folder, "net.keras")
        model.save(path)
        return path, model

    def batch(self, index, **options):
        """Inputs and labels of a training batch."""
        config, dataset = _config("none", **options), self.datasets["shapes"]
        places = builders.build_batches(config, dataset).indices(index)
        train = dataset.train
        return dataset.standardize(train.inputs[places]), train.targets[places]

    @pytest.mark.long
    def test_what_is_measured_of_a_run(self):
        run = self.run_dir()
        before = testing_utils.folder_contents(run)
        status, out, err = self.run_script(
            f"--model={run}",
            f"--measure={','.join(_MEASURED)}",
            "--surface_points=3",
            "--landscape_points=2",
        )
        self.assertEqual((status, err), (0, ""))
        lines, folder = out.splitlines(), os.path.join(run, "diagnosis")
        self.assertIn("after 2 steps; batch 0 of 8 examples of shapes", lines[0])
        self.assertStartsWith(lines[0], "run, ")
        self.assertEqual(lines[1], f"Results: {folder}")
        self.assertEqual({p: before.get(p) for p in before}, before)
        found = {r["kind"]: r for r in records.read_records(folder)}
        self.assertEqual(list(found), list(_MEASURED))
        self.assertEqual({r["step"] for r in found.values()}, {2})
        after = testing_utils.folder_contents(run)
        new = {path for path in after if path.startswith("diagnosis")}
        self.assertEqual({p: after[p] for p in after.keys() - new}, before)
        names = "covariate_shift landscape activation_ridges activation_moments "
        names += "activation_percentiles surface"
        figures = {f"diagnosis/{name}.png" for name in names.split()}
        self.assertEqual(new, figures | {"diagnosis", "diagnosis/records.jsonl"})
        self.assertEqual({os.path.join(run, f) for f in figures}, set(lines[-6:]))
        self._assert_recorded(found, run)
        for layer in found["ics"]["layers"]:
            cells = _cells(lines, layer["name"])
            names = ("norm", "distance", "cosine")
            self.assertEqual(cells[:3], [f"{layer[name]:.3g}" for name in names])
        for kind in (k for d in diagnostics.registry.values() for k in d.kinds):
            for heading, value in kind.totals.items():
                if kind.name in found and isinstance(value, str):
                    expected = f"{found[kind.name][value]:.3g}"
                    self.assertEqual(_cells(lines, heading), [expected])

    def _assert_recorded(self, found, run):
        """Against the plain functions, on the first batch of the run."""
        model = keras.models.load_model(os.path.join(run, "model.keras"), compile=False)
        x, y = self.batch(0)
        values = [
            found["landscape"]["loss"],
            found["surface"]["losses"][1],
            found["surface_2d"]["losses"][1][1],
        ]
        logits = model(x, training=True).numpy()
        self.assertAllClose(values, [_cross_entropy(_softmax(logits), y)] * 3)
        self.assertAllClose(found["landscape"]["step_sizes"], [0.025, 0.2])

        def loss(y_true, y_pred):
            return tf.reduce_mean(
                keras.losses.sparse_categorical_crossentropy(
                    y_true, y_pred, from_logits=True
                )
            )

        shifts = diagnostics.internal_covariate_shift(
            model, loss, x, y, learning_rate=0.05
        )
        distances = [layer["distance"] for layer in found["ics"]["layers"]]
        self.assertAllClose(distances, [s.distance for s in shifts], rtol=RTOL)
        # There is no earlier moment to drift from.
        self.assertNotIn("mean_drift", found["activations"]["layers"][0])

    def test_model_with_a_softmax(self):
        layers = [keras.layers.Dense(10), keras.layers.Activation("softmax")]
        inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(10, "softmax")])
        for ends in (layers, [keras.layers.Dense(4), inner]):
            path, model = self.saved(*ends)
            model.layers[1].kernel.assign(5.0 * model.layers[1].kernel)
            model.save(path)
            with warnings.catch_warnings():
                # Keras looks through a softmax that is taken for logits, and warns.
                warnings.simplefilter("error", UserWarning)
                status, out, err = self.run_script(
                    f"--model={path}",
                    "--dataset=shapes",
                    "--batch_size=8",
                    "--measure=landscape",
                    "--landscape_points=2",
                )
            self.assertEqual((status, err), (0, ""))
            x, y = self.batch(0)
            loss = _cross_entropy(model(x).numpy(), y)
            # The other loss would be another number.
            self.assertNotAllClose(loss, _cross_entropy(_softmax(model(x)), y), 0.1)
            self.assertEqual(_cells(out.splitlines(), "loss"), [f"{loss:.3g}"])

    def test_saved_model_and_its_options(self):
        path, model = self.saved(keras.layers.Dense(10, name="logits"))
        out_dir = os.path.join(self.folder, "new", "results")
        with open(path, "rb") as file:
            before = file.read()
        status, out, err = self.run_script(
            f"--model={path}",
            f"--out={out_dir}",
            "--dataset=shapes",
            "--batch_size=16",
            "--batch=3",
            "--seed=5",
            "--surface_radius=0.25",
            "--format=svg",
            *_LINE,
        )
        self.assertEqual((status, err), (0, ""))
        self.assertStartsWith(out, "net, 30,730 parameters; batch 3 of 16 examples of ")
        self.assertNotIn("|", out)  # there is nothing for a table
        names = ["records.jsonl", "surface.svg"]
        self.assertEqual(sorted(os.listdir(out_dir)), names)
        (record,) = records.read_records(out_dir)
        self.assertAllClose(record["radii"], [-0.25, 0.0, 0.25])
        self.assertEqual(record["step"], 0)
        x, y = self.batch(3, batch_size=16, seed=5)
        expected = _cross_entropy(_softmax(model(x).numpy()), y)
        self.assertAllClose(record["losses"][1], expected, rtol=RTOL)
        with open(path, "rb") as file:
            self.assertEqual(file.read(), before)

    def test_each_diagnosis_has_a_folder_of_its_own(self):
        run = self.run_dir()
        path = shutil.copy(os.path.join(run, "model.keras"), self.folder)
        for model, first in (
            (run, os.path.join(run, "diagnosis")),
            (path, os.path.join(self.folder, "model_diagnosis")),
        ):
            for folder in (first, f"{first}-2"):
                status, out, err = self.run_script(
                    f"--model={model}", "--dataset=shapes", "--batch_size=8", *_LINE
                )
                self.assertEqual((status, err), (0, ""))
                self.assertIn(f"Results: {folder}\n", out)
                self.assertLen(records.read_records(folder), 1)

    @parameterized.parameters("theory", "theory,surface")
    def test_theory_without_batch_normalisation_is_left_out(self, measured):
        run = self.run_dir("none")
        status, out, err = self.run_script(
            f"--model={run}", f"--measure={measured}", "--surface_points=2"
        )
        self.assertEqual((status, err), (0, ""))
        self.assertIn("theory: no layer normalises by the batch alone; left out\n", out)
        folder = os.path.join(run, "diagnosis")
        names = ["records.jsonl", "surface.png"] if "surface" in measured else []
        self.assertEqual(sorted(os.listdir(folder)), names)

    def test_values_that_are_not_finite(self):
        path, model = self.saved(keras.layers.Dense(10, name="logits"))
        model.get_layer("logits").bias.assign([np.nan] * 10)
        model.save(path)
        status, out, err = self.run_script(
            f"--model={path}",
            "--dataset=shapes",
            "--batch_size=8",
            "--measure=landscape,curvature",
            "--landscape_points=2",
        )
        self.assertEqual((status, err), (0, ""))
        for heading in ("loss", "effective beta", "largest eigenvalue of the Hessian"):
            self.assertEqual(_cells(out.splitlines(), heading), ["nan"])

    @parameterized.parameters(
        (["--model={empty}"], "which has no flags.cfg. A run writes its model at the"),
        (["--model={unfinished}"], "which has no model.keras"),
        (["--model={run}", "--batch_size=100"], "batch_size=100"),
        (["--model={run}", "--learning_rate=0"], "learning_rate=0"),
        (["--model={run}", "--dataset=gaussian"], "dataset=gaussian"),
        (["--model={run}", "--out={run}"], "must not hold records already"),
        (["--model={run}", "--out={text}/a"], "Not a directory: {text}/a"),
    )
    def test_bad_input_is_one_line(self, arguments, message):
        names = {name: os.path.join(self.folder, name) for name in ("empty", "text")}
        names["run"] = self.run_dir()
        names["unfinished"] = shutil.copytree(
            names["run"],
            os.path.join(self.folder, "unfinished"),
            ignore=shutil.ignore_patterns("model.keras"),
        )
        os.makedirs(names["empty"])
        with open(names["text"], "w", encoding="utf-8") as file:
            file.write("text")
        before = testing_utils.folder_contents(self.folder)
        self._assert_refused([a.format(**names) for a in arguments], message, names)
        self.assertEqual(testing_utils.folder_contents(self.folder), before)

    @parameterized.parameters(
        ({}, "a `Lambda` layer whose `function` is a Python lambda"),
        (keras_files.FOREIGN["class_of_a_module"], "Could not locate class 'system'"),
        ({"config": {"units": 3, "flavour": "sour"}}, "{'flavour': 'sour'}"),
        ({"config": {"units": -3}}, "Received: units=-3"),
    )
    def test_files_that_are_not_loaded_are_one_line(self, change, message):
        middle = keras.layers.Dense(4) if change else keras.layers.Lambda(lambda x: x)
        path, _ = self.saved(middle, keras.layers.Dense(10))
        keras_files.change_layer(path, middle.name, lambda layer: layer.update(change))
        with mock.patch.object(os, "system") as system:
            status, out, err = self.run_script(f"--model={path}", "--dataset=shapes")
        self.assertEqual((status, out, system.mock_calls), (2, "", []), err)
        (line,) = err.splitlines()
        self.assertIn(f"model must be a file that Keras saved. Received: {path}", line)
        self.assertIn(message, line)
        self.assertLess(len(line), len(path) + 700)
        self.assertEqual(os.listdir(self.folder), ["net.keras"])

    def test_model_for_other_data(self):
        others = {
            "shapes": keras.Sequential([keras.Input((28, 28)), keras.layers.Flatten()]),
            "gaussian": keras.Sequential([keras.Input((10,)), keras.layers.Dense(3)]),
        }
        wanted = {
            "shapes": "inputs of shape (32, 32, 3) to outputs of shape (10,), as "
            "dataset=shapes needs. Received: a model that takes inputs of shape "
            "(None, 28, 28).",
            "gaussian": "a model that returns outputs of shape (3,).",
        }
        path = os.path.join(self.folder, "other.keras")
        for dataset, model in others.items():
            model.save(path)
            arguments = [f"--model={path}", f"--dataset={dataset}", "--batch_size=8"]
            self._assert_refused(arguments, wanted[dataset], {})
        self.assertEqual(os.listdir(self.folder), ["other.keras"])

    def _assert_refused(self, arguments, message, names):
        status, out, err = self.run_script(*arguments)
        self.assertEqual((status, out), (2, ""), err)
        (line,) = err.splitlines()
        self.assertStartsWith(line, "diagnose.py: error: ")
        self.assertIn(message.format(**names), line)


def _config(norm, **options):
    defaults = {"batch_size": 8, "learning_rate": 0.05, "progress": False}
    return TrainConfig(
        model="mlp",
        dataset="shapes",
        norm=norm,
        train_steps=2,
        **defaults | options,
    )


def _cells(lines, heading):
    """Of the row of a table that begins with the heading."""
    (line,) = (line for line in lines if line.startswith(f"| {heading} "))
    return [cell.strip() for cell in line.split("|")[2:-1]]


def _softmax(logits):
    powers = np.exp(np.asarray(logits, np.float64))
    return powers / powers.sum(1, keepdims=True)


def _cross_entropy(probabilities, labels):
    rows = np.arange(len(labels))
    return -np.mean(np.log(np.asarray(probabilities, np.float64)[rows, labels]))


if __name__ == "__main__":
    tf.test.main()
