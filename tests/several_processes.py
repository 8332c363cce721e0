"""Compares runs of several processes on this machine with those of one; no test.

Usage: python tests/several_processes.py [--processes=2,4] [--kills=10] [--seed=0]
           [--slurm]

Runs of so many processes each must give the records of one, but for rounding. With
--kills, one of the processes, drawn by chance, is killed (SIGKILL) at a moment drawn by
chance, so many times: the others must end by themselves, with one line, and all are
started again. The moments lie in each phase of a run in turn. In the end the run must
be the undisturbed one of as many processes, to the bit. Prints Markdown. A run of four
processes takes about a minute on two cores, for TensorFlow starts in each of them.
"""

import argparse
import contextlib
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

_ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(_ROOT / "scripts"))

import _cluster  # noqa: E402
import _quiet_tensorflow  # noqa: E402, F401  before anything that imports TensorFlow
from _endurance import comparison  # noqa: E402
from _endurance import processes as processes_lib  # noqa: E402

from tfbn.recording import records  # noqa: E402
from tfbn.tables import table  # noqa: E402

_FLAGS = (
    "--model=mlp",
    "--dataset=shapes",
    "--train_steps=200",
    "--batch_size=31",  # slices of different sizes
    "--learning_rate=0.02",
    "--log_every=10",
    "--eval_every=20",
    "--ics_every=15",
    "--checkpoint_every=10",
    "--synchronized",
    "--deterministic",
    "--noprogress",
    "--meeting_minutes=1",
    "--lost_after_seconds=60",  # they share a few cores, with other work
)
_ROUNDING = 1e-2  # relative, after 200 steps whose sums have another order
_SECONDS = 600
# A process that meets no other one waits for a minute; then its end takes some time.
_MOST_SECONDS_ALONE = 300
# Where a victim dies, in turn, and after how many entries at most. "start" is before
# the processes meet, "connecting" when they have, and TensorFlow has not.
_PHASES = {
    "steps": 4,
    "checkpoint": 2,
    "evaluation": 1,
    "measurement": 1,
    "start": 1,
    "meeting": 1,
    "connecting": 1,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", default="2,4", help="numbers to try")
    parser.add_argument("--kills", type=int, default=0, help="for each of them")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    parser.add_argument(
        "--slurm", action="store_true", help="variables as of srun, no TF_CONFIG"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one = f"{folder}/1"
        _run(one, 1)
        for number in map(int, options.processes.split(",")):
            # Figures show the name of their run.
            whole, killed = (f"{folder}/{number}{of}/run" for of in ("", "_killed"))
            typical = _run(whole, number, slurm=options.slurm)
            error = _largest_difference(one, whole)
            print(
                f"\n{number} processes: records as of one, to {error:.1e}", flush=True
            )
            if options.kills:
                _kill_and_compare(whole, killed, number, typical, options)


def _kill_and_compare(whole, killed, number, typical, options):
    chance = random.Random(options.seed)
    rows = []
    for kill in range(options.kills):
        phase = list(_PHASES)[kill % len(_PHASES)]
        rows.append(_killed(killed, number, phase, typical, chance))
        print(f"{kill + 1}: {rows[-1]}", flush=True)
    _run(killed, number)
    differences, counts = comparison.compare(whole, killed)
    assert not differences, differences
    header = ["aimed at", "victim", "phase, step", "others ended after, s", "one said"]
    print(f"\n{table(header, rows)}\n\nEqual to the bit: {counts}", flush=True)


def _run(run_dir, number, slurm=False):
    """Trains to the end; returns the typical duration of each phase, in seconds."""
    with _started(run_dir, number, slurm) as processes:
        durations = processes[0].durations()
        statuses = [process.wait(_SECONDS) for process in processes]
    said = [process.printed("err")[-500:] for process in processes]
    assert statuses == [0] * number, (statuses, said)
    return {k: statistics.median(v) for k, v in durations.items() if v}


def _killed(run_dir, number, phase, typical, chance):
    """Kills one of the processes of a run; returns a row that says what happened."""
    with _started(run_dir, number) as processes:
        lost = chance.randrange(number)
        aim = processes_lib.Aim(
            signal=processes_lib.signal.SIGKILL,
            phase=phase,
            entry=chance.randint(1, _PHASES[phase]),
            delay=chance.uniform(0.0, typical[phase]),
        )
        hit = processes[lost].hit(aim)
        assert hit is not None, f"the run ended before the victim was in {phase}"
        begin = time.monotonic()
        others = [process for process in processes if process is not processes[lost]]
        ended, said = [], []
        for process in others:
            status = _status(process)
            ended.append(time.monotonic() - begin)
            lines = process.printed("err").splitlines()
            said += [line for line in lines if ": error: " in line]
            assert (status, len(said)) == (2, len(ended)), (hit, status, lines[-20:])
    where = f"{hit[0]}, {hit[1]}" if hit[1] >= 0 else hit[0]
    message = said[0].partition(": error: ")[2]
    return [phase, f"worker {lost}", where, f"{max(ended):.0f}", message]


def _status(process):
    try:
        return process.wait(_MOST_SECONDS_ALONE)
    except subprocess.TimeoutExpired:
        return "still running"


@contextlib.contextmanager
def _started(run_dir, number, slurm=False):
    flags = [*_FLAGS, "--strategy=multi_worker", f"--run_dir={run_dir}"]
    os.makedirs(os.path.dirname(run_dir), exist_ok=True)
    processes = []
    for index, variables in enumerate(
        _of_srun(number) if slurm else _cluster.tf_configs(number)
    ):
        path = f"{run_dir}.process{index}"
        processes.append(processes_lib.Process(flags, path, variables))
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def _of_srun(number):
    """What `srun` sets for so many tasks on this machine. Their ports: 8888, ..."""
    return [
        {
            "SLURM_PROCID": str(index),
            "SLURM_LOCALID": str(index),
            "SLURMD_NODENAME": "localhost",
            "SLURM_STEP_NUM_TASKS": str(number),
            "SLURM_STEP_NODELIST": "localhost",
            "SLURM_STEP_TASKS_PER_NODE": str(number),
        }
        for index in range(number)
    ]


def _largest_difference(one, several):
    """Of the numbers in the records of two runs, relative where they are large."""
    lines = [list(records.read_records(folder)) for folder in (one, several)]
    a, b = (np.array(_numbers(found)) for found in lines)
    np.testing.assert_allclose(a, b, _ROUNDING, _ROUNDING)
    return float(np.max(np.abs(a - b) / np.maximum(1.0, np.abs(a))))


def _numbers(value):
    """The numbers in records, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [] if isinstance(value, str) or value is None else [value]


if __name__ == "__main__":
    main()
