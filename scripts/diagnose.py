"""Measures a trained network on a batch, prints a table and draws figures.

Usage: python scripts/diagnose.py --model=PATH [flags]

PATH is a run directory of scripts/train.py, whose data and batches are taken, or a
model that Keras saved (.keras), for which --dataset names the data; inputs are
standardised as train.py does. Neither is changed, and no code out of a file is run: one
with Lambda layers, or layers that neither Keras nor tfbn knows, is refused. These are
measured, by default all but the surfaces:

  ics          internal covariate shift of a step of SGD, layer by layer
  landscape    loss, gradient predictiveness, effective beta along the gradient
  activations  moments and percentiles of each layer's activations
  curvature    the largest eigenvalue and the spectrum of the Hessian
  theory       theorem 4.1 and the gradient identities, in batch normalisation layers
               (where there are any)
  surface      the loss along a random filter-normalised direction
  surface_2d   the same along two

Example: python scripts/diagnose.py --model=runs/vgg_bn --measure=ics,landscape
"""

import dataclasses
import functools
import math
import os
import time

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import keras
import numpy as np
import tensorflow as tf
from absl import flags

from tfbn import diagnostics
from tfbn import plots
from tfbn.commands import cli
from tfbn.commands import diagnosis_tables
from tfbn.commands import flagfiles
from tfbn.commands import list_flags
from tfbn.diagnostics import instruments
from tfbn.experiment import TrainConfig
from tfbn.experiment import builders
from tfbn.experiment import task as task_lib
from tfbn.recording import records
from tfbn.recording import watching
from tfbn.training import run_directory

_MEASUREMENTS = (
    "ics",
    "landscape",
    "activations",
    "curvature",
    "theory",
    "surface",
    "surface_2d",
)

# Options of a run that say which batch is taken and how it is measured.
_OPTIONS = (
    "dataset",
    "data_dir",
    "data_seed",
    "sampling",
    "images_per_label",
    "steps_per_domain",
    "batch_size",
    "learning_rate",
    "seed",
    "landscape_low",
    "landscape_high",
    "landscape_points",
    "landscape_directions",
    "activations_unit",
    "curvature_iterations",
    "curvature_per_layer",
)

# Data that TrainConfig allows with one network only; which one it is does not matter.
_NETWORK_FOR = {"gaussian": "deep_linear", "mnist": "mlp"}


def define():
    """Defines the flags."""
    flags.DEFINE_string("model", None, "Run directory, or .keras file.", required=True)
    list_flags.define_names(
        "measure", list(_MEASUREMENTS[:5]), _MEASUREMENTS, "What to measure."
    )
    flags.DEFINE_string(
        "out", None, "Folder for the results. Default: a new one beside the model."
    )
    flags.DEFINE_integer(
        "batch", 0, "Which of the training batches is taken.", lower_bound=0
    )
    flags.DEFINE_enum("format", "png", plots.FILE_FORMATS, "Format of the figures.")
    flags.DEFINE_float(
        "surface_radius",
        1.0,
        "Surfaces: how far they go, in units of a filter's length.",
    )
    flags.register_validator(
        "surface_radius", lambda r: 0.0 < r < math.inf, "must be a number above 0"
    )
    flags.DEFINE_integer(
        "surface_points", 21, "Surfaces: places along a direction.", lower_bound=2
    )
    flagfiles.define(_OPTIONS)


def main(argv):
    """Measures, prints, and writes records and figures."""
    cli.refuse_arguments(argv)
    config, step, model = _load(flags.FLAGS.model)
    dataset = builders.build_dataset(config)
    _check_fits(model, dataset, config)
    loss = task_lib.task_of(dataset, probabilities=_gives_probabilities(model)).loss
    moment = _moment(config, model, loss, dataset, step)
    name, out = _name(flags.FLAGS.model), _out(flags.FLAGS.model)
    after = f", after {step:,} steps" if os.path.isdir(flags.FLAGS.model) else ""
    print(
        f"{name}, {model.count_params():,} parameters{after}; batch "
        f"{flags.FLAGS.batch} of {config.batch_size} examples of {config.dataset}\n"
        f"Results: {os.path.abspath(out)}",
        flush=True,
    )
    measured = _measure(config, model, loss, moment, out)
    tables = [diagnosis_tables.of_layers(measured), diagnosis_tables.totals(measured)]
    print("", *(f"{table}\n" for table in tables if table), sep="\n")
    figures = plots.figures({name: records.read_records(out)} if measured else {})
    for path in plots.save(figures, out, flags.FLAGS.format):
        print(path)


def _load(path):
    """`(config, step, model)`: options, steps that the model was trained for."""
    given = flagfiles.given(_OPTIONS)
    if not os.path.isdir(path):
        dataset = given.get("dataset", TrainConfig().dataset)
        network = _NETWORK_FOR.get(dataset, TrainConfig().model)
        return TrainConfig(**given, model=network), 0, _load_model(path)
    path_of = {
        name: os.path.join(path, name)
        for name in (run_directory.FLAGS_FILE, run_directory.MODEL_FILE)
    }
    missing = [name for name, file in path_of.items() if not os.path.isfile(file)]
    if missing:
        raise ValueError(
            f"--model must be a run directory that holds {' and '.join(path_of)}, or a "
            f".keras file. Received: {path}, which has no {missing[0]}. A run writes "
            "its model at the end."
        )
    config = flagfiles.from_file(path_of[run_directory.FLAGS_FILE])
    config = dataclasses.replace(config, **given)
    steps = [r["step"] for r in records.read_records(path)]
    return config, max(steps, default=0), _load_model(path_of[run_directory.MODEL_FILE])


