"""Files that released versions of tfbn wrote load and compute what they did then.

The files are in tests/fixtures/<version>/; tests/fixtures/write_fixtures.py writes them
and says what is in them. Nothing here names a version: a new folder is tested too.
"""

import json
import pathlib
import re
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import tfbn
from tests.fixtures import write_fixtures

# On other processors, kernels add in another order: some ten float32 operations in a
# layer, some hundred through the convolutions and two steps of an optimizer.
SAME = 1e-5
SAME_NETWORK = 1e-4
# A sum that is different in its last place may be rounded the other way: one unit in
# the last place of bfloat16 is 2**-8, and of float16 2**-11.
HALF = 1e-2

# Keys that layers write since the newest fixtures, by class, for versions in
# development: {"BatchNorm": {"new_argument"}}. Older versions refuse such files, so
# the changelog has to say it.
ADDED_KEYS = {}


def _order(version):
    return [int(number) for number in re.findall(r"\d+", version)]


FOLDERS = {
    path.name: path
    for path in sorted(
        (p for p in write_fixtures.FOLDER.iterdir() if p.name[0].isdigit()),
        key=lambda p: _order(p.name),
    )
}
MODELS = {
    f"{version}_{path.stem}": path
    for version, folder in FOLDERS.items()
    for path in sorted(folder.glob("*.keras"))
}
NETWORKS = ("vgg", "deep_linear", "mlp", "compiled")

# What every folder holds. Later versions add theirs.
FILES = (
    "layers.keras",
    "vgg.keras",
    "deep_linear.keras",
    "mlp.keras",
    "compiled.keras",
    "served.keras",
    "served.weights.h5",
)
SAVED_MODELS = ("exported", "saved_model")

# Runs where neither tfbn nor Keras can be imported; writes the outputs beside `out`.
_SERVE = """
import sys
sys.modules.update(tfbn=None, keras=None)
import numpy as np
import tensorflow as tf
out, *folders = sys.argv[1:]
outputs = {}
for folder in folders:
    inputs = np.load(folder + "/../served.npz")["inputs/input"]
    serve = tf.saved_model.load(folder).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    (outputs[folder],) = serve(**{name: tf.constant(inputs)}).values()
np.savez(out, **outputs)
"""


def recorded(path):
    """The arrays beside a model's file: a dict from kind to a dict from name."""
    kinds = {}
    with np.load(path.with_suffix(".npz")) as arrays:
        for key, value in arrays.items():
            kind, _, name = key.partition("/")
            kinds.setdefault(kind, {})[name] = value
    return kinds


def inputs_of(record):
    """What the model takes: a dict, or one array."""
    inputs = record["inputs"]
    return inputs["input"] if list(inputs) == ["input"] else inputs


