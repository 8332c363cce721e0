"""The runs that experiments need, and their folders."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from tfbn.experiment import TrainConfig
from tfbn.experiment import config as config_lib
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment
from tfbn.training import run_directory


class Run(NamedTuple):
    """A run of an experiment: its name there, and its options with the run_dir."""

    label: str
    config: TrainConfig

    @property
    def finished(self) -> bool:
        """Whether the run is complete."""
        return os.path.exists(self._last_file)

    @property
    def ended(self) -> float:
        """When the run was completed, in seconds since 1970."""
        return os.path.getmtime(self._last_file)

    @property
    def origin_file(self) -> str:
        """A file that says where the run was trained, if not here: see `origin`."""
        return os.path.join(self.config.run_dir, run_directory.ORIGIN_FILE)

    @property
    def origin(self) -> dict[str, Any] | None:
        """The device and the versions that trained the run, if that was elsewhere."""
        if not os.path.exists(self.origin_file):
            return None
        with open(self.origin_file, encoding="utf-8") as file:
            return json.load(file)

    @property
    def _last_file(self) -> str:
        if os.path.exists(self.origin_file):
            return self.origin_file
        return os.path.join(self.config.run_dir, run_directory.MODEL_FILE)

    @property
    def seconds(self) -> float | None:
        """How long the run trained, resumptions included; None if nobody measured."""
        if not os.path.exists(self.seconds_file):
            return None
        with open(self.seconds_file, encoding="utf-8") as file:
            return float(file.read())

    @property
    def seconds_file(self) -> str:
        """The file of `seconds`."""
        return os.path.join(self.config.run_dir, "seconds.txt")

    def command(self) -> str:
        """Returns the command that repeats the run."""
        return " ".join(["python scripts/train.py", *flags(self.config)])


class Study(NamedTuple):
    """An experiment at a scale, and its runs, label by label and seed by seed."""

    name: str
    experiment: Experiment
    runs: list[Run]

    @property
    def num_finished(self) -> int:
        """The number of runs that are complete."""
        return sum(run.finished for run in self.runs)


# What does not distinguish the runs of a study.
_SHARED = (
    "seed",
    *(name for name, o in config_lib.OPTIONS.items() if not o.affects_results),
)


def flags(config: TrainConfig, *, without: Iterable[str] = _SHARED) -> list[str]:
    """Returns the flags of a run that differ from their defaults."""
    defaults = {f"--{n}={o.text(o.default)}" for n, o in config_lib.OPTIONS.items()}
    defaults |= set(config_lib.to_flags(TrainConfig()))
    given = config_lib.to_flags(config, without=without)
    return [flag for flag in given if flag not in defaults]


def study(
    name: str, experiment: Experiment, scale: str, *, out: str, data_dir: str
) -> Study:
    """Plans the runs of an experiment.

    The name of a run's folder is a hash of its options, so experiments share runs with
    equal options. An option `networks.OF_SEED` is the run's seed.

    Args:
        name: the name of the experiment.
        experiment: the declaration of the experiment.
        scale: one of `experiment.SCALES`.
        out: the folder that holds all runs.
        data_dir: as in `TrainConfig`.
    """
    runs = [
        Run(label, _config(options, seed, out, data_dir))
        for label, options in experiment.runs(scale).items()
        for seed in experiment.seeds_of_runs(scale, label)
    ]
    return Study(name, experiment, runs)


def distinct(planned: Iterable[Run]) -> list[Run]:
    """Returns the runs, each folder once."""
    by_folder: dict[str, Run] = {}
    for run in planned:
        by_folder.setdefault(run.config.run_dir, run)
    return list(by_folder.values())


def remove(planned: Iterable[Run]) -> None:
    """Removes the folders of runs."""
    for run in distinct(planned):
        if os.path.exists(run.config.run_dir):
            shutil.rmtree(run.config.run_dir)


def _config(options: Mapping, seed, out, data_dir) -> TrainConfig:
    settings: dict[str, Any] = {
        "checkpoint_every": 500,
        "checkpoints_kept": 1,
        "progress": False,
    }
    # Networks set options for any norm; this one may not take all of them.
    inert = config_lib.not_taken(options)
    options = {
        name: seed if value is networks.OF_SEED else value
        for name, value in options.items()
        if inert.get(name) != "norm"
    }
    settings |= {"data_dir": data_dir, "seed": seed, **options}
    config = TrainConfig(**settings)
    digest = hashlib.sha256(" ".join(flags(config)).encode()).hexdigest()[:8]
    kind = f"{config.model}_{config.norm}_{digest}"
    run_dir = os.path.join(out, "runs", kind, f"seed{seed}")
    return TrainConfig(**settings, run_dir=run_dir)
