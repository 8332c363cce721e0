"""Runs of scripts/train.py in processes of their own, ended from outside."""

import os
import signal
import subprocess
import sys
import time
from typing import NamedTuple

from _endurance import beacon as beacon_lib

_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")
_SECONDS_BETWEEN_LOOKS = 0.0005
_SECONDS_AT_MOST = 1800.0


class Aim(NamedTuple):
    """A moment of a process at which it gets a signal.

    Attributes:
        signal: `signal.Signals`.
        phase: str, one of `beacon.PHASES`.
        entry: int > 0, which one of the process's times in that phase.
        delay: float, seconds after the beginning of the phase.
    """

    signal: signal.Signals
    phase: str
    entry: int
    delay: float


class Process:
    """One process of a run, from its start to its end.

    Args:
        flags: list of str, of scripts/train.py.
        path: str, where it writes: the beacon at `path`, what it prints at PATH.out and
            PATH.err.
    """

    def __init__(self, flags, path):
        beacon_lib.create(path)
        self._path = path
        self._begin = time.monotonic()
        self.beacon = beacon_lib.Beacon(path)
        with open(f"{path}.out", "wb") as out, open(f"{path}.err", "wb") as err:
            self._process = subprocess.Popen(
                [sys.executable, _CHILD, path, *flags], stdout=out, stderr=err
            )

    def wait(self):
        """Waits for its end; returns the status, -N after signal N."""
        return self._process.wait(_SECONDS_AT_MOST)

    def hit(self, aim):
        """Sends the signal of an aim, unless the process ends before.

        Returns:
            The phase and the step in which the process was then, or None where it had
            ended before; the step is -1 where it knew none yet.
        """
        if not self._reaches(aim.phase, aim.entry):
            return None
        time.sleep(aim.delay)
        if self._process.poll() is not None:
            return None
        # What SIGKILL leaves is read after it; what another signal finds, before.
        found = self.beacon.phase, self.beacon.step
        self._process.send_signal(aim.signal)
        if aim.signal == signal.SIGKILL:
            self.wait()
            found = self.beacon.phase, self.beacon.step
        return found

    def durations(self):
        """Waits for the end; how long it was in each phase, each time.

        Returns:
            A dict from phase to a list of seconds.
        """
        seconds = {phase: [] for phase in beacon_lib.PHASES}
        begin, now_in = self._begin, self._where()
        while self._process.poll() is None:
            where = self._where()
            if where != now_in:
                now = time.monotonic()
                seconds[now_in[0]].append(now - begin)
                begin, now_in = now, where
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        seconds[now_in[0]].append(time.monotonic() - begin)
        return seconds

    def printed(self, stream="out"):
        """What it has printed, "out" or "err", as text."""
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
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return True
