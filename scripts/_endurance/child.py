"""Runs scripts/train.py and publishes what it is doing.

Usage: python scripts/_endurance/child.py BEACON [flags of train.py]
"""

import functools
import os
import signal
import sys

_SCRIPTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[0] = _SCRIPTS  # in place of this folder

import train  # noqa: E402
from _endurance import beacon as beacon_lib  # noqa: E402

from tfbn import plots  # noqa: E402
from tfbn.commands import cli  # noqa: E402
from tfbn.commands import flagfiles  # noqa: E402
from tfbn.experiment import rendezvous  # noqa: E402
from tfbn.experiment import strategies  # noqa: E402
from tfbn.recording import watching  # noqa: E402
from tfbn.training import evaluation  # noqa: E402
from tfbn.training import resumption  # noqa: E402
from tfbn.training import run_directory  # noqa: E402
from tfbn.training import step as step_lib  # noqa: E402

_PHASES_OF_START = (
    (rendezvous, "meet", "meeting"),
    (strategies, "_multi_worker_once", "connecting"),
)
_PHASES = (
    (watching.Watch, "measure", "measurement"),
    (evaluation.Evaluation, "__call__", "evaluation"),
    (run_directory.RunDirectory, "evaluation", "evaluation"),
    # Also where another process writes it.
    (resumption.Resumption, "save", "checkpoint"),
    (run_directory.RunDirectory, "save_model", "model"),
    (plots, "save", "figures"),
)


def main():
    """Trains."""
    # A shell without job control starts background processes with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    beacon = beacon_lib.Beacon(sys.argv[1])
    publish(beacon)
    argv = [train.__file__, *sys.argv[2:]]
    flagfiles.define()
    cli.run(train.main, argv, prepare=flagfiles.expand_flagfiles)


def publish(beacon):
    """Patches this process so that runs publish their phase on a beacon."""
    for owner, name, phase in _PHASES:
        setattr(owner, name, _in_phase(getattr(owner, name), phase, beacon))
    for owner, name, phase in _PHASES_OF_START:
        setattr(owner, name, _in_phase(getattr(owner, name), phase, beacon, "start"))
    run = _in_phase(step_lib.Steps.run, "steps", beacon)
    restore = resumption.Resumption.restore

    def counted(self, step, num_steps):
        results = run(self, step, num_steps)
        beacon.advance(num_steps)
        return results

    def told(self, results):
        values = restore(self, results)
        beacon.begin(values["step"] if values else 0)
        return values

    step_lib.Steps.run = counted
    resumption.Resumption.restore = told


def _in_phase(function, phase, beacon, after="steps"):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        with beacon.during(phase, after):
            return function(*args, **kwargs)

    return wrapped


if __name__ == "__main__":
    main()
