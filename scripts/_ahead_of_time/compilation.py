"""XLA's compilers for accelerators, in a process of their own."""

import contextlib
import json
import os
import subprocess
import tempfile

# What XLA is to compile for, and the kind of device that tfbn chooses its code for.
TARGETS = {"h100": "gpu", "v4": "tpu", "v5e": "tpu", "v6e": "tpu"}

_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compiler.py")


def versions(python):
    """The versions of JAX and of its compilers, by name.

    Raises:
        ValueError: if that Python has them not.
    """
    with _started(python, "--versions") as (process, errors):
        output, _ = process.communicate()
        if process.returncode:
            raise ValueError(
                "XLA's compilers for accelerators are missing: pip install "
                "'tfbn[aot]', or --python=PYTHON that has them. "
                f"{python} says: {_last_line(errors)}"
            )
    return json.loads(output)


def measure(python, target, paths, replicas=1):
    """Yields what `compiler.py` finds of each file, as a dict."""
    paths = list(paths)
    options = (f"--target={target}", f"--replicas={replicas}")
    while paths:
        with _started(python, *options, *paths) as (process, errors):
            for line in process.stdout:
                paths.pop(0)
                yield json.loads(line)
            status = process.wait()
            if status > 0:
                raise RuntimeError(f"Compiling for {target}: {_last_line(errors)}")
        if paths:  # A failed check of XLA ended the process.
            paths.pop(0)
            yield {"error": f"the compiler ended with signal {-status}"}


@contextlib.contextmanager
def _started(python, *arguments):
    """`(process, file of what it says on stderr)`."""
    with tempfile.TemporaryFile("w+") as errors:
        command = [python, _SCRIPT, *arguments]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process:
            try:
                yield process, errors
            finally:
                process.kill()


def _last_line(file):
    file.seek(0)
    return (file.read().strip().splitlines() or ["nothing"])[-1]
