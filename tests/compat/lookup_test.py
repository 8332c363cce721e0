"""Tests of tfbn._compat.lookup."""

import os
import subprocess
import sys

import keras
import pytest
import tensorflow as tf

from tfbn._compat import lookup


class MissingNameTest(tf.test.TestCase):
    def test_error_names_what_is_gone_and_the_version(self):
        with self.assertRaisesRegex(
            ImportError, f"needs os.gone, .* TensorFlow {tf.__version__}"
        ):
            lookup.of_tensorflow("os", "gone")
        with self.assertRaisesRegex(ImportError, f"object.gone, .*{keras.__version__}"):
            lookup.of_keras(object(), "gone")

    @pytest.mark.long
    def test_import_looks_no_private_name_up(self):
        cache = "tfbn._compat.lookup.of_tensorflow.cache_info()"
        code = f"import tfbn; print({cache}.currsize)"
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(found.stdout.strip(), "0")


if __name__ == "__main__":
    tf.test.main()
