"""Tests of which runs experiments need, and where they lie."""

import dataclasses
import os
import tempfile

import tensorflow as tf
from absl import flags
from absl.testing import parameterized

from tfbn.commands import flagfiles
from tfbn.reproduction import experiments
from tfbn.reproduction import networks
from tfbn.reproduction import plan
from tfbn.reproduction.experiment import SCALES
from tfbn.reproduction.experiment import Experiment

_OPTIONS = {"model": "mlp", "dataset": "shapes", "norm": "none"}
_ALL = experiments.load()


def _experiment(**runs):
    """An experiment of some runs, given by what they add to `_OPTIONS`."""
    return Experiment(
        paper="santurkar",
        title="title",
        source="source",
        setting="setting",
        runs=lambda scale: {k: _OPTIONS | options for k, options in runs.items()},
        kinds=(),
        figures={},
        claims=(),
    )


def _runs(*, scale="cpu", out="out", data_dir="", **runs):
    study = plan.study("", _experiment(**runs), scale, out=out, data_dir=data_dir)
    return study.runs


def _folders(**options):
    return [run.config.run_dir for run in _runs(**options)]


class PlanTest(tf.test.TestCase, parameterized.TestCase):
    def test_runs_seed_by_seed(self):
        runs = _runs(a={}, b={"learning_rate": 0.5})
        self.assertEqual(
            [(r.label, r.config.seed, r.config.learning_rate) for r in runs],
            [("a", s, 0.1) for s in range(3)] + [("b", s, 0.5) for s in range(3)],
        )
        self.assertLen(_runs(a={}, scale="smoke"), 1)
        self.assertLen({run.config.run_dir for run in runs}, 6)
        self.assertLen({os.path.dirname(run.config.run_dir) for run in runs}, 2)
        self.assertLen({run.command() for run in runs}, 2)
        for run in runs:
            self.assertRegex(
                run.config.run_dir,
                rf"^out/runs/mlp_none_\w{{8}}/seed{run.config.seed}$",
            )
            self.assertFalse(run.config.progress)

    def test_seeds_of_some_labels(self):
        experiment = dataclasses.replace(
            _experiment(**{"a": {}, "b, x": {}, "c": {}, "c, 2": {}}),
            seeds={"cpu": 4},
            seeds_of={"b": {"cpu": 2}},
            first_seeds={"c": 10},
        )
        study = plan.study("", experiment, "cpu", out="out", data_dir="")
        seeds = {}
        for run in study.runs:
            seeds.setdefault(run.label, []).append(run.config.seed)
        many, fresh = [0, 1, 2, 3], [10, 11, 12, 13]
        expected = {"a": many, "b, x": [0, 1], "c": fresh, "c, 2": fresh}
        self.assertEqual(seeds, expected)

    def test_runs_of_equal_options_share_a_folder(self):
        self.assertEqual(_folders(a={}), _folders(other={}))
        # A default that is spelled out is no difference.
        self.assertEqual(_folders(a={}), _folders(a={"vgg_depth": "A"}))

    @parameterized.parameters(
        {"norm": "batch_norm"},
        {"learning_rate": 0.2},
        {"kernel_scale": 2.0},
        {"ics_every": 10},
        {"log_every": 20},
        {"eval_in_training_mode": True},
        {"data_seed": 1},
    )
    def test_any_other_option_gives_another_folder(self, **option):
        self.assertEmpty(set(_folders(a={})) & set(_folders(a=option)))

    def test_folders_do_not_depend_on_places(self):
        here, there = _folders(a={}), _folders(a={}, out="x/y", data_dir="/data")
        self.assertEqual([f"x/y{name.removeprefix('out')}" for name in here], there)
        self.assertEqual(_runs(a={}, data_dir="/data")[0].config.data_dir, "/data")

    def test_folders_do_not_depend_on_checkpoints(self):
        config = _runs(a={})[0].config
        other = dataclasses.replace(
            config, checkpoint_every=7, checkpoint_minutes=3.0, checkpoints_kept=9
        )
        self.assertEqual(plan.flags(config), plan.flags(other))

    def test_distinct(self):
        runs = _runs(a={}, b={"learning_rate": 0.5}, again={})
        self.assertLen(runs, 9)
        distinct = plan.distinct(runs)
        self.assertEqual(distinct, runs[:6])

    def test_data_of_the_seed_keep_the_folder_of_seed_0(self):
        runs = _runs(a={"data_seed": networks.OF_SEED})
        self.assertEqual([run.config.data_seed for run in runs], [0, 1, 2])
        # An older run of seed 0 had the same data; those of other seeds had not.
        shared = set(_folders(a={})) & {run.config.run_dir for run in runs}
        self.assertEqual(shared, {runs[0].config.run_dir})
        for scale in SCALES:
            for build in networks.deep_linear, networks.shapes_by_domain:
                self.assertIs(build(scale)["data_seed"], networks.OF_SEED)

    def test_finished_and_removed(self):
        out = tempfile.mkdtemp(dir=self.get_temp_dir())
        runs = _runs(out=out, a={}, again={}, b={"learning_rate": 0.5})
        for run in (runs[0], runs[6]):
            os.makedirs(run.config.run_dir)
            with open(os.path.join(run.config.run_dir, "records.jsonl"), "w"):
                pass
        self.assertEqual([run.finished for run in runs], [False] * 9)
        with open(os.path.join(runs[0].config.run_dir, "model.keras"), "w"):
            pass
        self.assertEqual([i for i, run in enumerate(runs) if run.finished], [0, 3])
        plan.remove(runs[:6])  # twice the same folders, and some that there are not
        self.assertFalse(os.path.exists(runs[0].config.run_dir))
        self.assertTrue(os.path.exists(runs[6].config.run_dir))


class CommandTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters((name, name) for name in _ALL)
    def test_is_a_command_of_the_run(self, name):
        for scale in SCALES:
            runs = plan.study(name, _ALL[name], scale, out="out", data_dir="/data").runs
            for run in {run.label: run for run in runs}.values():
                parsed = _parsed(run.command())
                places = ("data_dir", "run_dir", "seed", "progress")
                kept = {name: getattr(run.config, name) for name in places}
                kept |= {"checkpoint_every": 500, "checkpoints_kept": 1}
                self.assertEqual(dataclasses.replace(parsed, **kept), run.config)

    def test_says_nothing_but_what_differs(self):
        step = {"learning_rate_schedule": "step", "learning_rate_boundaries": (4, 5)}
        (run,) = _runs(scale="smoke", a={**step, "learning_rate": 0.1})
        self.assertEqual(
            run.command(),
            "python scripts/train.py --model=mlp --norm=none --dataset=shapes "
            "--learning_rate_schedule=step --learning_rate_boundaries=4,5",
        )


def _parsed(command):
    """The `TrainConfig` that scripts/train.py makes of its command line."""
    python, script, *arguments = command.split(" ")
    assert (python, script) == ("python", "scripts/train.py")
    values = flags.FlagValues()
    flagfiles.define(flag_values=values)
    assert values(["train.py", *arguments]) == ["train.py"]
    return flagfiles.from_flags(values)


if __name__ == "__main__":
    tf.test.main()
