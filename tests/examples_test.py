"""Tests of examples/: each runs, briefly, and shows what its text says."""

import json
import os
import pathlib
from unittest import mock

import pytest
import tensorflow as tf

from tests import testing_utils
from tfbn import data

_EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


class ExamplesTest(tf.test.TestCase):
    @pytest.mark.long
    def test_fine_tuning(self):
        results = os.path.join(self.get_temp_dir(), "results.json")
        shapes = data.shapes(num_train=200, num_test=100)
        arguments = ["--seeds=2", "--steps=2", f"--results={results}"]
        printed = []
        with mock.patch.object(data, "load", lambda name, data_dir: shapes):
            # The second time nothing is trained.
            for steps in (3, 10**9):
                status, out, _ = testing_utils.run_script(
                    str(_EXAMPLES / "fine_tuning.py"),
                    *arguments,
                    f"--first_steps={steps}",
                )
                self.assertEqual(status, 0)
                printed.append(out)
        self.assertEqual(*printed)
        with open(results, encoding="utf-8") as file:
            found = json.load(file)
        self.assertEqual(list(found), ["0", "1"])
        arms = ["batch_norm", "frozen", "batch_renorm", "batch_renorm_tight"]
        arms += ["drift", "drift_tight"]
        self.assertEqual(list(found["0"]), ["before fine-tuning", *arms])
        last = printed[0].splitlines()[-1]
        self.assertRegex(last, r"^drift_tight +\d+\.\d%   [+-]\d+\.\d% ± ")

    @pytest.mark.long
    def test_joint_critic(self):
        arguments = "--seeds=1", "--steps=50", "--warm_up=50", "--batch_size=8"
        arms = "--arm=none", "--arm=joint_norm"
        status, out, _ = _run("joint_critic.py", *arguments, *arms)
        self.assertEqual(status, 0)
        seed, _, header, base, last = out.splitlines()
        self.assertRegex(seed, r"^seed 0: joint_norm +return +-\d+, Q minus return ")
        self.assertEqual(header[:16], "arm".ljust(16))
        self.assertRegex(base, r"^joint_norm +-\d+ +[+-]\d+\.\d\d$")
        self.assertRegex(last, r"^none +-\d+ +[+-]\d+ +[+-]\d+\.\d\d$")

    @pytest.mark.long
    def test_averaged_weights(self):
        shapes = data.shapes(num_train=128, num_test=50)
        with mock.patch.object(data, "shapes", lambda **unused: shapes):
            status, out, _ = _run("averaged_weights.py", "--seeds=2", "--epochs=2")
        self.assertEqual(status, 0)
        self.assertRegex(out, r"seed 1: last \d+\.\d% -> \d+\.\d%, EMA ")
        names = [line.split()[0] for line in out.splitlines()[2:]]
        self.assertEqual(names, ["weights", "last", "EMA", "SWA"])

    @pytest.mark.long
    def test_renorm_variants(self):
        shapes = data.shapes(num_train=256, num_test=50)
        small = "--seeds=2", "--steps=50", "--layers=2", "--width=8"
        with mock.patch.object(data, "load", lambda name, data_dir: shapes):
            status, out, _ = _run("renorm_variants.py", *small)
        self.assertEqual(status, 0)
        first, _, _, base, *others = out.splitlines()
        self.assertRegex(first, r"^seed 0: batch_norm \d\.\d+, batch_renorm \d\.\d+, ")
        self.assertRegex(base, r"^batch_norm +\d\.\d+   1$")
        names = [line.split()[0] for line in others]
        self.assertEqual(names[-3:], ["tied_momentum", "kernel_scale", "blended"])
        for line in others:
            self.assertRegex(line, r"^\w+ +\d\.\d+   \d\.\d+$")

    def test_each_is_tested(self):
        tested = {name for name in dir(self) if name.startswith("test_")}
        for path in _EXAMPLES.glob("*.py"):
            self.assertIn(f"test_{path.stem}", tested)


def _run(name, *arguments):
    return testing_utils.run_script(str(_EXAMPLES / name), *arguments)


if __name__ == "__main__":
    tf.test.main()
