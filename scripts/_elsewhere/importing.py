"""Makes the records of a run out of what another machine computed.

The trainer of the run does it, with its own code: only that its steps, evaluations and
measurements take their numbers from the results.
"""

import dataclasses
import itertools
import json
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from _elsewhere import exporting
from _elsewhere import plans
from _elsewhere.parts import Parts

from tfbn.commands import flagfiles
from tfbn.diagnostics import measurement
from tfbn.experiment import build_trainer
from tfbn.files import atomic
from tfbn.recording.cadence import Cadence
from tfbn.training import run_directory
from tfbn.training.run_directory import ORIGIN_FILE


@dataclasses.dataclass(frozen=True)
class Trained:
    """A run and what came back of it.

    Attributes:
        plan: the run's part of the plan.
        results: str, the file of its results.
        run_dir: str.
    """

    plan: dict[str, Any]
    results: str
    run_dir: str


def trained(folder: str, *, out: str) -> Iterator[Trained]:
    """The runs that have results, and no run directory below `out` yet.

    Raises:
        ValueError: if the folder holds no plan.
    """
    path = os.path.join(folder, plans.PLAN)
    if not os.path.exists(path):
        raise ValueError(f"DIR must hold {plans.PLAN}. Received: {folder}.")
    with open(path, encoding="utf-8") as file:
        runs = json.load(file)["runs"]
    for run in runs:
        results = os.path.join(folder, run["results"])
        run_dir = os.path.join(out, run["run_dir"])
        origin = os.path.join(run_dir, ORIGIN_FILE)
        if os.path.exists(results) and not os.path.exists(origin):
            yield Trained(run, results, run_dir)


def write(run: Trained, *, data_dir: str) -> None:
    """Writes the directory of a run."""
    keras.backend.clear_session()  # names count from 0, as in a new process
    config = dataclasses.replace(
        _config(run.plan["flags"]), run_dir=run.run_dir, data_dir=data_dir,
        progress=False,
    )  # fmt: skip
    trainer = build_trainer(
        dataclasses.replace(config, jit_compile="on"), exporting.dataset(config)
    )
    with np.load(run.results) as file:
        results = dict(file)
    origin = json.loads(str(results.pop("origin")))
    _play_back(trainer, run.plan, results)
    with atomic.replacing(os.path.join(run.run_dir, "seconds.txt")) as file:
        file.write(f"{origin['seconds']:.1f}\n")
    with atomic.replacing(os.path.join(run.run_dir, ORIGIN_FILE)) as file:
        json.dump(origin, file)


def _config(run_flags):
    with tempfile.NamedTemporaryFile("w", suffix=".cfg", encoding="utf-8") as file:
        file.write("\n".join(run_flags))
        file.flush()
        return flagfiles.from_file(file.name)


def _play_back(trainer, plan, results):
    """Runs the trainer's loop on results; replaces the parts that compute."""
    parts = Parts(trainer)
    trainer._parts = trainer._parts._replace(
        steps=_Steps(parts, results), resumption=_NoCheckpoints()
    )
    header = f"Trained elsewhere: see {ORIGIN_FILE}."
    trainer._results = lambda: _Records(
        trainer.run_dir, trainer._parts.settings, header=header
    )
    calls = _Calls(trainer, plan, results)

    _play_back_evaluation("eval", parts.evaluation, parts, calls)
    for kind, evaluation in parts.recalibrated.items():
        evaluation._recalibrate = lambda: None  # type: ignore[method-assign]
        _play_back_evaluation(kind, evaluation._evaluation, parts, calls)
    for kind, in_training_mode in parts.in_training_mode.items():
        in_training_mode._evaluate_batch = calls.next_of(kind)
    with measurement.calls_go_to(calls.measured):
        trainer.train()


def _play_back_evaluation(kind, evaluation, parts, calls):
    def evaluate_rows(begin, end):
        del end
        # As the last batch leaves them.
        calls.assign(kind, evaluation._objective._metrics.metrics_variables)
        return calls.evaluated(kind, begin // evaluation._batch_size)

    evaluation._evaluate_rows = evaluate_rows


class _Steps:
    """The steps that were made, in place of those that a trainer makes."""

    def __init__(self, parts, results):
        self._names, self._metrics = parts.steps._names, results["metrics"]
        metrics = len(parts.metric_variables)
        own = parts.variables[: len(parts.variables) - metrics]
        self._counters = [v for v in own if v.dtype == "int64" and not len(v.shape)]

    def run(self, step, num_steps):
        rows = self._metrics[step : step + num_steps]
        for variable in self._counters:  # of schedules and of the optimizer
            variable.assign(step + num_steps)
        return dict(zip(self._names, rows.T, strict=True))


class _Calls:
    """What compiled functions returned there, in the order of the calls here."""

    def __init__(self, trainer, plan, results):
        self._trainer, self._plan, self._results = trainer, plan, results
        self._step, self._queue = -1, []

    def assign(self, kind, variables):
        """Gives variables the values that an evaluation left in them."""
        for k, variable in enumerate(variables):
            name = f"{kind}/{self._trainer.step}/metrics/{k:03d}"
            variable.assign(self._results[name])

    def evaluated(self, kind, batch):
        """What an evaluation of a batch returned."""
        structure = self._plan["evaluations"][kind]["structure"]
        return self._packed(f"{kind}/{self._trainer.step}/{batch}", structure)

    def next_of(self, kind):
        """A function that returns what each batch of an evaluation returned in turn."""
        parts = [name.split("/") for name in self._results]
        numbers = {part[2] for part in parts if part[0] == kind} - {"metrics"}
        batches = itertools.cycle(range(len(numbers)))
        return lambda indices: self.evaluated(kind, next(batches))

    def measured(self, function, args):
        """What a compiled function returned; a handler of `calls_go_to`."""
        del function, args
        step = self._trainer.step - 1  # the step is made when it is measured
        if step != self._step:
            self._step, self._queue = step, [
                (f"{name}/{step}/{i}", call["structure"])
                for name, steps in self._plan["measured"].items()
                if step in steps
                for i, call in enumerate(self._plan["meters"][name])
            ]  # fmt: skip
        return self._packed(*self._queue.pop(0))

    def _packed(self, prefix, structure):
        leaves, names = [], itertools.count()
        while (name := f"{prefix}/{next(names):03d}") in self._results:
            leaves.append(tf.constant(self._results[name]))
        return plans.packed(structure, leaves)


class _NoCheckpoints:
    """In place of a run's checkpoints."""

    cadence = Cadence(0)

    def restore(self, results):
        results.begin()

    def due(self, step):
        return False

    def save(self, step, values, results):
        pass


class _Records(run_directory.RunDirectory):
    """A run directory without the model, whose weights are elsewhere."""

    def save_model(self, model):
        pass
