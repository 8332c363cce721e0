"""The processes of a run meet before TensorFlow starts.

TensorFlow waits an hour for a process that does not come, and deaf to signals; with
other flags than the rest a process would compute something else, without a word.
"""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from tfbn import validation

SECONDS = 300.0  # that a process waits for the others
_SECONDS_BETWEEN_TRIES = 0.2
_SECONDS_FOR_THE_ANSWER = 10.0


def meet(
    configuration: Mapping[str, Any],
    settings: Mapping[str, str],
    seconds: float | None = None,
) -> None:
    """Waits until all processes of the cluster are there, and compares their settings.

    Args:
        configuration: as `clusters.configuration` returns it.
        settings: what must be the same in all of them, by name.
        seconds: how long to wait. Default `SECONDS`.

    Raises:
        ValueError: if settings differ, a process does not come in time, or the port of
            this one is in use.
    """
    cluster, task = configuration["cluster"], configuration["task"]
    names = [(job, i) for job in sorted(cluster) for i in range(len(cluster[job]))]
    leader, *others = names  # "chief" comes before "worker"
    me = task["type"], task["index"]
    deadline = time.monotonic() + (SECONDS if seconds is None else seconds)
    address = cluster[leader[0]][leader[1]]
    if me != leader:
        _report(me, address, settings, deadline)
    elif others:
        _gather(me, address, others, settings, deadline)


def _report(me, address, settings, deadline):
    """Tells the leader about this process; raises what it answers."""
    message = json.dumps({"task": me, "settings": dict(settings)}).encode() + b"\n"
    host, _, port = address.rpartition(":")
    while True:
        try:
            with socket.create_connection((host, int(port)), _left(deadline)) as line:
                # The leader waits as long, and then says who is missing.
                line.settimeout(_left(deadline) + _SECONDS_FOR_THE_ANSWER)
                line.sendall(message)
                answer = json.loads(line.makefile(encoding="utf-8").readline())
            break
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                raise ValueError(
                    "all processes of the cluster must be started at about the same "
                    f"time. Received: no answer of the first one at {address} "
                    f"({error}). Start it, or correct the address in the cluster."
                ) from error
            time.sleep(_SECONDS_BETWEEN_TRIES)
    if answer is not None:
        raise ValueError(answer)


def _gather(me, address, others, settings, deadline):
    """Hears of all other processes, and tells them whether all is well."""
    with _server(address) as server, contextlib.ExitStack() as lines:
        heard: dict[tuple, tuple] = {}
        while len(heard) < len(others):
            server.settimeout(_left(deadline))
            try:
                line, _ = server.accept()
                line.settimeout(_left(deadline))
                report = json.loads(line.makefile(encoding="utf-8").readline())
                heard[tuple(report["task"])] = line, report["settings"]
                lines.enter_context(line)
            except TimeoutError:
                break
            except (OSError, ValueError, KeyError, TypeError):
                continue  # of another program
        problem = _problem(me, others, settings, {t: s for t, (_, s) in heard.items()})
        for line, _ in heard.values():
            with contextlib.suppress(OSError):
                line.sendall(json.dumps(problem).encode() + b"\n")
    if problem is not None:
        raise ValueError(problem)


def _problem(me, others, settings, heard):
    missing = [_name(task) for task in others if task not in heard]
    if missing:
        return (
            "all processes of the cluster must be started at about the same time. "
            f"Received: no word of {', '.join(missing)}."
        )
    for task, theirs in heard.items():
        for name in {**settings, **theirs}:
            ours, value = settings.get(name), theirs.get(name)
            if ours != value:
                return (
                    "all processes of the cluster must have the same flags. Received: "
                    f"--{name}={ours} in {_name(me)}, --{name}={value} in "
                    f"{_name(task)}."
                )
    return None


@contextlib.contextmanager
def _server(address) -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("", int(address.rpartition(":")[2])))
        server.listen()
        yield server


def _left(deadline):
    return max(0.1, deadline - time.monotonic())


def _name(task):
    job, index = task
    return f"{job} {index}"


def check_port(address: str) -> None:
    """Raises a ValueError if the port of an address of this machine is in use."""
    try:
        with _server(address):
            pass
    except OSError as error:
        raise ValueError(
            "the port of this process in the cluster must be free. Received: "
            f"{validation.shown(address)}, of which the system says: {error.strerror}. "
            "End the process that uses it, or choose another port on all workers."
        ) from error
