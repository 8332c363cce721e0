"""Imports TensorFlow without its start-up messages. Scripts import this module first.

TF_CPP_MIN_LOG_LEVEL has no effect on messages that TensorFlow's libraries write before
logging is initialised (tensorflow/tensorflow#100442). They are removed from stderr here
by their text; anything else that is written during the import follows after it.

On a terminal, a line that is erased afterwards says what takes these seconds.

In a clone without `pip install -e .` only scripts/ is on the path; this module adds its
parent folder.
"""

import contextlib
import importlib.util
import os
import re
import sys
import tempfile

_MESSAGES = re.compile(
    rb"All log messages before absl::InitializeLog"
    rb"|oneDNN custom operations are on"
    rb"|Could not find cuda drivers"
    rb"|cpu_feature_guard"
    rb"|To enable the following instructions"
    rb"|failed call to cuInit"
)


@contextlib.contextmanager
def without_messages():
    """Buffers file descriptor 2, then writes it out without lines in `_MESSAGES`."""
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
                if not _MESSAGES.search(line):
                    os.write(2, line)


@contextlib.contextmanager
def saying(text, stream):
    """Shows a text on a terminal for as long as the context lasts."""
    shown = stream.isatty() and os.environ.get("TERM") != "dumb"
    if shown:
        print(text, end="", file=stream, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\r\x1b[K", end="", file=stream, flush=True)


if importlib.util.find_spec("tfbn") is None:
    sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with saying("Starting TensorFlow ...", sys.stderr), without_messages():
    import tensorflow

    tensorflow.config.list_physical_devices()  # searches for accelerators, and logs
tensorflow.get_logger().setLevel("WARNING")  # a line for each collective operation
