"""Workers in the interpreters of other libraries."""

import contextlib
import json
import os
import subprocess
import tempfile

_SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Peer:
    """A worker process; a context that ends it.

    Args:
        flag: str, the flag that names the interpreter, for messages.
        python: str, the path of that interpreter.
        module: str, a module of this package that serves.
        path: str, a folder that the worker imports from, too.

    Raises:
        ValueError: if the interpreter does not start, or lacks what the worker imports.
    """

    def __init__(self, flag, python, module, path=""):
        self._flag, self._python = flag, python
        self._errors = tempfile.TemporaryFile()
        environment = {
            # OpenMP's threads would spin while others work: on a busy machine that
            # costs PyTorch a hundred times the time of short operations.
            "OMP_WAIT_POLICY": "PASSIVE",
            **os.environ,
            # Not that of this process, which may lead to packages of its interpreter.
            "PYTHONPATH": path,
        }
        try:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", "-m", f"_compare.{module}"],
                cwd=_SCRIPTS,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            raise self._unusable(error.strerror) from error
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            self.versions = self.ask("versions")
            stack.pop_all()

    def ask(self, what, **arguments):
        """Returns the answer to a request; a RuntimeError has what the library says."""
        with contextlib.suppress(BrokenPipeError):
            print(
                json.dumps({"do": what, **arguments}),
                file=self._process.stdin,
                flush=True,
            )
        line = self._process.stdout.readline()
        if not line:
            raise self._unusable(self._last_line())
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def close(self):
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def _last_line(self):
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it ended without a word"

    def _unusable(self, why):
        return ValueError(
            f"--{self._flag} must be a Python interpreter that has the packages to "
            f"compare. Received: {self._python} ({why}). docs/comparison.md says how "
            "to make one; without the flag its rows are left out."
        )
