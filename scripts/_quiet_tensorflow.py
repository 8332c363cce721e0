"""Imports TensorFlow without its start-up notes. Scripts import this module first.

TF_CPP_MIN_LOG_LEVEL does not reach the notes that TensorFlow's libraries write before
their log is set up (tensorflow/tensorflow#100442). They are taken off stderr here by
name; whatever else is written there during the import comes out after it.

From a clone without `pip install -e .` only scripts/ is on the path: this module adds
the folder above it.
"""

import contextlib
import importlib.util
import os
import re
import sys
import tempfile

_NOTES = re.compile(
    rb"All log messages before absl::InitializeLog"
    rb"|oneDNN custom operations are on"
    rb"|Could not find cuda drivers"
    rb"|cpu_feature_guard"
    rb"|To enable the following instructions"
    rb"|failed call to cuInit"
)


@contextlib.contextmanager
def without_notes():
    """Holds back file descriptor 2, and lets it go without the lines of `_NOTES`."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if not _NOTES.search(line):
                    os.write(2, line)


if importlib.util.find_spec("tfbn") is None:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with without_notes():
    import tensorflow

    tensorflow.config.list_physical_devices()  # looks for accelerators
