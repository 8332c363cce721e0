"""The trainer of a `TrainConfig`."""

import contextlib
import datetime
import os

import keras
import tensorflow as tf

from tfbn import data
from tfbn.experiment import builders
from tfbn.experiment import config as config_lib
from tfbn.experiment import task as task_lib
from tfbn.recording import watching
from tfbn.training import Setting
from tfbn.training import Trainer
from tfbn.training import TrainingModeEvaluation
from tfbn.training import arguments
from tfbn.training import run_directory

_DIAGNOSTICS = {
    "ics": ("update",),
    "landscape": ("low", "high", "points", "directions"),
    "activations": ("unit",),
    "curvature": ("iterations", "per_layer"),
    "theory": (),
    "replication": ("convolutions",),
}
_MOST_BATCHES = 40


def build_trainer(
    config: config_lib.TrainConfig, dataset: data.Dataset | None = None
) -> Trainer:
    """Builds what a `TrainConfig` names, and the trainer of it.

    Sets Keras's global random seed and, with `deterministic=True`, TensorFlow's
    deterministic kernels for the whole process.

    Args:
        config: the options of the run.
        dataset: the data set that the config names, if it is loaded already.

    Raises:
        ValueError: if `config` is no `TrainConfig`, the run directory cannot be used,
            the data cannot be loaded, or a batch size does not fit the data.
        MemoryError: if the network, or a step on a CPU, certainly does not fit.
    """
    if not isinstance(config, config_lib.TrainConfig):
        raise ValueError(f"config must be a TrainConfig. Received: config={config!r}.")
    run_dir, settings = config.run_dir or _new_run_dir(config), _settings(config)
    run_directory.check(run_dir, settings)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    if dataset is None:
        dataset = builders.build_dataset(config)
    sampler = builders.build_batches(config, dataset)
    task = task_lib.task_of(dataset)
    optimizer = builders.build_optimizer(config)
    jit_compile = {"auto": "auto", "on": True, "off": False}[config.jit_compile]
    with _network_memory(), _dtype_policy(config.dtype_policy):
        model = builders.build_model(config, dataset)
        watches = _watches(config, model, task, dataset, jit_compile)
    train, test = dataset.train, dataset.test
    return Trainer(
        model,
        optimizer,
        task.keras_loss(),
        data.ArrayBatches(
            train.inputs, train.targets, sampler, transform=dataset.standardize
        ),
        run_dir=run_dir,
        train_steps=config.train_steps,
        metrics=task.keras_metrics(),
        validation_data=data.Arrays(
            test.inputs, test.targets, transform=dataset.standardize
        ),
        validation_batch_size=config.eval_batch_size,
        validation_freq=config.eval_every,
        evaluations=_evaluations(config, model, task, dataset),
        steps_per_execution=config.steps_per_execution,
        jit_compile=jit_compile,
        on_nonfinite=config.on_nonfinite,
        diagnostics=watches,
        log_freq=config.log_every,
        checkpoint_freq=config.checkpoint_every,
        checkpoint_minutes=config.checkpoint_minutes,
        max_to_keep=config.checkpoints_kept,
        settings=settings,
        progress=config.progress,
    )


def _new_run_dir(config):
    now = datetime.datetime.now()
    name = f"{config.dataset}_{config.model}_{config.norm}_{now:%Y%m%d-%H%M%S}"
    return run_directory.unused(os.path.join("runs", name))


def _settings(config):
    def text(flags):
        return dict(flag.removeprefix("--").split("=", 1) for flag in flags)

    values = text(config_lib.to_flags(config, without=("run_dir",)))
    defaults = text(config_lib.to_flags(config_lib.TrainConfig()))
    return [
        Setting(name, value, defaults[name], name not in config_lib.WITHOUT_EFFECT)
        for name, value in values.items()
    ]


def _watches(config, model, task, dataset, jit_compile):
    options = {
        name: {option: getattr(config, f"{name}_{option}") for option in names}
        for name, names in _DIAGNOSTICS.items()
    }
    options["landscape"]["num"] = options["landscape"].pop("points")
    convolutions = options["replication"].pop("convolutions")
    options["replication"]["layers"] = [f"conv{i}" for i in convolutions]
    return watching.watches(
        {name: getattr(config, f"{name}_every") for name in _DIAGNOSTICS},
        model,
        task.loss,
        options=options,
        spacing=config.diagnostics_spacing,
        jit_compile=arguments.uses_xla(jit_compile),
        # Another one of the same kind: its weights are drawn after those of the run.
        second_model=lambda: builders.build_model(config, dataset),
    )


def _evaluations(config, model, task, dataset):
    if not config.eval_in_training_mode:
        return {}
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
    evaluation = TrainingModeEvaluation(
        model,
        task.keras_loss(),
        data.ArrayBatches(
            test.inputs, test.targets, sampler, transform=dataset.standardize
        ),
        min(_MOST_BATCHES, max(1, len(test) // size)),
        metrics=task.keras_metrics(),
    )
    return {"eval_training_mode": evaluation}


@contextlib.contextmanager
def _network_memory():
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise MemoryError(
            "the network does not fit into memory. Lower --width, or take another "
            "network or half precision (--dtype_policy)."
        ) from error


@contextlib.contextmanager
def _dtype_policy(name):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(previous)
