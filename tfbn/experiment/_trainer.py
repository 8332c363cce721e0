"""The trainer of a `TrainConfig`."""

import contextlib
import datetime
import os
from typing import Any

import keras
import tensorflow as tf

from tfbn import data
from tfbn import dtype_policies
from tfbn import validation
from tfbn.experiment import builders
from tfbn.experiment import config as config_lib
from tfbn.experiment import model_files
from tfbn.experiment import strategies
from tfbn.experiment import watching_options
from tfbn.experiment.config import TrainConfig
from tfbn.experiment.task import task_of
from tfbn.recording import watching
from tfbn.training import RecalibratedEvaluation
from tfbn.training import Setting
from tfbn.training import Trainer
from tfbn.training import TrainingModeEvaluation
from tfbn.training import arguments
from tfbn.training import processes
from tfbn.training import progress
from tfbn.training import run_directory

_MOST_BATCHES = 40
_JIT_COMPILE: dict[str, bool | str] = {"auto": "auto", "on": True, "off": False}


def build_trainer(config: TrainConfig, dataset: data.Dataset | None = None) -> Trainer:
    """Builds the trainer of a run, and all that it needs, from the run's options.

    Splits the CPU, if the config says so, for which TensorFlow must not have started.
    Sets Keras's global random seed and, with `deterministic=True`, TensorFlow's
    deterministic kernels for the whole process.

    Args:
        config: the options of the run.
        dataset: the data set that the config names, if it is loaded already.

    Raises:
        ValueError: if `config` is not a `TrainConfig`, the run directory cannot be
            used, the data cannot be loaded, or model, data and batches do not fit
            together.
        MemoryError: if the network, or a step on a CPU, certainly does not fit.
    """
    if not isinstance(config, TrainConfig):
        raise ValueError(
            "config must be a TrainConfig. Received: "
            f"config={validation.shown(config)}."
        )
    strategy = builders.build_strategy(config)
    # To make a variable is to send it to the other processes.
    with processes.one_line_errors(strategy):
        return _build_trainer(config, dataset, strategy)


def _build_trainer(config, dataset, strategy):
    run_dir, settings = config.run_dir or _new_run_dir(config), _settings(config)
    if processes.is_chief(strategy):
        run_directory.check(run_dir, settings)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    say = progress.announce if config.progress else (lambda text: None)
    if dataset is None:
        say(f"Reading the data: {config.dataset}.")
        dataset = builders.build_dataset(config)
    validation_data = _validation_data(config, dataset)
    sampler = builders.build_batches(config, dataset)
    jit_compile = _JIT_COMPILE[config.jit_compile]
    say(f"Building the network: {config.model}.")
    with _network_memory(), dtype_policies.default(config.dtype_policy):
        with strategies.scope(strategy):
            model = builders.build_model(config, dataset)
            optimizer = builders.build_optimizer(config, model)
        probabilities = model_files.gives_probabilities(model)
        task = task_of(dataset, probabilities=probabilities)
        watches = _watches(config, model, task.loss, dataset, jit_compile)
    train_batches = _batches(dataset, dataset.train, sampler)
    return Trainer(
        model,
        optimizer,
        task.loss,
        train_batches,
        run_dir=run_dir,
        metrics=task.metrics,
        validation_data=validation_data,
        evaluations=_evaluations(
            config, model, task, dataset, train_batches, validation_data
        ),
        jit_compile=jit_compile,
        diagnostics=watches,
        settings=settings,
        strategy=strategy,
        **_loop_options(config),
    )


def _loop_options(config) -> dict[str, Any]:
    return {
        "train_steps": config.train_steps,
        "validation_batch_size": config.eval_batch_size,
        "validation_freq": config.eval_every,
        "steps_per_execution": config.steps_per_execution,
        "on_nonfinite": config.on_nonfinite,
        "log_freq": config.log_every,
        "checkpoint_freq": config.checkpoint_every,
        "checkpoint_minutes": config.checkpoint_minutes,
        "max_to_keep": config.checkpoints_kept,
        "progress": config.progress,
    }


def _new_run_dir(config):
    names = [os.path.basename(n) for n in (config.dataset, config.model)]
    parts = [os.path.splitext(name)[0] for name in names]
    if config.takes("norm"):
        parts.append(config.norm)
    parts.append(f"{datetime.datetime.now():%Y%m%d-%H%M%S}")
    return run_directory.unused(os.path.join("runs", "_".join(parts)))


def _settings(config):
    """The options that apply, for the run's flags.cfg."""
    settings = []
    for flag in config_lib.to_flags(config, without=("run_dir",)):
        name, _, value = flag.removeprefix("--").partition("=")
        option = config_lib.OPTIONS[name]
        default = option.text(option.default)
        settings.append(Setting(name, value, default, option.affects_results))
    return settings


def _validation_data(config, dataset):
    test = dataset.test
    if test is None:
        raise ValueError(
            "dataset must have a test split to train on: x_test and y_test. Received: "
            f"dataset={config.dataset}."
        )
    return data.Arrays(test.inputs, test.targets, transform=dataset.standardize)


def _batches(dataset, split, sampler):
    return data.ArrayBatches(
        split.inputs, split.targets, sampler, transform=dataset.standardize
    )


def _watches(config, model, loss, dataset, jit_compile):
    return watching.watches(
        watching_options.every(config),
        model,
        loss,
        options=watching_options.chosen(config),
        spacing=config.diagnostics_spacing,
        jit_compile=arguments.uses_xla(jit_compile),
        # Its weights are drawn after those of the run.
        second_model=lambda: builders.build_model(config, dataset),
    )


def _evaluations(config, model, task, dataset, train_batches, validation_data):
    evaluations = {}
    if config.eval_in_training_mode:
        evaluations["eval_training_mode"] = _in_training_mode(
            config, model, task, dataset
        )
    if config.recalibration_batches:
        evaluations["eval_recalibrated"] = RecalibratedEvaluation(
            model,
            task.loss,
            train_batches,
            config.recalibration_batches,
            validation_data,
            validation_batch_size=config.eval_batch_size,
            metrics=task.metrics,
        )
    return evaluations


def _in_training_mode(config, model, task, dataset):
    test, size = dataset.test, config.training_mode_batch_size
    try:
        sampler = data.make_batches(
            config.sampling,
            test,
            batch_size=size,
            seed=config.seed,
            images_per_label=config.images_per_label,
            steps_per_domain=1,  # there may be fewer batches than steps_per_domain
        )
    except ValueError as error:
        raise ValueError(
            "training_mode_batch_size must be one that batches of the test split can "
            f"have. Received: training_mode_batch_size={size}. In them, {error}"
        ) from error
    return TrainingModeEvaluation(
        model,
        task.loss,
        _batches(dataset, test, sampler),
        min(_MOST_BATCHES, max(1, len(test) // size)),
        metrics=task.metrics,
    )


@contextlib.contextmanager
def _network_memory():
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(
            "the network does not fit into memory. Lower --width, or take another "
            "network or half precision (--dtype_policy)."
        ) from error