class FixturesTest(tf.test.TestCase, parameterized.TestCase):
    def assert_recorded(self, actual, expected, tolerance, half=()):
        """All arrays of one dict, relative to the largest element of each.

        `half` are the names of those that were computed in half precision.
        """
        self.assertNotEmpty(expected)
        for name, value in expected.items():
            self.assertEqual(actual[name].dtype, value.dtype, name)
            bound = HALF if name in half else tolerance
            scale = max(1.0, np.max(np.abs(value)))
            self.assertAllClose(
                actual[name], value, rtol=0.0, atol=bound * scale, msg=name
            )

    def skip_layers_of_a_newer_keras(self, path):
        """Keras's own layers load in later versions of Keras, not in earlier ones."""
        with zipfile.ZipFile(path) as file:
            version = json.loads(file.read("metadata.json"))["keras_version"]
        if _order(version) > _order(keras.__version__):
            self.skipTest(f"written with Keras {version}")

    @parameterized.named_parameters(*MODELS.items())
    def test_model(self, path):
        if path.stem in NETWORKS:
            self.skip_layers_of_a_newer_keras(path)
        model, record = keras.models.load_model(path), recorded(path)
        inputs = inputs_of(record)
        tolerance = SAME_NETWORK if path.stem in NETWORKS else SAME
        half = {i.name for i in model.layers if i.compute_dtype.endswith("float16")}
        outputs = write_fixtures.named(model(inputs))
        self.assert_recorded(outputs, record["outputs"], tolerance, half)
        self.assertEqual(set(outputs), set(record["outputs"]))
        if model.compiled:
            loss = write_fixtures.fit(model, inputs, record["labels"][""])
            self.assertAllClose(loss, record["loss"][""], rtol=tolerance)
            fitted = write_fixtures.state(model.variables + model.optimizer.variables)
            self.assert_recorded(fitted, record["fitted"], tolerance)
        else:
            outputs = write_fixtures.named(model(inputs, training=True))
            self.assert_recorded(outputs, record["training"], tolerance, half)
            after = write_fixtures.state(model.weights)
            self.assert_recorded(after, record["after"], tolerance)
            self.assertEqual(set(after), set(record["after"]))

    @parameterized.named_parameters(*FOLDERS.items())
    def test_weights_file(self, folder):
        path = folder / "served.keras"
        saved, record = keras.models.load_model(path), recorded(path)
        model = keras.Model.from_config(saved.get_config())
        outputs = write_fixtures.named(model(inputs_of(record)))
        self.assertNotAllClose(outputs["output"], record["outputs"]["output"])
        model.load_weights(folder / "served.weights.h5")
        outputs = write_fixtures.named(model(inputs_of(record)))
        self.assert_recorded(outputs, record["outputs"], SAME)

    @pytest.mark.long
    def test_saved_models_without_tfbn(self):
        folders = [
            str(folder / name) for folder in FOLDERS.values() for name in SAVED_MODELS
        ]
        out = pathlib.Path(self.get_temp_dir(), "served.npz")
        subprocess.run(
            [sys.executable, "-c", _SERVE, str(out), *folders],
            check=True,
            capture_output=True,
            timeout=300,
        )
        with np.load(out) as served:
            for folder in folders:
                record = recorded(pathlib.Path(folder).with_name("served.keras"))
                outputs = {"output": served[folder]}
                self.assert_recorded(outputs, record["outputs"], SAME)


class FormatTest(tf.test.TestCase, parameterized.TestCase):
    def test_each_release_has_a_folder(self):
        """Versions in development (0.2.0.dev0, 0.2.0rc1) do not need one yet."""
        self.assertNotEmpty(FOLDERS)
        if re.fullmatch(r"[\d.]+", tfbn.__version__):
            self.assertIn(
                tfbn.__version__,
                FOLDERS,
                "Run python -m tests.fixtures.write_fixtures and commit its folder.",
            )

    @parameterized.named_parameters(*FOLDERS.items())
    def test_a_folder_is_complete(self, folder):
        for name in FILES:
            self.assertTrue((folder / name).is_file(), name)
        for name in SAVED_MODELS:
            self.assertTrue((folder / name / "saved_model.pb").is_file(), name)

    def test_configs_written_now_have_the_keys_of_the_newest_folder(self):
        """Otherwise the newest release could not read what is written now."""
        path = pathlib.Path(self.get_temp_dir(), "layers.keras")
        write_fixtures.layers().save(path)
        then, now = _keys(list(FOLDERS.values())[-1] / "layers.keras"), _keys(path)
        layers = {f"tfbn>{name}" for name in tfbn.layers.__all__}
        self.assertEqual(set(now), layers | {"tfbn>LinearRamp"})
        # What Keras itself writes is not ours to keep.
        of_keras = set(keras.layers.BatchNormalization().get_config())
        for name, keys in then.items():
            added = now[name] - keys - of_keras
            self.assertEqual(keys - now[name], set(), name)
            self.assertEqual(added, ADDED_KEYS.get(name.partition(">")[2], set()), name)

    def test_the_writer_keeps_what_is_there(self):
        if tfbn.__version__ in FOLDERS:
            with self.assertRaisesRegex(SystemExit, f"{tfbn.__version__} exists"):
                write_fixtures.main()


def _keys(path):
    """The keys of the configs in a .keras file, by the name of tfbn's classes."""
    with zipfile.ZipFile(path) as file:
        config = json.loads(file.read("config.json"))
    keys = {}
    for part in _dicts(config):
        name = part.get("registered_name") or ""
        if name.startswith("tfbn>"):
            keys.setdefault(name, set()).update(part["config"])
    return keys


def _dicts(value):
    """All dicts in a tree of dicts and lists, from the outside in."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _dicts(item)


if __name__ == "__main__":
    tf.test.main()
