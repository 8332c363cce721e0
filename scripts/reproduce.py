"""Reproduces the papers on batch normalisation: runs, figures, a table of claims.

Usage: python scripts/reproduce.py NAME... [flags]   (installed: tfbn-reproduce)

NAME is a paper (santurkar, ioffe_2017, ioffe_2015, replication), one of its experiments
(see --list), or all. Each experiment trains its networks with several seeds, draws
figures and judges the paper's claims by tests of paired runs: holds, equivalent within
the margin, contradicted, or open. That needs scipy: pip install "tfbn[reproduce]".

  --scale=smoke  a few steps on built-in data, one seed, to check the setup; minutes
  --scale=cpu    CIFAR-10, small networks, three seeds; over 3 hours on two cores
  --scale=paper  as published, three seeds; needs an accelerator

Started again, however it was stopped, it resumes: finished runs are kept (unless
--rerun is given), others continue from their last checkpoints. Exit status: 0; 1 if a
run failed; 2 for wrong input; 130 after Ctrl-C, 143 after SIGTERM.

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
from tfbn.reproduction import inference
from tfbn.reproduction import phrases
from tfbn.reproduction import plan
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
    "Folder for the page (README.md; index.html holds its figures too), the figures "
    "and the records behind them. Default: report/ in --out.",
)
_DATA_DIR = flags.DEFINE_string(
    "data_dir",
    "",
    "Folder of prepared TFDS data sets; empty: the default folder of TFDS.",
)
_JOBS = flags.DEFINE_integer(
    "jobs",
    None,
    "Parallel runs. Default: one per core, at most 8; one with an accelerator.",
    lower_bound=1,
)
_LIST = flags.DEFINE_bool("list", False, "List the experiments and their progress.")
_RERUN = flags.DEFINE_bool("rerun", False, "Remove existing runs and train them again.")
_TRAIN = flags.DEFINE_bool(
    "train",
    True,
    "Train. --notrain only draws and judges, from the records of the report.",
)


def main(argv):
    """Trains the missing runs; draws and judges each experiment once it is complete."""
    studies = _studies()
    chosen = _chosen(argv[1:], studies)
    if _LIST.value:
        print(_listed(chosen))
        return 0
    inference.check_scipy()  # before hours of training, not after
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
    """Plans all experiments at the scale."""
    where = {"out": _out(), "data_dir": _DATA_DIR.value}
    everything = experiments_lib.load()
    return [plan.study(*item, _SCALE.value, **where) for item in everything.items()]


def _chosen(names, studies):
    """Returns the studies that the arguments name; all of them with --list."""
    known = ["all", *PAPERS, *(study.name for study in studies)]
    if not names and not _LIST.value:
        raise ValueError(f"Name what to reproduce, among {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise ValueError(
                f"What to reproduce must be among {', '.join(known)}. Received: "
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
    """Returns a table of studies."""
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
    """Draws and judges the studies that the report has records of."""
    there = [study for study in chosen if report.has(study)]
    if not there:
        raise ValueError(
            f"--notrain needs records of {chosen[0].name}, or of another one, in "
            f"{report.path}; found none. Train first, or choose another --report."
        )
    for study in there:
        _write(study, studies, report)


def _train(chosen, studies, report):
    """Trains the missing runs, writes complete studies, returns failures as lines."""
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
                raise outcome.error  # wrong input affects the other runs as well
            minutes = (time.monotonic() - begin) / 60
            place = f"[{count}/{len(missing)}, {minutes:.0f} min]"
            failures += _print_outcome(outcome, place)
            waiting = _write_complete(waiting, studies, report)
    return failures


def _print_outcome(outcome, place):
    """Prints how a run ended; returns a list with its failure, or an empty one."""
    run, error = outcome.run, outcome.error
    what = f"{run.label}, seed {run.config.seed}"
    if error is None:
        print(f"{place} {what}: {outcome.seconds:.0f} s", flush=True)
        return []
    ending = f"{type(error).__name__}: {error}"
    print(f"{place} {what}: {ending}", flush=True)
    return [f"{what} ({run.config.run_dir}): {ending}"]


def _write_complete(chosen, studies, report):
    """Writes the complete studies and returns the others."""
    waiting = []
    for study in chosen:
        if study.num_finished < len(study.runs):
            waiting.append(study)
            continue
        report.gather(study)
        _write(study, studies, report)
    return waiting


def _write(study, studies, report):
    """Draws and judges a study, writes the pages and prints what was written."""
    paths = report.draw(study)
    pages = report.write_page(studies), report.write_web_page(studies)
    counts = phrases.counts(report.judge(study))
    summary = ", ".join(
        f"{count} {verdict}" for verdict, count in counts.items() if count
    )
    print(f"{study.name}: {summary}", *paths, *pages, sep="\n  ", flush=True)


if __name__ == "__main__":
    cli.run(main, prepare=flagfiles.expand_flagfiles)
