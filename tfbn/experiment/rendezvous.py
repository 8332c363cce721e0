"""The processes of a run meet before TensorFlow starts.

TensorFlow waits an hour for a process that does not come, and deaf to signals; with
other flags or versions than the rest a process would compute something else, without a
word.
"""

import contextlib
import json
import selectors
import socket
import time
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from tfbn import validation

_SECONDS_BETWEEN_TRIES = 0.2
# For what a process says or answers at once.
_SECONDS_TO_SAY = 10.0
# From the first process to each that comes: it is not another program.
_GREETING = "tfbn\n"


class _Ended(Exception):
    """The first process has ended after it has greeted this one."""


def meet(
    configuration: Mapping[str, Any],
    settings: Mapping[str, str],
    *,
    seconds: float,
    problem: str | None = None,
) -> None:
    """Waits until all processes of the cluster are there, and compares their settings.

    Args:
        configuration: as `clusters.configuration` returns it.
        settings: what must be the same in all of them, by name as a user knows it.
        seconds: how long to wait.
        problem: why this process cannot take part, or None. The others are told.

    Raises:
        ValueError: if settings differ, a process cannot take part, ends or does not
            come in time, or the port of this one is in use.
    """
    cluster, task = configuration["cluster"], configuration["task"]
    names = [(job, i) for job in sorted(cluster) for i in range(len(cluster[job]))]
    leader, *others = names  # "chief" comes before "worker"
    me = task["type"], task["index"]
    deadline = time.monotonic() + seconds
    address = cluster[leader[0]][leader[1]]
    if me != leader:
        report = {"task": me, "settings": dict(settings), "problem": problem}
        answer = _report(report, address, deadline)
    else:
        # With a port in use nobody can be told.
        found = {"settings": dict(settings), "problem": problem}
        answer = problem or _gather(me, found, address, others, deadline)
    if problem or answer:
        raise ValueError(problem or answer)


def _report(report, address, deadline):
    """Tells the first process about this one; returns its answer."""
    while True:
        try:
            return _answer(report, address, deadline)
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline:
                return (
                    "all processes of the cluster must be started at about the same "
                    f"time. Received: no answer of the first one at {address} "
                    f"({error}). Start it, or correct the address in the cluster."
                )
            time.sleep(_SECONDS_BETWEEN_TRIES)
        except _Ended:
            return (
                f"the first process of the cluster, at {address}, has ended while it "
                "waited for the others. Start all of them again."
            )


def _answer(report, address, deadline):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), _left(deadline)) as line:
        line.settimeout(min(_left(deadline), _SECONDS_TO_SAY))
        heard = line.makefile(encoding="utf-8")
        if heard.readline(len(_GREETING)) != _GREETING:
            raise ValueError("another program answers")
        # The first process waits as long, and then says who is missing.
        line.settimeout(_left(deadline) + _SECONDS_TO_SAY)
        try:
            line.sendall(json.dumps(report).encode() + b"\n")
            answer = heard.readline()
        except ConnectionError as error:
            raise _Ended from error
    if not answer:
        raise _Ended
    return json.loads(answer)


def _gather(me, mine, address, others, deadline):
    """Hears of all other processes, and tells them whether all is well."""
    with _server(address) as server, contextlib.ExitStack() as stack:
        reports, lines, ended = _heard(server, others, deadline, stack)
        answer = _ending(ended) or _missing(others, reports)
        answer = answer or _problem({me: mine, **reports})
        for line in lines:
            with contextlib.suppress(OSError):
                line.sendall(json.dumps(answer).encode() + b"\n")
    return answer


def _heard(server, others, deadline, stack):
    """`(reports by task, lines, task that has ended or None)`, by the deadline."""
    reports: dict[tuple, dict] = {}
    tasks: dict[socket.socket, tuple] = {}
    selector = stack.enter_context(selectors.DefaultSelector())
    selector.register(server, selectors.EVENT_READ)
    while len(reports) < len(others):
        ready = selector.select(_left(deadline))
        if not ready:
            break
        for key, _ in ready:
            if key.fileobj in tasks:  # it has nothing more to say
                return reports, list(tasks), tasks[key.fileobj]
            line, report = _received(server, stack)
            if report is None or tuple(report["task"]) not in others:
                continue  # of another program
            tasks[line] = tuple(report["task"])
            reports[tasks[line]] = report
            selector.register(line, selectors.EVENT_READ)
    return reports, list(tasks), None


def _received(server, stack):
    """`(line, report)` of a process that comes; None for what is not a report."""
    try:
        line = stack.enter_context(server.accept()[0])
        line.settimeout(_SECONDS_TO_SAY)
        line.sendall(_GREETING.encode())
        report = json.loads(line.makefile(encoding="utf-8").readline())
        complete = isinstance(report, dict) and {"task", "settings"} <= report.keys()
        return line, report if complete else None
    except (OSError, ValueError):
        return None, None


def _ending(task):
    if task is None:
        return None
    return (
        f"{_name(task)} has ended before all processes of the cluster had come. Start "
        "all of them again."
    )


def _missing(others, reports):
    missing = [_name(task) for task in others if task not in reports]
    if not missing:
        return None
    return (
        "all processes of the cluster must be started at about the same time. "
        f"Received: no word of {', '.join(missing)}."
    )


def _problem(reports):
    """What keeps the processes from a run together, as text, or None."""
    for task, report in reports.items():
        if report.get("problem"):
            return f"{_name(task)} cannot take part: {report['problem']}"
    (me, first), *rest = reports.items()
    for task, report in rest:
        ours, theirs = first["settings"], report["settings"]
        for name in {**ours, **theirs}:
            if ours.get(name) != theirs.get(name):
                return (
                    "all processes of the cluster must have the same flags and "
                    f"versions. Received: {name}={ours.get(name)} in {_name(me)}, "
                    f"{name}={theirs.get(name)} in {_name(task)}."
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


def port_problem(address: str) -> str | None:
    """Why the port of an address of this machine cannot be used, or None."""
    try:
        with _server(address):
            return None
    except OSError as error:
        return (
            "the port of this process in the cluster must be free. Received: "
            f"{validation.shown(address)}, of which the system says: {error.strerror}. "
            "End the process that uses it, or choose another port on all workers."
        )
