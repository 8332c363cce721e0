"""Reproduces the papers on batch normalisation: runs, figures, a table of claims.

Usage: python scripts/reproduce.py NAME... [flags]

NAME is a paper (santurkar, ioffe_2017, ioffe_2015, replication), an experiment of one
(see --list), or all. Each experiment trains its networks with some seeds, draws figures
and judges the paper's claims: holds, does not hold, or not decided at this scale.

  --scale=smoke  the built-in data set, a few steps, one seed: whether it works; minutes
  --scale=cpu    CIFAR-10, small networks, three seeds; a good 3 hours on two cores
  --scale=paper  as published, three seeds: for an accelerator

Stopped in whatever way, it goes on where it was when it is started again: finished runs
are not trained again (unless --rerun asks for it), others go on from their checkpoints.
Exit status: 0; 1 if a run failed; 2 for wrong input; 130 after Ctrl-C, 143 after
SIGTERM.

Example: python scripts/reproduce.py santurkar --scale=cpu --data_dir=DIR
"""

import contextlib
import os
import signal
import sys
import time

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import tensorflow as tf
from absl import flags

from tfbn import environment
from tfbn import tables
from tfbn import validation
from tfbn.commands import cli
from tfbn.commands import flagfiles
from tfbn.reproduction import experiments as experiments_lib
from tfbn.reproduction import plan
from tfbn.reproduction import sections
from tfbn.reproduction import workers
from tfbn.reproduction.experiment import PAPERS
from tfbn.reproduction.experiment import SCALES
from tfbn.reproduction.report import Report

_SCALE = flags.DEFINE_enum("scale", "cpu", SCALES, "How large the runs are.")
_OUT = flags.DEFINE_string(
    "out", None, "Folder for runs and results. Default: runs/reproduce/SCALE."
)
_REPORT = flags.DEFINE_string(
    "report",
    None,
    "Folder for the page, the figures and the records they are made from. Default: "
    "report in --out.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir", "", "Folder of TFDS's prepared data sets; empty: TFDS's own."
)
_JOBS = flags.DEFINE_integer(
    "jobs",
    None,
    "Runs at a time. Default: one a core, up to 8; one with an accelerator.",
    lower_bound=1,
)
_LIST = flags.DEFINE_bool("list", False, "List the experiments and how far they are.")
_RERUN = flags.DEFINE_bool("rerun", False, "Remove what there is, and run it again.")
_TRAIN = flags.DEFINE_bool(
    "train", True, "Train. --notrain draws and judges again, from the report's records."
)


def main(argv):
    """Trains what is missing, then draws and judges, experiment by experiment."""
    studies = _studies()
    chosen = _chosen(argv[1:], studies)
    if _LIST.value:
        print(_listed(chosen))
        return 0
    report = Report(_REPORT.value or os.path.join(_out(), "report"), _SCALE.value)
    if not _TRAIN.value:
        _draw_again(chosen, studies, report)
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    failures = _train(chosen, studies, report)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _studies():
    """All experiments at the scale."""
    where = {"out": _out(), "data_dir": _DATA_DIR.value}
    everything = experiments_lib.load()
    return [plan.study(*item, _SCALE.value, **where) for item in everything.items()]


def _chosen(names, studies):
    """The studies that the arguments name; all with --list."""
    known = ["all", *PAPERS, *(study.name for study in studies)]
    if not names and not _LIST.value:
        raise ValueError(f"Say what to reproduce: some of {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise ValueError(
                f"What to reproduce must be some of {', '.join(known)}. Received: "
                f"{name!r}.{validation.suggestion(name, known)}"
            )
    names = set(names or ["all"])
    return [s for s in studies if names & {"all", s.experiment.paper, s.name}]


def _out():
    return _OUT.value or os.path.join("runs", "reproduce", _SCALE.value)


def _jobs():
    accelerator = tf.config.list_physical_devices("GPU")
    return _JOBS.value or (1 if accelerator else min(8, environment.num_cores()))


def _listed(studies):
    """A table of studies."""
    header = ["experiment", "source", "question", f"runs ({_SCALE.value})"]
    rows = [
        [
            study.name,
            study.experiment.source,
            study.experiment.title,
            f"{study.num_finished} of {len(study.runs)}",
        ]
        for study in studies
    ]
    return tables.table(header, rows)


def _draw_again(chosen, studies, report):
    """Writes those that there are records of."""
    there = [study for study in chosen if report.has(study)]
    if not there:
        raise ValueError(
            f"--notrain needs records of {chosen[0].name}, or of others, in "
            f"{report.path}. There are none. Train first, or choose another --report."
        )
    for study in there:
        _write(study, studies, report)


def _train(chosen, studies, report):
    """Trains what is missing and writes what is complete; what failed, as lines."""
    runs = plan.distinct(run for study in chosen for run in study.runs)
    if _RERUN.value:
        plan.remove(runs)
    missing = [run for run in runs if not run.finished]
    print(
        f"{len(runs)} runs, {len(missing)} of them to train, {_jobs()} at a time, in "
        f"{os.path.abspath(_out())}",
        flush=True,
    )
    waiting = _write_complete(chosen, studies, report)
    failures, begin = [], time.monotonic()
    with contextlib.closing(workers.train(missing, jobs=_jobs())) as outcomes:
        for count, outcome in enumerate(outcomes, start=1):
            if isinstance(outcome.error, (ValueError, OSError)):
                raise outcome.error  # what is wrong for one is wrong for the others
            minutes = (time.monotonic() - begin) / 60
            place = f"[{count}/{len(missing)}, {minutes:.0f} min]"
            failures += _told(outcome, place)
            waiting = _write_complete(waiting, studies, report)
    return failures


def _told(outcome, place):
    """Prints how a run ended; returns the failure in a list, if it is one."""
    run, error = outcome.run, outcome.error
    what = f"{run.label}, seed {run.config.seed}"
    if error is None:
        print(f"{place} {what}: {outcome.seconds:.0f} s", flush=True)
        return []
    ending = f"{type(error).__name__}: {error}"
    print(f"{place} {what}: {ending}", flush=True)
    return [f"{what} ({run.config.run_dir}): {ending}"]


def _write_complete(chosen, studies, report):
    """Writes the studies that are complete; returns the others."""
    waiting = []
    for study in chosen:
        if study.num_finished < len(study.runs):
            waiting.append(study)
            continue
        report.gather(study)
        _write(study, studies, report)
    return waiting


def _write(study, studies, report):
    """Draws a study, judges it, writes the page; says so."""
    paths = report.draw(study)
    page = report.write_page(studies)
    counts = sections.verdicts(report.judge(study))
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    print(f"{study.name}: {told}", *paths, page, sep="\n  ", flush=True)


if __name__ == "__main__":
    cli.run(main, prepare=flagfiles.expand_flagfiles)
