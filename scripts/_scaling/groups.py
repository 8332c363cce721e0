"""Processes that make training steps together when told to."""

import contextlib
import json
import os
import socket
import subprocess
import sys

_CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child.py")


class Group:
    """One process, or several of one cluster; a context manager that ends them.

    Args:
        arguments: those of scripts/_scaling/child.py.
        number: int, how many processes.

    Attributes:
        cpu_seconds: dict from a name of a call to the processor time of all processes
            in each of its calls.
        sent: dict from the name to what the first process says that it sends.
    """

    def __init__(self, *arguments, number=1):
        self.cpu_seconds, self.sent = {}, {}
        self._stack = contextlib.ExitStack()
        cluster = {"worker": [f"127.0.0.1:{_free_port()}" for _ in range(number)]}
        self._processes = [
            self._stack.enter_context(_started(arguments, cluster, index))
            for index in range(number)
        ]

    def __enter__(self):
        return self

    def __exit__(self, *unused_exception):
        # All at once: one that is left alone takes the others for lost.
        for process in self._processes:
            process.stdin.close()
        self._stack.close()

    def call(self, name, **request):
        """A function that makes steps, and notes under a name what they took."""

        def make():
            for process in self._processes:
                process.stdin.write(json.dumps(request) + "\n")
                process.stdin.flush()
            answers = [json.loads(p.stdout.readline()) for p in self._processes]
            seconds = sum(answer.pop("cpu_seconds") for answer in answers)
            self.cpu_seconds.setdefault(name, []).append(seconds)
            self.sent[name] = answers[0]

        return make


def _started(arguments, cluster, index):
    task = {"type": "worker", "index": index}
    variables = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
    return subprocess.Popen(
        [sys.executable, _CHILD, *arguments],
        env=os.environ | variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
