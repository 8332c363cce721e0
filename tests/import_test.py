"""Tests of what `import tfbn` gives, and of what it refuses."""

import os
import subprocess
import sys

import keras
import tensorflow as tf

import tfbn
from tests import testing_utils  # noqa: F401  (before TensorFlow starts)


class ImportTest(tf.test.TestCase):
    def test_everything_in_all_is_there(self):
        for name in tfbn.__all__:
            self.assertTrue(hasattr(tfbn, name), name)

    def test_every_layer_is_at_top_level(self):
        for name in tfbn.layers.__all__:
            self.assertIs(getattr(tfbn, name), getattr(tfbn.layers, name))
            self.assertIn(name, tfbn.__all__)

    def test_version_is_a_version(self):
        self.assertRegex(tfbn.__version__, r"^\d+\.\d+\.\d+")

    def test_layers_are_registered_under_the_package_name(self):
        for name in tfbn.layers.__all__:
            layer = getattr(tfbn.layers, name)
            self.assertEqual(
                keras.saving.get_registered_name(layer),
                f"tfbn>{name}",
            )

    def test_a_layer_takes_little_time_and_needs_neither_plots_nor_data_sets(self):
        result = _python(_LAYER_WITHOUT_THEM)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertLess(float(result.stdout), 0.2)  # more than import keras

    def test_unknown_attribute(self):
        with self.assertRaisesRegex(AttributeError, "tfbn.* no attribute 'layer'"):
            tfbn.layer  # noqa: B018

    def test_another_backend_is_refused_in_one_sentence(self):
        result = _python(_IMPORT_ON_ANOTHER_BACKEND)
        self.assertEqual(result.returncode, 1)
        last = result.stderr.strip().splitlines()[-1]
        self.assertRegex(last, "ImportError: .*TensorFlow backend.*backend='jax'")
        self.assertIn("KERAS_BACKEND=tensorflow", last)


def _python(code):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


# Importing a module whose entry is None raises an ImportError.
_LAYER_WITHOUT_THEM = """
import sys, time
sys.modules |= dict.fromkeys(["matplotlib", "tensorflow_datasets"])
import keras
begin = time.process_time()  # other processes may take the time
import tfbn
print(time.process_time() - begin)
tfbn.BatchNorm().build((None, 3))
later = {"callbacks", "data", "diagnostics", "experiment", "training"}
assert not {f"tfbn.{name}" for name in later} & sys.modules.keys(), sys.modules.keys()
for name in later:
    getattr(tfbn, name)
"""

# With a stand-in for Keras: the other backends need packages that may be missing.
_IMPORT_ON_ANOTHER_BACKEND = """
import sys, types
keras = types.ModuleType("keras")
keras.backend = types.SimpleNamespace(backend=lambda: "jax")
sys.modules["keras"] = keras
import tfbn
"""


if __name__ == "__main__":
    tf.test.main()
