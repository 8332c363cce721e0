"""The processes of a place, as their parent sees them."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import _cluster
from _scaling import cells as cells_lib

_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
_LOOPBACK = "/sys/class/net/lo/statistics/tx_bytes"
_SECONDS_TO_END = 60.0


class Runner:
    """A place with all of its cells, built by one process or by several.

    Args:
        place: a `cells.Place`.
        cells: list of `cells.Cell`.

    Attributes:
        messages: a dict for each cell, of the first process; after `wait`.
    """

    def __init__(self, place, cells):
        self._indices = {cell: index for index, cell in enumerate(cells)}
        arguments = [place.kind, str(place.number), json.dumps(cells)]
        environments: list[dict] = [{}]
        if place.kind == cells_lib.PROCESSES:
            environments = _cluster.tf_configs(place.number)
        self._processes = [_Process(arguments, e) for e in environments]
        self.messages = {}

    def wait(self):
        """Waits until all cells are built."""
        counts, *_ = [process.answer() for process in self._processes]
        self.messages = dict(zip(self._indices, counts, strict=True))

    def run(self, cell, num_steps):
        """Makes steps of a cell; returns the seconds of the slowest process."""
        for process in self._processes:
            process.say(f"{self._indices[cell]} {num_steps}")
        return max(process.answer() for process in self._processes)

    def loopback_bytes(self, cell, num_steps):
        """The bytes that go through this machine's own network for each step."""
        before = _sent()
        self.run(cell, num_steps)
        return (_sent() - before) / num_steps

    def end(self):
        """Ends the processes."""
        for process in self._processes:
            process.stop()
        for process in self._processes:
            process.wait()


class _Process:
    """A process of child.py, and the lines to and from it."""

    def __init__(self, arguments, environment):
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, _CHILD, *arguments],
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._input: Any = self._process.stdin
        self._output: Any = self._process.stdout

    def say(self, line):
        print(line, file=self._input, flush=True)

    def answer(self):
        line = self._output.readline()
        if not line:
            self._errors.seek(0)
            raise RuntimeError(f"A process has ended: {self._errors.read()[-2000:]}")
        return json.loads(line)

    def stop(self):
        with contextlib.suppress(OSError):
            self._input.close()

    def wait(self):
        try:
            self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._output.close()
        self._errors.close()


def _sent():
    with open(_LOOPBACK, encoding="ascii") as file:
        return int(file.read())
