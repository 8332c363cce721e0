"""Reproduces the papers on batch normalisation: runs, figures, a table of claims.

Usage: python scripts/reproduce.py NAME... [flags]

NAME is a paper (santurkar, ioffe_2017, ioffe_2015, replication), an experiment of one
(see --list), or all. Each experiment trains its networks with some seeds, draws figures
and judges the paper's claims: holds, does not hold, or not decided at this scale.

  --scale=smoke  the built-in data set, a few steps, one seed: whether it works; minutes
  --scale=cpu    CIFAR-10, small networks, three seeds; about three hours on two cores
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

import _cli
import _flags
import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import _tables
import tensorflow as tf
from _reproduction import experiments as experiments_lib
from _reproduction import plan
from _reproduction import sections
from _reproduction import workers
from _reproduction.experiment import PAPERS
from _reproduction.experiment import SCALES
from _reproduction.report import Report
from absl import flags

from tfbn import validation

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
    everything = experiments_lib.load()
    planned = {name: _planned(e) for name, e in everything.items()}
    chosen = _chosen(argv[1:], everything)
    if _LIST.value:
        print(_listed(chosen, planned))
        return 0
    report = Report(_REPORT.value or os.path.join(_out(), "report"), _SCALE.value)
    if not _TRAIN.value:
        for name in chosen:
            _write(report, name, everything, planned)
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    failures = _train(chosen, everything, planned, report)
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _chosen(names, everything):
    """The names of the experiments that the arguments name; of all with --list."""
    known = ["all", *PAPERS, *everything]
    if not names and not _LIST.value:
        raise ValueError(f"Say what to reproduce: some of {', '.join(known)}.")
    for name in names:
        if name not in known:
            raise ValueError(
                f"What to reproduce must be some of {', '.join(known)}. Received: "
                f"{name!r}.{validation.suggestion(name, known)}"
            )
    return [
        name
        for name, experiment in everything.items()
        if not {"all", experiment.paper, name}.isdisjoint(names or ["all"])
    ]


def _planned(experiment):
    return plan.runs(experiment, _SCALE.value, out=_out(), data_dir=_DATA_DIR.value)


def _out():
    return _OUT.value or os.path.join("runs", "reproduce", _SCALE.value)


def _jobs():
    accelerator = tf.config.list_physical_devices("GPU")
    return _JOBS.value or (1 if accelerator else min(8, os.cpu_count() or 1))


def _listed(chosen, planned):
    """A table of experiments."""
    everything = experiments_lib.load()
    rows = []
    for name in chosen:
        finished = sum(run.finished for run in planned[name])
        done = f"{finished} of {len(planned[name])}"
        rows.append([name, everything[name].source, everything[name].title, done])
    header = ["experiment", "source", "question", f"runs ({_SCALE.value})"]
    return _tables.table(header, rows)


def _train(chosen, everything, planned, report):
    """Trains what is missing and writes what is complete; what failed, as lines."""
    runs = plan.distinct(run for name in chosen for run in planned[name])
    if _RERUN.value:
        plan.remove(runs)
    missing = [run for run in runs if not run.finished]
    print(
        f"{len(runs)} runs, {len(missing)} of them to train, {_jobs()} at a time, in "
        f"{os.path.abspath(_out())}",
        flush=True,
    )
    waiting = _write_complete(chosen, everything, planned, report)
    failures, begin = [], time.monotonic()
    with contextlib.closing(workers.train(missing, jobs=_jobs())) as outcomes:
        for count, outcome in enumerate(outcomes, start=1):
            if isinstance(outcome.error, (ValueError, OSError)):
                raise outcome.error  # what is wrong for one is wrong for the others
            failures += [_told(outcome, count, len(missing), begin)]
            waiting = _write_complete(waiting, everything, planned, report)
    return [failure for failure in failures if failure]


def _told(outcome, count, number, begin):
    """Prints how a run ended; returns the failure, if it is one."""
    run, minutes = outcome.run, (time.monotonic() - begin) / 60
    what = f"{run.label}, seed {run.config.seed}"
    ending = f"{type(outcome.error).__name__}: {outcome.error}"
    told = ending if outcome.error else f"{outcome.seconds:.0f} s"
    print(f"[{count}/{number}, {minutes:.0f} min] {what}: {told}", flush=True)
    return f"{what} ({run.config.run_dir}): {ending}" if outcome.error else None


def _write_complete(names, everything, planned, report):
    """Writes the experiments that are complete; returns the others."""
    waiting = []
    for name in names:
        if all(run.finished for run in planned[name]):
            report.gather(name, planned[name])
            _write(report, name, everything, planned)
        else:
            waiting.append(name)
    return waiting


def _write(report, name, everything, planned):
    """Draws an experiment, judges it, writes the page; says so."""
    paths = report.draw(name, everything[name])
    page = report.write_page(everything, planned)
    counts = sections.verdicts(report.judge(name, everything[name]))
    told = ", ".join(
        f"{number} {verdict}" for verdict, number in counts.items() if number
    )
    print(f"{name}: {told}", *paths, page, sep="\n  ", flush=True)


if __name__ == "__main__":
    _cli.run(main, prepare=_flags.expand_flagfiles)
