"""Which runs experiments need, and where they lie."""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Iterable
from collections.abc import Mapping
from typing import NamedTuple

from _reproduction.experiment import SEEDS
from _reproduction.experiment import Experiment
from tfbn.training import TrainConfig
from tfbn.training import config as config_lib
from tfbn.training import run_directory


class Run(NamedTuple):
    """A run of an experiment.

    Attributes:
        label: str, what the experiment calls it.
        config: `TrainConfig`, run_dir included.
    """

    label: str
    config: TrainConfig

    @property
    def finished(self) -> bool:
        """Whether it is complete: the model is the last thing that a run writes."""
        return os.path.exists(
            os.path.join(self.config.run_dir, run_directory.MODEL_FILE)
        )

    def command(self) -> str:
        """The command that makes such a run."""
        return " ".join(["python scripts/train.py", *flags(self.config)])


# Not among what tells runs apart: where data and results lie, and what changes nothing.
_PLACES = ("data_dir", "run_dir", "seed", "progress")
_UNWATCHED = ("checkpoint_every", "checkpoint_minutes", "checkpoints_kept")


def flags(config: TrainConfig, *, without: Iterable[str] = _PLACES) -> list[str]:
    """The flags of a run that differ from their defaults."""
    defaults = set(config_lib.to_flags(TrainConfig()))
    without = (*without, *_UNWATCHED)
    given = config_lib.to_flags(config, without=without)
    return [flag for flag in given if flag not in defaults]


def runs(experiment: Experiment, scale: str, *, out: str, data_dir: str) -> list[Run]:
    """The runs of an experiment, seed by seed.

    Runs of equal options get the same folder, which their options name, so experiments
    share them.
    """
    return [
        Run(label, _config(options, seed, out, data_dir))
        for label, options in experiment.runs(scale).items()
        for seed in range(SEEDS[scale])
    ]


def distinct(planned: Iterable[Run]) -> list[Run]:
    """The runs without those that an earlier one makes too."""
    by_folder = {}
    for run in planned:
        by_folder.setdefault(run.config.run_dir, run)
    return list(by_folder.values())


def remove(planned: Iterable[Run]) -> None:
    """Removes what there is of runs."""
    for run in distinct(planned):
        if os.path.exists(run.config.run_dir):
            shutil.rmtree(run.config.run_dir)


def _config(options: Mapping, seed, out, data_dir):
    settings = {"checkpoint_every": 500, "checkpoints_kept": 1, "progress": False}
    config = TrainConfig(**settings, data_dir=data_dir, seed=seed, **options)
    digest = hashlib.sha256(" ".join(flags(config)).encode()).hexdigest()[:8]
    kind = f"{config.model}_{config.norm}_{digest}"
    run_dir = os.path.join(out, "runs", kind, f"seed{seed}")
    return dataclasses.replace(config, run_dir=run_dir)
