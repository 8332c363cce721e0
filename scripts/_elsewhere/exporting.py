"""Writes runs that have their modules in common into a folder."""

import dataclasses
from collections.abc import Iterable
from collections.abc import Sequence

import keras
import numpy as np
from _elsewhere import initial
from _elsewhere import plans
from _elsewhere import run_modules
from _elsewhere.parts import Parts

from tfbn import data
from tfbn import dtype_policies
from tfbn.experiment import TrainConfig
from tfbn.experiment import build_trainer
from tfbn.experiment import builders
from tfbn.experiment import config as config_lib
from tfbn.experiment import watching_options
from tfbn.recording.cadence import Cadence
from tfbn.reproduction.plan import Run

TARGET = "gpu"
_MEASURED = ("ics", "landscape", "activations", "renorm")


def groups(runs: Iterable[Run]) -> list[list[Run]]:
    """The runs, those with the same modules together."""
    found: dict[tuple, list[Run]] = {}
    for run in runs:
        found.setdefault(_of_modules(run.config), []).append(run)
    return list(found.values())


def _of_modules(config):
    """The options that modules depend on."""
    without = {"seed", "data_seed", "run_dir", "data_dir"}
    if config.learning_rate_schedule == "constant" and not any(
        watching_options.every(config).values()
    ):
        without.add("learning_rate")  # a variable of the optimizer
    return tuple(config_lib.to_flags(config, without=without))


def export(group: Sequence[Run], folder: plans.Folder) -> None:
    """Exports a group: runs that differ in seeds or learning rates."""
    parts = Parts(_trainer(group[0]))
    common = _common(parts, group[0].config.train_steps, folder)
    for run in group:
        # Data and the batches of evaluations can be drawn by seeds as well.
        own_data = run.config.data_seed != group[0].config.data_seed
        if run is not group[0] and (own_data or parts.in_training_mode):
            parts = Parts(_trainer(run))
        folder.run(common | _own(run, parts, folder))


def _check(config):
    """Refuses measurements whose calls depend on the step or on earlier results."""
    every = watching_options.every(config)
    others = [name for name, k in every.items() if k and name not in _MEASURED]
    if others:
        raise ValueError(
            "A run that trains elsewhere can measure "
            f"{', '.join(_MEASURED)}. Received: {', '.join(others)}."
        )
    along_lines = every["landscape"] > 0
    if along_lines and config.learning_rate_schedule != "constant":
        raise ValueError(
            "A landscape that is measured elsewhere needs a constant learning rate. "
            f"Received: learning_rate_schedule={config.learning_rate_schedule}."
        )
    if along_lines and config.landscape_directions != "gradient":
        raise ValueError(
            "A landscape that is measured elsewhere follows the gradient. Received: "
            f"landscape_directions={config.landscape_directions}."
        )


def _trainer(run):
    _check(run.config)
    keras.backend.clear_session()  # names count from 0, as in a new process
    # XLA compiles measurements in one piece.
    config = dataclasses.replace(run.config, jit_compile="on")
    return build_trainer(config, dataset(config))


def _common(parts, train_steps, folder):
    """What the runs share."""
    modules = run_modules.export(parts, train_steps=train_steps, target=TARGET)
    return {
        "steps": folder.module(modules.steps),
        "batch": folder.module(modules.batch),
        "evaluations": _modules(folder, modules.evaluations),
        "recalibrations": {
            kind: folder.module(module)
            for kind, module in modules.recalibrations.items()
        },
        "meters": {
            name: list(_modules(folder, dict(enumerate(calls))).values())
            for name, calls in modules.meters.items()
        },
        "constants": {k: folder.array(v) for k, v in modules.constants.items()},
        "num_metric_variables": len(parts.metric_variables),
    }


def _modules(folder, modules):
    """How each module is called, with the structure of its results."""
    return {
        key: folder.module(module) | {"structure": structure}
        for key, (module, structure) in modules.items()
    }


def _own(run, parts, folder):
    """What is the run's own: its weights and its batches."""
    config, steps = run.config, run.config.train_steps
    keras.backend.clear_session()
    keras.utils.set_random_seed(config.seed)
    batches = builders.build_batches(config, dataset(config))
    with dtype_policies.default(config.dtype_policy):
        model = builders.build_model(config, dataset(config))
    optimizer = builders.build_optimizer(config, model)
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables, *parts.metric_variables]
    draw, values = initial.initial_values(model, variables, target=TARGET)
    indices = np.stack([batches.indices(i) for i in range(steps)])
    if config.batch_size == len(parts.train):
        # The order only changes rounding, and which example gets which noise.
        indices.sort(axis=1)
    evaluated = Cadence(config.eval_every)
    return {
        "label": run.label,
        "run_dir": config.run_dir,
        "flags": config_lib.to_flags(config, without=("run_dir", "data_dir")),
        "seed": config.seed,
        "train_steps": steps,
        "data": {name: folder.data(t.numpy()) for name, t in parts.data.items()},
        "indices": folder.array(_small(indices)),
        "rows": {
            kind: folder.array(_small(rows))
            for kind, rows in parts.evaluation_rows().items()
        },
        "recalibration_rows": {
            kind: folder.array(_small(rows))
            for kind, rows in parts.recalibration_rows().items()
        },
        "draw": None if draw is None else folder.module(draw),
        "initial": [v if isinstance(v, int) else folder.array(v) for v in values],
        "measured": {
            watch.name: [i for i in range(steps) if watch.cadence.due(i)]
            for watch in parts.diagnostics.watches
        },
        "evaluated": [i for i in range(1, steps + 1) if evaluated.due(i) or i == steps],
    }


def _small(indices):
    fits = indices.max() < 2**16
    return indices.astype(np.uint16 if fits else np.int32)


_datasets: dict = {}


def dataset(config: TrainConfig) -> data.Dataset:
    """The data set of a run; the last one is kept."""
    key = config.dataset, config.data_dir, config.data_seed
    if key not in _datasets:
        _datasets.clear()  # one at a time
        _datasets[key] = builders.build_dataset(config)
    return _datasets[key]
