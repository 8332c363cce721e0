"""The memory and the retracing of a long run. Reads /proc, which needs Linux."""

import collections
import functools
import gc
import itertools
import os
import statistics
import tempfile
import time
from unittest import mock

import tensorflow as tf
from _benchmark import memory

from tfbn.experiment import TrainConfig
from tfbn.experiment import build_trainer
from tfbn.experiment.watching_options import DIAGNOSTICS
from tfbn.recording import records
from tfbn.training.step import Steps

SAMPLE_EVERY = 100
CHECKPOINT_EVERY = 500

# The fraction of the steps in which caches of TensorFlow and the allocator fill.
_WARM_UP = 0.3

# About the smallest network that all diagnostics can measure.
_OPTIONS = {
    "model": "vgg",
    "width": 0.03,
    "dataset": "shapes",
    "norm": "batch_norm",
    "batch_size": 4,
    "learning_rate": 0.01,
    "log_every": 10,
    "eval_every": 250,
    "checkpoint_every": CHECKPOINT_EVERY,
    "checkpoint_minutes": 0.0,
    "progress": False,
}
_DIAGNOSTIC_OPTIONS = {
    "landscape_directions": "both",
    "landscape_points": 3,
    "curvature_iterations": 3,
    "curvature_per_layer": True,
    "replication_convolutions": (2,),
}


def measure(steps, *, every, seed, progress):
    """Runs the check; returns two rows, with all diagnostics and with none.

    Args:
        steps: int, the steps of each run.
        every: int, steps between the measurements of each diagnostic.
        seed: int, the seed of the runs.
        progress: function that reports progress, given as text.
    """
    common = {**_OPTIONS, "train_steps": steps, "seed": seed}
    cadences = {f"{name}_every": every for name in DIAGNOSTICS}
    rows = []
    for name, options in (
        ("all diagnostics", {**common, **_DIAGNOSTIC_OPTIONS, **cadences}),
        ("no diagnostics", common),
    ):
        progress(f"memory: {steps} steps with {name}")
        rows.append({"run": name, **memory.in_new_process(observe, options)})
    return rows


def observe(options):
    """Executes a run in this process and observes it.

    Args:
        options: dict, the options of `TrainConfig` except run_dir.

    Returns:
        A dict: `seconds`; `measurements`, how many records of each diagnostic;
        `samples`, a list of dicts (step, resident MiB, open files) of every 100th step;
        `mib_per_1000_steps`, their `growth` after the warm-up, and `warm_up`, its
        steps; `functions`, for the name of every tf.function its traces at the end of
        the warm-up and of the run.
    """
    warm_up = int(_WARM_UP * options["train_steps"])
    samples, warm = [], []
    run, made = Steps.run, 0

    def watched(self, step, num_steps):
        nonlocal made
        results = run(self, step, num_steps)
        made += num_steps
        if made // SAMPLE_EVERY > len(samples) - 1:
            samples.append(_sample(made))
        if made >= warm_up and not warm:
            warm.append(traces())
        return results

    begin = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(Steps, "run", watched),
    ):
        run_dir = os.path.join(folder, "run")
        trainer = build_trainer(TrainConfig(run_dir=run_dir, **options))
        trainer.train()
        kinds = collections.Counter(
            record["kind"] for record in records.read_records(trainer.run_dir)
        )
    return {
        "seconds": time.monotonic() - begin,
        "measurements": {k: kinds[k] for k in sorted(kinds.keys() - {"train", "eval"})},
        "samples": samples,
        "warm_up": warm_up,
        "mib_per_1000_steps": growth(samples, warm_up),
        "functions": paired(warm[0], traces()),
    }


def growth(samples, warm_up):
    """Returns the growth of the resident memory in MiB per 1,000 steps.

    This is the mean change from each thousand steps to the next of the smallest sample
    in them. Decreases, where the allocator or the kernel reclaimed memory, are left
    out: they would hide growth elsewhere.

    Args:
        samples: as returned by `observe`, at least 2,000 steps after the warm-up.
        warm_up: int, the first step that counts.
    """
    thousands = collections.defaultdict(list)
    for sample in samples:
        if sample["step"] >= warm_up:
            thousands[(sample["step"] - warm_up) // 1000].append(sample["mib"])
    complete = (samples[-1]["step"] - warm_up) // 1000
    least = [min(thousands[number]) for number in range(complete)]
    changes = [after - before for before, after in itertools.pairwise(least)]
    rises = [change for change in changes if change >= 0.0]
    return statistics.mean(rises) if rises else 0.0


def traces():
    """Returns the number of traces of all live tf.functions, summed by name."""
    kind = type(tf.function(lambda: None))
    counts = collections.Counter()
    for candidate in gc.get_objects():
        if type(candidate) is kind:
            counts[_name(candidate)] += candidate.experimental_get_tracing_count()
    return +counts


def paired(before, after):
    """Merges two results of `traces` into lists of two, by name."""
    names = sorted(before.keys() | after.keys())
    return {name: [before[name], after[name]] for name in names}


def _sample(step):
    gc.collect()  # garbage in reference cycles is not growth
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    mib = pages * os.sysconf("SC_PAGE_SIZE") / 2**20
    return {"step": step, "mib": mib, "files": len(os.listdir("/proc/self/fd"))}


def _name(function):
    python = function.python_function
    while isinstance(python, functools.partial):
        python = python.func
    module = getattr(python, "__module__", "?")
    return f"{module}.{getattr(python, '__qualname__', type(python).__name__)}"