def _load_model(path):
    if not os.path.isfile(path):
        raise ValueError(
            "--model must be a run directory or a .keras file. Received: "
            f"--model={path}, which does not exist."
        )
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # a file can be wrong in as many ways as there are
        raise ValueError(
            "--model must be a file that Keras saved. Received: "
            f"{path}. {_reason(error)}"
        ) from error


def _reason(error):
    """The innermost of the reasons that Keras gives, without the configs beside it."""
    reason = str(error).rpartition("Exception encountered: ")[2].strip()
    return reason.partition("\n")[0].partition(" Full object config: ")[0]


def _gives_probabilities(layer):
    """Whether a model, or the last layer of one, ends in a softmax."""
    if isinstance(layer, keras.Model):
        return bool(layer.layers) and _gives_probabilities(layer.layers[-1])
    softmax = keras.activations.softmax
    return (
        isinstance(layer, keras.layers.Softmax)
        or getattr(layer, "activation", None) is softmax
    )


def _check_fits(model, dataset, config):
    """Raises a ValueError unless the model makes of the inputs what the data ask for.

    Losses would broadcast what does not fit, or fail with messages of their own.
    """
    inputs, targets = dataset.train.inputs, dataset.train.targets
    shapes = inputs.shape[1:], (dataset.num_classes or targets.shape[-1],)
    try:
        outputs = model(dataset.standardize(inputs[:1]))
        found = f"makes outputs of {tuple(outputs.shape[1:])}"
    except Exception:  # whatever a model may raise
        found = f"takes inputs of shape {getattr(model, 'input_shape', 'unknown')}"
    if found != f"makes outputs of {shapes[1]}":
        raise ValueError(
            f"--model must make outputs of shape {shapes[1]} of inputs of shape "
            f"{shapes[0]}, as --dataset={config.dataset} asks for. Received: a model "
            f"that {found}."
        )


def _moment(config, model, loss, dataset, step):
    """The model's state, and that after a step of SGD on the batch."""
    indices = builders.build_batches(config, dataset).indices(flags.FLAGS.batch)
    x = dataset.standardize(dataset.train.inputs[indices])
    y = tf.constant(dataset.train.targets[indices])
    state = diagnostics.snapshot(model)
    gradients = diagnostics.LossFunction(model, loss).gradients(*state, x, y)
    updated = [
        p - config.learning_rate * g
        for p, g in zip(state.parameters, gradients, strict=True)
    ]
    return instruments.Moment(
        step=step,
        before=state,
        after=diagnostics.State(updated, state.buffers),
        batch=(x, y),
        next_batch=None,
        probe=(x, y),
        learning_rate=config.learning_rate,
    )


def _measure(config, model, loss, moment, out):
    """A dict from kind to values; each is written as soon as it is there."""
    measured = {}
    makers = _makers(config, model, loss)
    with records.RecordWriter(out) as writer:
        for name in flags.FLAGS.measure:
            begin = time.perf_counter()
            found = makers[name]().measure(moment)
            if name == "theory" and not found["theory"]["layers"]:
                print("theory: no layer normalises by the batch alone; left out")
                continue
            for kind, values in found.items():
                writer.write(kind, moment.step, **values)
            measured |= found
            print(f"{name}: {time.perf_counter() - begin:.1f} s", flush=True)
    return measured


def _makers(config, model, loss):
    of_runs = watching.makers(config, model, loss)
    radius, points = flags.FLAGS.surface_radius, flags.FLAGS.surface_points
    surface = functools.partial(
        instruments.surface, model, loss, radii=np.linspace(-radius, radius, points)
    )
    return of_runs | {
        # The moment's update is a step of SGD, whatever the run's optimizer is.
        "ics": functools.partial(of_runs["ics"], update="optimizer"),
        "activations": functools.partial(of_runs["activations"], drift=False),
        "surface": surface,
        "surface_2d": functools.partial(surface, dimensions=2),
    }


def _name(path):
    """What the network is called: as its folder, or as its file."""
    return os.path.splitext(os.path.basename(os.path.abspath(path)))[0]


def _out(path):
    """Makes the folder: `--out`, or a new one in a run directory or beside a file."""
    out = flags.FLAGS.out
    if not out:
        base = os.path.join(path, "diagnosis") if os.path.isdir(path) else None
        out = run_directory.unused(base or f"{os.path.splitext(path)[0]}_diagnosis")
    if os.path.exists(os.path.join(out, records.FILE_NAME)):
        raise ValueError(
            f"--out must not hold records already. Received: --out={out}. Choose "
            "another folder."
        )
    os.makedirs(out, exist_ok=True)
    return out


if __name__ == "__main__":
    define()
    cli.run(main, prepare=flagfiles.expand_flagfiles)
