"""Tests of tfbn.experiment.clusters and rendezvous: the processes of a run."""

import contextlib
import json
import os
import socket
import threading
import time
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from tfbn.experiment import clusters
from tfbn.experiment import rendezvous


def _configuration(text, **variables):
    kept = {k: v for k, v in os.environ.items() if k[:6] not in ("TF_CON", "SLURM_")}
    if text is not None:
        variables["TF_CONFIG"] = text
    with mock.patch.dict(os.environ, kept | variables, clear=True):
        return clusters.configuration()


def _free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class ClustersTest(tf.test.TestCase, parameterized.TestCase):
    def test_tf_config(self):
        value = {
            "cluster": {"chief": ["a:1"], "worker": ["b:2", "c:3"]},
            "task": {"type": "worker", "index": 1},
        }
        self.assertEqual(_configuration(json.dumps(value)), value)

    def test_slurm(self):
        found = _configuration(
            None,
            SLURM_PROCID="2",
            SLURM_STEP_NUM_TASKS="3",
            SLURM_STEP_NODELIST="n[1-2]",
            SLURM_STEP_TASKS_PER_NODE="2,1",
        )
        addresses = ["n1:8888", "n1:8889", "n2:8888"]
        self.assertEqual(found["cluster"], {"worker": addresses})
        self.assertEqual(found["task"], {"type": "worker", "index": 2})

    @parameterized.parameters(
        ("n[9-10]", 0, "n9", 0, "n9:8888"),  # TensorFlow's list begins with n10
        ("n[1-2]", 1, "n2", 0, "n2:8888"),  # srun -m cyclic: n1, n2, n1, n2
        ("n[1-2]", 2, "n1", 1, "n1:8889"),
        ("n[1-2]", 3, "n2.domain", 1, "n2:8889"),  # as TensorFlow says
    )
    def test_slurm_tasks_know_their_address(self, nodes, rank, node, local, address):
        found = _configuration(
            None,
            SLURM_PROCID=str(rank),
            SLURM_STEP_NUM_TASKS="4",
            SLURM_STEP_NODELIST=nodes,
            SLURM_STEP_TASKS_PER_NODE="2(x2)",
            SLURMD_NODENAME=node,
            SLURM_LOCALID=str(local),
        )
        index = found["task"]["index"]
        self.assertEqual(found["cluster"]["worker"][index], address)

    @parameterized.parameters(
        (None, "needs the environment variable TF_CONFIG, or .* srun"),
        ("{cluster", r"TF_CONFIG must be JSON \(.*Received: TF_CONFIG='{cluster'"),
        ("[]", 'have a "cluster" that maps'),
        ('{"cluster": {}}', 'name a "chief" or a "worker"'),
        ('{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}}', "so no 'ps'"),
        ('{"cluster": {"worker": ["a"]}}', '"host:port" of the job'),
        ('{"cluster": {"chief": ["a:1", "b:1"]}}', "have one chief"),
        ('{"cluster": {"worker": ["a:1"]}}', 'whose "type" is a job'),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            '"index" is from 0 to 0, as worker has 1',
        ),
    )
    def test_refusals(self, text, message):
        with self.assertRaisesRegex(ValueError, message):
            _configuration(text)

    def test_slurm_without_a_step(self):
        with self.assertRaisesRegex(ValueError, "by srun.* SLURM_PROCID not found"):
            _configuration(None, SLURM_STEP_NUM_TASKS="2")


