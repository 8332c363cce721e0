"""The processes of a cluster on this machine."""

import json
import socket


def tf_configs(number: int) -> list[dict[str, str]]:
    """The variables of so many processes: `TF_CONFIG`, with free ports."""
    cluster = {"worker": [f"127.0.0.1:{_free_port()}" for _ in range(number)]}
    tasks = [{"type": "worker", "index": index} for index in range(number)]
    return [
        {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})} for task in tasks
    ]


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
