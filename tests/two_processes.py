"""Compares runs of one and of two processes on this machine; no test of the suite.

Usage: python tests/two_processes.py

Each run takes half a minute, for TensorFlow starts in each process.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

import numpy as np

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_FLAGS = (
    "--model=mlp",
    "--dataset=shapes",
    "--train_steps=30",
    "--batch_size=31",  # slices of 15 and 16
    "--learning_rate=0.05",
    "--log_every=5",
    "--ics_every=10",
    "--synchronized",
    "--noprogress",
)
_ROUNDING = 1e-3
_SECONDS = 300


def main():
    with tempfile.TemporaryDirectory() as folder:
        one, two = (_records(f"{folder}/{n}", n) for n in (1, 2))
    assert len(one) == len(two), (len(one), len(two))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(_numbers(a), _numbers(b), _ROUNDING, _ROUNDING)
    print(f"The {len(one)} records of one and of two processes are the same.")


def _records(run_dir, number):
    ports = [_free_port() for _ in range(number)]
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    processes = []
    for index in range(number):
        task = {"type": "worker", "index": index}
        settings = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        command = [sys.executable, str(_ROOT / "scripts/train.py"), *_FLAGS]
        command += ["--strategy=multi_worker", f"--run_dir={run_dir}"]
        env = os.environ | settings | {"PYTHONPATH": str(_ROOT)}
        processes.append(subprocess.Popen(command, env=env))
    try:
        statuses = [process.wait(_SECONDS) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert statuses == [0] * number, statuses
    lines = pathlib.Path(run_dir, "records.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in lines.splitlines()]


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