class RendezvousTest(tf.test.TestCase):
    def _meet(self, *settings, number=None, seconds=20.0, problems=None):
        """What `meet` raises in each of some processes, as text, or None."""
        configurations = _configurations(number or len(settings))
        found = {}

        def process(index):
            problem = (problems or {}).get(index)
            found[index] = _raised(
                configurations[index], settings[index], seconds, problem
            )

        threads = [
            threading.Thread(target=process, args=(i,)) for i in range(len(settings))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [found[i] for i in range(len(settings))]

    def test_all_are_there(self):
        self.assertEqual(self._meet(*[{"--seed": "1"}] * 3), [None] * 3)

    def test_other_flags_or_versions(self):
        for name in ("--seed", "keras"):
            errors = self._meet({name: "1"}, {name: "1"}, {name: "2"})
            for error in errors:
                self.assertIn(f"{name}=1 in worker 0, {name}=2 in worker 2", error)

    def test_one_cannot_take_part(self):
        errors = self._meet({}, {}, {}, problems={1: "a port"})
        self.assertEqual(errors[1], "a port")
        self.assertEqual(errors[::2], ["worker 1 cannot take part: a port"] * 2)

    def test_one_does_not_come(self):
        errors = self._meet({}, {}, number=3, seconds=1.0)
        for error in errors:
            self.assertIn("no word of worker 2", error)

    def test_the_first_does_not_come(self):
        address = _free_address()
        configuration = {
            "cluster": {"chief": [address], "worker": ["127.0.0.1:1"]},
            "task": {"type": "worker", "index": 0},
        }
        error = _raised(configuration, {}, 0.3)
        self.assertRegex(error, f"no answer of .* {address}")

    def test_another_program_is_not_the_first(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            other.settimeout(1.0)
            address = f"127.0.0.1:{other.getsockname()[1]}"
            _, configuration = _configurations(2, first=address)
            threading.Thread(target=_answer_nonsense, args=(other,)).start()
            error = _raised(configuration, {}, 0.3)
        self.assertIn(f"no answer of the first one at {address}", error)

    def test_one_ends_before_another_has_come(self):
        first, second, _ = _configurations(3)
        address = first["cluster"]["worker"][0]
        with _threaded(_raised, first, {}, 20.0) as errors:
            report = {"task": ("worker", 2), "settings": {}}
            _say(address, report)
        self.assertIn("worker 2 has ended before", errors[0])
        with socket.create_server(_host_and_port(address)) as server:
            with _threaded(_raised, second, {}, 20.0) as errors:
                with server.accept()[0] as line:
                    line.sendall(b"tfbn\n")
        self.assertIn("has ended while it waited for the others", errors[0])

    def test_a_port_in_use(self):
        with socket.socket() as other:
            other.bind(("", 0))
            other.listen()
            address = f"127.0.0.1:{other.getsockname()[1]}"
            problem = rendezvous.port_problem(address)
            self.assertRegex(problem, f"{address}.* already in use")
            configuration, _ = _configurations(2, first=address)
            error = _raised(configuration, {}, 20.0, problem)
            self.assertEqual(error, problem)
        self.assertIsNone(rendezvous.port_problem(address))


def _configurations(number, first=None):
    addresses = [_free_address() for _ in range(number)]
    cluster = {"worker": [first or addresses[0], *addresses[1:]]}
    return [
        {"cluster": cluster, "task": {"type": "worker", "index": index}}
        for index in range(number)
    ]


def _raised(configuration, settings, seconds, problem=None):
    """What `meet` raises, as text, or None."""
    try:
        rendezvous.meet(configuration, settings, seconds=seconds, problem=problem)
    except ValueError as error:
        return str(error)
    return None


@contextlib.contextmanager
def _threaded(function, *args):
    """A list, to which a thread adds what a function returns by the end."""
    found = []
    thread = threading.Thread(target=lambda: found.append(function(*args)))
    thread.start()
    yield found
    thread.join()


def _host_and_port(address):
    host, _, port = address.rpartition(":")
    return host, int(port)


def _say(address, report):
    """Comes, and ends."""
    while True:
        try:
            line = socket.create_connection(_host_and_port(address))
            break
        except OSError:
            time.sleep(0.01)
    with line:
        line.sendall(json.dumps(report).encode() + b"\n")


def _answer_nonsense(server):
    with contextlib.suppress(OSError):
        while True:
            with server.accept()[0] as line:
                line.sendall(b"HTTP/1.1 400\n")


if __name__ == "__main__":
    tf.test.main()
