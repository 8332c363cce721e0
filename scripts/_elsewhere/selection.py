"""Which runs are meant: those of experiments, or of flagfiles."""

import os
import re
from collections.abc import Sequence

from tfbn import validation
from tfbn.commands import flagfiles
from tfbn.experiment import TrainConfig
from tfbn.experiment import config as config_lib
from tfbn.reproduction import experiments
from tfbn.reproduction import plan
from tfbn.reproduction.plan import Run


def chosen(
    names: Sequence[str], *, scale: str, data_dir: str, labels: str = ""
) -> list[Run]:
    """The runs of experiments and flagfiles, each once.

    Args:
        names: of experiments, or flagfiles, which end in .cfg.
        scale: of the experiments.
        data_dir: as in `TrainConfig`.
        labels: regular expression; runs of experiments whose labels do not match are
            left out.

    Raises:
        ValueError: for an unknown name, or where no run is left.
    """
    known = experiments.load()
    runs: list[Run] = []
    for name in names:
        if name.endswith(".cfg"):
            runs.append(_of_flagfile(name, data_dir))
        elif name in known:
            study = plan.study(name, known[name], scale, out="", data_dir=data_dir)
            runs += [run for run in study.runs if re.search(labels, run.label)]
        else:
            raise ValueError(
                f"RUN must be an experiment, among {', '.join(known)}, or a flagfile. "
                f"Received: {name!r}.{validation.suggestion(name, list(known))}"
            )
    if not runs:
        raise ValueError(
            f"Name what to export: one of {', '.join(known)}, or a flagfile. Received: "
            f"{', '.join(names) or 'no name'}, with labels={labels!r}."
        )
    return plan.distinct(runs)


def _of_flagfile(name, data_dir):
    config = flagfiles.from_file(name)
    label = os.path.basename(name).removesuffix(".cfg")
    options = {n: getattr(config, n) for n in config_lib.OPTIONS if config.takes(n)}
    return Run(label, TrainConfig(**options | {"run_dir": label, "data_dir": data_dir}))
