"""Compares runs of several processes on this machine with those of one; no test.

Usage: python tests/several_processes.py [--processes=2,4] [--kills=10]

Runs of so many processes each must give the records of one. With --kills, a process,
drawn by chance, is killed (SIGKILL) at a moment drawn by chance, so many times: the
others must end by themselves, with status 1, and all are started again. A run takes
about a minute, for TensorFlow starts in each process.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_FLAGS = (
    "--model=mlp",
    "--dataset=shapes",
    "--train_steps=400",
    "--batch_size=31",  # slices of different sizes
    "--learning_rate=0.02",
    "--log_every=20",
    "--eval_every=100",
    "--ics_every=50",
    "--checkpoint_every=20",
    "--synchronized",
    "--noprogress",
)
_ROUNDING = 1e-2  # relative, after 400 steps whose sums have another order
_SECONDS = 600
# TensorFlow notices the loss of a process in some ten seconds; before the processes
# have met, they wait for the last one for five minutes.
_MOST_SECONDS_ALONE = 400


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--processes", default="2,4", help="numbers to try")
    parser.add_argument("--kills", type=int, default=0, help="for each of them")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        one = _finished(f"{folder}/1", 1)
        for number in map(int, options.processes.split(",")):
            run_dir = f"{folder}/{number}"
            for kill in range(options.kills):
                print(f"{number} processes, kill {kill + 1}: ", end="", flush=True)
                print(_killed(run_dir, number, chance), flush=True)
            _compare(one, _finished(run_dir, number))
            print(f"The {len(one)} records of {number} processes are those of one.")


def _compare(one, several):
    assert len(one) == len(several), (len(one), len(several))
    for a, b in zip(one, several, strict=True):
        np.testing.assert_allclose(_numbers(a), _numbers(b), _ROUNDING, _ROUNDING)


def _finished(run_dir, number):
    """The records of a run that goes on to its end."""
    with _started(run_dir, number) as processes:
        statuses = [process.wait(_SECONDS) for process in processes]
    assert statuses == [0] * number, (statuses, _messages(run_dir, number))
    lines = pathlib.Path(run_dir, "records.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in lines.splitlines()]


def _killed(run_dir, number, chance):
    """Kills one of the processes of a run; says what the others did."""
    with _started(run_dir, number) as processes:
        # In the first seconds they import TensorFlow; then they meet, train and save.
        moment = chance.uniform(1.0, 60.0)
        victim = processes[chance.randrange(number)]
        with contextlib.suppress(subprocess.TimeoutExpired):
            victim.wait(moment)
            return f"the run ended before {moment:.0f} s, status {victim.returncode}"
        victim.kill()
        begin = time.monotonic()
        others = [process for process in processes if process is not victim]
        statuses = [process.wait(_MOST_SECONDS_ALONE) for process in others]
    ended = time.monotonic() - begin
    lost = processes.index(victim)
    said = [m for i, m in enumerate(_messages(run_dir, number)) if i != lost]
    for status, message in zip(statuses, said, strict=True):
        assert status == 1 and message.startswith("train.py: error"), (status, message)
    return (
        f"process {lost} after {moment:.0f} s, the others ended {ended:.0f} s later: "
        f"{said}"
    )


@contextlib.contextmanager
def _started(run_dir, number):
    ports = [_free_port() for _ in range(number)]
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    processes = []
    for index in range(number):
        task = {"type": "worker", "index": index}
        settings = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        command = [sys.executable, str(_ROOT / "scripts/train.py"), *_FLAGS]
        command += ["--strategy=multi_worker", f"--run_dir={run_dir}"]
        env = os.environ | settings | {"PYTHONPATH": str(_ROOT)}
        with open(_log(run_dir, index), "w", encoding="utf-8") as log:
            processes.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _log(run_dir, index):
    return f"{run_dir}.{index}.log"


def _messages(run_dir, number):
    """The last line that each process has written, of train.py if there is one."""
    lines = []
    for index in range(number):
        text = pathlib.Path(_log(run_dir, index)).read_text(encoding="utf-8")
        said = text.strip().splitlines()
        own = [line for line in said if line.startswith("train.py: error")]
        lines.append((own or said or [""])[-1][:100])
    return lines


def _numbers(value):
    """The numbers in a record, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for part in value for number in _numbers(part)]
    return [] if isinstance(value, str) else [value]


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


if __name__ == "__main__":
    main()
