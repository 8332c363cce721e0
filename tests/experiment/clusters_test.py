"""Tests of tfbn.experiment.clusters and rendezvous: the processes of a run."""

import json
import os
import socket
import threading
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
    def _meet(self, *settings, number=None, seconds=20.0):
        """What `meet` raises in each of some processes, as text, or None."""
        number = number or len(settings)
        cluster = {"worker": [_free_address() for _ in range(number)]}
        found = {}

        def process(index):
            task = {"type": "worker", "index": index}
            try:
                configuration = {"cluster": cluster, "task": task}
                rendezvous.meet(configuration, settings[index], seconds)
                found[index] = None
            except ValueError as error:
                found[index] = str(error)

        threads = [
            threading.Thread(target=process, args=(i,)) for i in range(len(settings))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [found[i] for i in range(len(settings))]

    def test_all_are_there(self):
        self.assertEqual(self._meet(*[{"seed": "1"}] * 3), [None] * 3)

    def test_other_flags(self):
        errors = self._meet({"seed": "1"}, {"seed": "1"}, {"seed": "2"})
        for error in errors:
            self.assertIn("--seed=1 in worker 0, --seed=2 in worker 2", error)

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
        with self.assertRaisesRegex(ValueError, f"no answer of .* {address}"):
            rendezvous.meet(configuration, {}, 0.3)

    def test_a_port_in_use(self):
        with socket.socket() as other:
            other.bind(("", 0))
            other.listen()
            address = f"127.0.0.1:{other.getsockname()[1]}"
            with self.assertRaisesRegex(ValueError, f"{address}.* already in use"):
                rendezvous.check_port(address)
        rendezvous.check_port(address)


if __name__ == "__main__":
    tf.test.main()
