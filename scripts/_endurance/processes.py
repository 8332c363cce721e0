"""Runs of scripts/train.py in separate processes, ended from outside."""

import collections
import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from _endurance import beacon as beacon_lib

_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
_POLL_SECONDS = 0.0005
_SECONDS_AT_MOST = 1800.0


class Aim(NamedTuple):
    """The moment of a process at which to send it a signal.

    Attributes:
        signal: `signal.Signals`.
        phase: str, one of `beacon.PHASES`.
        entry: int > 0, the number of the process's entry into that phase.
        delay: float, seconds after that entry.
    """

    signal: signal.Signals
    phase: str
    entry: int
    delay: float


class Process:
    """One process of a run, from its start to its end.

    Args:
        flags: list of str, flags of scripts/train.py.
        path: str, the file of the beacon; output goes to PATH.out and PATH.err.
        environment: dict of further environment variables.
    """

    def __init__(self, flags, path, environment=None):
        beacon_lib.create(path)
        self._path = path
        self._begin = time.monotonic()
        self.beacon = beacon_lib.Beacon(path)
        with open(f"{path}.out", "wb") as out, open(f"{path}.err", "wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, _CHILD, path, *flags],
                env=os.environ | (environment or {}),
                stdout=out,
                stderr=err,
            )

    def wait(self, seconds=_SECONDS_AT_MOST):
        """Waits for the end; returns the exit status, -N after signal N."""
        return self._process.wait(seconds)

    def kill(self):
        """Ends the process at once, if it has not ended yet."""
        self._process.kill()
        self.wait()

    def hit(self, aim):
        """Sends the signal of an aim, unless the process ends first.

        Returns:
            The phase and the step of the process at that time, or None if it had ended
            already; the step is -1 if it was not known yet.
        """
        if not self._reaches(aim.phase, aim.entry):
            return None
        time.sleep(aim.delay)
        if self._process.poll() is not None:
            return None
        # Read after a SIGKILL, but before any other signal, which the process handles.
        found = self.beacon.phase, self.beacon.step
        self._process.send_signal(aim.signal)
        if aim.signal == signal.SIGKILL:
            self.wait()
            found = self.beacon.phase, self.beacon.step
        return found

    def durations(self):
        """Waits for the end; returns a dict from phase to the seconds of each entry."""
        seconds = collections.defaultdict(list)
        begin, now_in = self._begin, self._where()
        while self._process.poll() is None:
            where = self._where()
            if where != now_in:
                now = time.monotonic()
                seconds[now_in[0]].append(now - begin)
                begin, now_in = now, where
            time.sleep(_POLL_SECONDS)
        seconds[now_in[0]].append(time.monotonic() - begin)
        return dict(seconds)

    def printed(self, stream="out"):
        """Returns the text printed on a stream, "out" or "err"."""
        with open(f"{self._path}.{stream}", encoding="utf-8") as file:
            return file.read()

    def _where(self):
        phase = self.beacon.phase
        return phase, self.beacon.entries(phase)

    def _reaches(self, phase, entry):
        if phase == "start":
            return True
        while self.beacon.entries(phase) < entry:
            if self._process.poll() is not None:
                return False
            time.sleep(_POLL_SECONDS)
        return True
