"""Measures a trained network on a batch, prints a table and draws figures.

Usage: python scripts/diagnose.py --model=PATH [flags]

PATH is a run directory of scripts/train.py, whose data and batches are taken, or a
model that Keras saved (.keras), for which --dataset names the data; inputs are
standardised as train.py does. Neither is changed. These are measured, by default all
but the surfaces:

  ics          internal covariate shift of a step of SGD, layer by layer
  landscape    loss, gradient predictiveness, effective beta along the gradient
  activations  moments and percentiles of each layer's activations
  curvature    the largest eigenvalue and the spectrum of the Hessian
  theory       theorem 4.1 and the gradient identities, in batch normalisation layers
  surface      the loss along a random filter-normalised direction
  surface_2d   the same along two

Example: python scripts/diagnose.py --model=runs/vgg_bn --measure=ics,landscape
"""

import dataclasses
import os
import time

import _cli
import _flags
import _list_flags
import _tables
import keras
import numpy as np
import tensorflow as tf
from absl import flags

from tfbn import diagnostics
from tfbn import plots
from tfbn.diagnostics import instruments
from tfbn.diagnostics import records
from tfbn.training import TrainConfig
from tfbn.training import builders
from tfbn.training import run_directory
from tfbn.training import task as task_lib

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
    _list_flags.define_names(
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
        lower_bound=0.0,
    )
    flags.DEFINE_integer(
        "surface_points", 21, "Surfaces: places along a direction.", lower_bound=2
    )
    _flags.define(_OPTIONS)


def main(argv):
    """Measures, prints, and writes records and figures."""
    _cli.refuse_arguments(argv)
    config, step, model = _load(flags.FLAGS.model)
    dataset = builders.build_dataset(config)
    loss = task_lib.task_of(dataset, probabilities=_gives_probabilities(model)).loss
    moment = _moment(config, model, loss, dataset, step)
    out = _out(flags.FLAGS.model)
    print(
        f"{model.name}, {model.count_params():,} parameters, after {step} steps; batch "
        f"{flags.FLAGS.batch} of {config.batch_size} examples of {config.dataset}\n"
        f"Results: {os.path.abspath(out)}",
        flush=True,
    )
    measured = _measure(config, model, loss, moment, out)
    print(f"\n{_layer_table(measured)}\n\n{_total_table(measured)}\n")
    runs = {model.name: records.read_records(out)}
    for path in plots.save(plots.figures(runs), out, flags.FLAGS.format):
        print(path)


def _load(path):
    """`(config, step, model)`: options, steps that the model was trained for."""
    given = _flags.given(_OPTIONS)
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
    config = _flags.from_file(path_of[run_directory.FLAGS_FILE])
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
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"--model must be a file that Keras saved. Received: {path}. {reason}"
        ) from error


def _gives_probabilities(model):
    last = model.layers[-1]
    softmax = keras.activations.softmax
    return (
        isinstance(last, keras.layers.Softmax)
        or getattr(last, "activation", None) is softmax
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
            for kind, values in makers[name]().measure(moment).items():
                writer.write(kind, moment.step, **values)
                measured[kind] = values
            print(f"{name}: {time.perf_counter() - begin:.1f} s", flush=True)
    return measured


def _makers(config, model, loss):
    radius, points = flags.FLAGS.surface_radius, flags.FLAGS.surface_points
    radii = np.linspace(-radius, radius, points)
    return {
        "ics": lambda: instruments.covariate_shift(model, loss, update="sgd"),
        "landscape": lambda: instruments.landscape(
            model,
            loss,
            low=config.landscape_low,
            high=config.landscape_high,
            num=config.landscape_points,
            directions=config.landscape_directions,
        ),
        "activations": lambda: instruments.activations(
            model, drift=False, unit=config.activations_unit
        ),
        "curvature": lambda: instruments.curvature(
            model,
            loss,
            iterations=config.curvature_iterations,
            per_layer=config.curvature_per_layer,
        ),
        "theory": lambda: instruments.theory(model, loss),
        "surface": lambda: instruments.surface(model, loss, radii=radii),
        "surface_2d": lambda: instruments.surface(
            model, loss, radii=radii, dimensions=2
        ),
    }


# Heading, kind of record and value, of the table of layers and of that of totals.
_LAYER_COLUMNS = (
    ("|G|", "ics", "norm"),
    ("|G - G'|", "ics", "distance"),
    ("cos(G, G')", "ics", "cosine"),
    ("mean", "activations", "mean"),
    ("variance", "activations", "variance"),
    ("eigenvalue", "curvature", "eigenvalue"),
)
_TOTALS = (
    ("loss", "landscape", "loss"),
    ("gradient norm", "landscape", "gradient_norm"),
    ("effective beta", "landscape", "beta"),
    ("local linearity", "landscape", "local_linearity"),
    ("effective beta, random direction", "landscape_random", "beta"),
    ("local linearity, random direction", "landscape_random", "local_linearity"),
    ("largest eigenvalue of the Hessian", "curvature", "eigenvalue"),
    ("smallest eigenvalue found", "curvature", "smallest"),
)


def _layer_table(measured):
    layers = {}
    for heading, kind, name in _LAYER_COLUMNS:
        for layer in measured.get(kind, {}).get("layers", ()):
            if layer.get(name) is not None:
                layers.setdefault(layer["name"], {})[heading] = layer[name]
    headings = [
        h for h, _, _ in _LAYER_COLUMNS if any(h in row for row in layers.values())
    ]
    rows = [
        [name, *(_cell(row.get(heading)) for heading in headings)]
        for name, row in layers.items()
    ]
    return _tables.table(["layer", *headings], rows)


def _total_table(measured):
    rows = [
        [heading, _cell(measured[kind][name])]
        for heading, kind, name in _TOTALS
        if kind in measured
    ]
    errors = [
        la["relative_error"] for la in measured.get("theory", {}).get("layers", ())
    ]
    if errors:
        heading = "theorem 4.1, largest relative error of any layer"
        rows.append([heading, _cell(max(errors))])
    return _tables.table(["of the whole network", "value"], rows)


def _cell(value):
    return _tables.MISSING if value is None else f"{value:.3g}"


def _out(path):
    """`--out`, or a new folder: in a run directory, or beside a file."""
    if flags.FLAGS.out:
        return flags.FLAGS.out
    if os.path.isdir(path):
        return run_directory.unused(os.path.join(path, "diagnosis"))
    return run_directory.unused(f"{os.path.splitext(path)[0]}_diagnosis")


if __name__ == "__main__":
    define()
    _cli.run(main, prepare=_flags.expand_flagfiles)
