"""The current phase of a process, published to its observer in a mapped file."""

import contextlib
import mmap
import struct

# "start" is everything before the first step, "steps" everything not listed here.
PHASES = (
    "start",
    "steps",
    "measurement",
    "evaluation",
    "checkpoint",
    "model",
    "figures",
)
# Of the start of several processes.
PHASES_OF_SEVERAL = ("meeting", "connecting")
_ALL = (*PHASES, *PHASES_OF_SEVERAL)

# Phase, steps done, step at which the process resumed or -1, entries into each phase.
_LAYOUT = struct.Struct(f"<3q{len(_ALL)}q")


def create(path):
    """Creates the file, for a process that is about to start."""
    with open(path, "wb") as file:
        file.write(_LAYOUT.pack(0, -1, -1, *[0] * len(_ALL)))


class Beacon:
    """One side of the file. Its contents survive the death of the process.

    Args:
        path: str, a file made by `create`.

    Attributes:
        phase: str, one of `PHASES` or `PHASES_OF_SEVERAL`.
        step: int, steps done, or -1 while unknown.
        first: int, the step at which the process resumed, or -1.
    """

    def __init__(self, path):
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)

    @property
    def phase(self):
        return _ALL[self._values()[0]]

    @property
    def step(self):
        return self._values()[1]

    @property
    def first(self):
        return self._values()[2]

    def entries(self, phase):
        """Returns how often the process has entered a phase."""
        return self._values()[3 + _ALL.index(phase)]

    def begin(self, step):
        """Publishes the step at which the process resumes."""
        self._write(step=step, first=step)

    def advance(self, num_steps):
        """Adds steps."""
        self._write(step=self.step + num_steps)

    @contextlib.contextmanager
    def during(self, phase, after="steps"):
        """Publishes a phase, and another one after it."""
        self._write(phase=phase)
        yield
        self._write(phase=after)

    def _write(self, *, phase=None, step=None, first=None):
        values = list(self._values())
        if phase is not None:
            index = _ALL.index(phase)
            values[0] = index
            values[3 + index] += 1
        values[1] = values[1] if step is None else step
        values[2] = values[2] if first is None else first
        _LAYOUT.pack_into(self._memory, 0, *values)

    def _values(self):
        return _LAYOUT.unpack_from(self._memory)
