"""Measures a trained network on a batch, prints tables and draws figures.

Usage: python scripts/diagnose.py --model=PATH [flags]   (installed: tfbn-diagnose)

PATH is a run directory of scripts/train.py, whose data and batches are used, or a model
saved by Keras (.keras), for which --dataset names the data. Inputs are standardised as
in training. Neither is changed, and no code from a file is run: a file with Lambda
layers, or with layers that neither Keras nor tfbn knows, is refused. --measure chooses
from:

{diagnostics}

Example: python scripts/diagnose.py --model=runs/vgg_bn --measure=ics,landscape
"""

import dataclasses
import os

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow
import tensorflow as tf
from absl import flags

import tfbn
from tfbn import _diagnose
from tfbn import plots
from tfbn.commands import cli
from tfbn.commands import flagfiles
from tfbn.commands import list_flags
from tfbn.diagnostics import registry
from tfbn.experiment import TrainConfig
from tfbn.experiment import builders
from tfbn.experiment import config as config_lib
from tfbn.experiment import load_model
from tfbn.experiment import model_files
from tfbn.experiment import task as task_lib
from tfbn.recording import records
from tfbn.training import run_directory

__doc__ = __doc__.format(
    diagnostics="\n".join(f"  {n:11} {registry[n].title}" for n in _diagnose.NAMES)
)

# The options of the diagnostics, by their flags.
_MEASURING = {
    flag: option
    for name in _diagnose.NAMES
    for flag, option in registry[name].flags.items()
}

# Options of a run: those that choose the batch, and how runs measure.
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
    *(n for n in config_lib.OPTIONS if n in _MEASURING),
)


def define():
    """Defines the flags."""
    flags.DEFINE_string("model", None, "Run directory, or .keras file.", required=True)
    list_flags.define_names(
        "measure", list(_diagnose.DEFAULT_NAMES), _diagnose.NAMES, "What to measure."
    )
    flags.DEFINE_string(
        "out", None, "Folder for the results. Default: a new one beside the model."
    )
    flags.DEFINE_integer(
        "batch", 0, "Which of the training batches is measured.", lower_bound=0
    )
    flags.DEFINE_enum("format", "png", plots.FILE_FORMATS, "Format of the figures.")
    flagfiles.define(_OPTIONS)
    for name, option in _MEASURING.items():
        if name not in _OPTIONS:
            define_flag = {float: flags.DEFINE_float, int: flags.DEFINE_integer}
            define_flag[option.type](name, option.default, option.help)
            flags.register_validator(name, _checker(name, option))


def _checker(name, option):
    """Returns the validator of an option's flag."""

    def check(value):
        try:
            dataclasses.replace(option, name=name).checked(value)
        except ValueError as error:
            raise flags.ValidationError(str(error)) from error
        return True

    return check


def main(argv):
    """Measures, prints, and writes records and figures."""
    cli.refuse_arguments(argv)
    config, step, model = _load(flags.FLAGS.model)
    options = _measuring_options(config)
    dataset = builders.build_dataset(config)
    model_files.check_fits(model, dataset)
    x, y = _batch(config, dataset)
    name, out = _name(flags.FLAGS.model), _out(flags.FLAGS.model)
    after = f", after {step:,} steps" if os.path.isdir(flags.FLAGS.model) else ""
    print(
        f"{name}, {model.count_params():,} parameters{after}; batch "
        f"{flags.FLAGS.batch} of {config.batch_size} examples of {config.dataset}\n"
        f"Results: {os.path.abspath(out)}",
        flush=True,
    )
    found = tfbn.diagnose(
        model,
        x,
        y,
        loss=_loss(model, dataset),
        diagnostics=flags.FLAGS.measure,
        learning_rate=config.learning_rate,
        options=options,
        step=step,
        run_dir=out,
        verbose=True,
    )
    print(f"\n{found}\n")
    figures = plots.figures({name: found.records})
    for path in plots.save(figures, out, flags.FLAGS.format):
        print(path)


def _loss(model, dataset):
    probabilities = model_files.gives_probabilities(model)
    return task_lib.task_of(dataset, probabilities=probabilities).loss


def _measuring_options(config):
    """Returns the options of the diagnostics: from the run, or from the flags."""
    values = {
        flag: getattr(config if flag in _OPTIONS else flags.FLAGS, flag)
        for flag in _MEASURING
    }
    return {
        name: {o.name: values[flag] for flag, o in registry[name].flags.items()}
        for name in _diagnose.NAMES
    }


def _batch(config, dataset):
    indices = builders.build_batches(config, dataset).indices(flags.FLAGS.batch)
    x = dataset.standardize(dataset.train.inputs[indices])
    return x, tf.constant(dataset.train.targets[indices])


def _load(path):
    """Returns `(config, step, model)`; `step`: steps that the model was trained for."""
    given = flagfiles.given(_OPTIONS)
    if not os.path.isdir(path):
        if not model_files.is_path(path) or not os.path.isfile(path):
            missing = "" if os.path.isfile(path) else ", which does not exist"
            raise ValueError(
                "--model must be a run directory or a .keras file. Received: "
                f"--model={path}{missing}."
            )
        return TrainConfig(**given, model=path), 0, load_model(path)
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
    return config, max(steps, default=0), load_model(path_of[run_directory.MODEL_FILE])


def _name(path):
    """Returns the name of the network: that of its folder or file."""
    return os.path.splitext(os.path.basename(os.path.abspath(path)))[0]


def _out(path):
    """Makes and returns the folder: `--out`, or a new one beside the model."""
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
