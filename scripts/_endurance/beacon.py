"""What a process is doing, told to the one that watches it through a small file."""

import contextlib
import mmap
import struct

# "start" is all before the first step, "steps" all that is none of the others.
PHASES = (
    "start",
    "steps",
    "measurement",
    "evaluation",
    "checkpoint",
    "model",
    "figures",
)

# Phase, steps made, first step of this process or -1, and how often it came to each.
_LAYOUT = struct.Struct(f"<3q{len(PHASES)}q")


def create(path):
    """Makes the file, for a process that starts."""
    with open(path, "wb") as file:
        file.write(_LAYOUT.pack(0, -1, -1, *[0] * len(PHASES)))


class Beacon:
    """One side of the file; what was written stays when the process is killed.

    Args:
        path: str, of a file that `create` has made.

    Attributes:
        phase: str, one of `PHASES`.
        step: int, steps made, or -1 while that is not known.
        first: int, the step that the process has gone on from, or -1.
    """

    def __init__(self, path):
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)

    @property
    def phase(self):
        return PHASES[self._values()[0]]

    @property
    def step(self):
        return self._values()[1]

    @property
    def first(self):
        return self._values()[2]

    def entries(self, phase):
        """How often the process has come to a phase."""
        return self._values()[3 + PHASES.index(phase)]

    def begin(self, step):
        """Tells the step that the process goes on from."""
        self._write(step=step, first=step)

    def advance(self, num_steps):
        """Tells of steps made."""
        self._write(step=self.step + num_steps)

    @contextlib.contextmanager
    def during(self, phase):
        """Tells of a phase, with "steps" after it."""
        self._write(phase=phase)
        yield
        self._write(phase="steps")

    def _write(self, *, phase=None, step=None, first=None):
        values = list(self._values())
        if phase is not None:
            index = PHASES.index(phase)
            values[0] = index
            values[3 + index] += 1
        values[1] = values[1] if step is None else step
        values[2] = values[2] if first is None else first
        _LAYOUT.pack_into(self._memory, 0, *values)

    def _values(self):
        return _LAYOUT.unpack_from(self._memory)
