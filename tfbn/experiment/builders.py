"""What a `TrainConfig` names: layers, model, optimizer, data, batches."""

import keras
import tensorflow as tf

from tfbn import data
from tfbn import environment
from tfbn.data.samplers import SAMPLERS
from tfbn.diagnostics.layer_calls import all_layers
from tfbn.experiment import config as config_lib
from tfbn.experiment import model_files
from tfbn.experiment.config import TrainConfig
from tfbn.experiment.model_options import defaults_of
from tfbn.experiment.norm import NormFactory
from tfbn.experiment.norms import NORMS
from tfbn.experiment.optimisation_options import LEARNING_RATE_SCHEDULES
from tfbn.experiment.optimisation_options import OPTIMIZERS
from tfbn.experiment.strategies import STRATEGIES
from tfbn.layers.synchronization import synchronize
from tfbn.models.registry import NETWORKS


def build_strategy(config: TrainConfig) -> tf.distribute.Strategy | None:
    """The run's strategy; to be called before TensorFlow starts.

    Raises:
        ValueError: if it cannot be had on this machine, or it is too late.
    """
    entry = STRATEGIES[config.strategy]
    flags = config_lib.to_flags(config, without=_OF_A_MACHINE)
    settings = dict(flag.split("=", 1) for flag in flags)
    versions = environment.versions()
    settings |= {name: str(versions[name]) for name in _SAME_VERSIONS}
    return entry.build(settings, **config.taken(entry.options))


# What the processes of a run may choose by themselves.
_OF_A_MACHINE = ("data_dir", "lost_after_seconds", "meeting_minutes", "progress")
# Others round differently, or send other messages than the rest waits for.
_SAME_VERSIONS = ("tfbn", "tensorflow", "keras")


def build_norm(config: TrainConfig) -> NormFactory | None:
    """The callable that makes the run's normalisation layers, or None."""
    norm = NORMS[config.norm]
    return norm.build(config.train_steps, **config.taken(norm.options))


def build_model(config: TrainConfig, dataset: data.Dataset) -> keras.Model:
    """The run's network: built for the data, or loaded.

    Raises:
        ValueError: if the network does not fit the data.
    """
    model = _built_or_loaded(config, dataset)
    return synchronize(model) if config.synchronized else model


def _built_or_loaded(config, dataset):
    if model_files.is_path(config.model):
        model = model_files.load_model(config.model)
        model_files.check_fits(model, dataset)
        return model
    model = _built(config, dataset)
    if config.kernel_scale != 1.0:
        for variable in model.trainable_variables:
            if variable.name in ("kernel", "gain"):  # of weight normalisation
                variable.assign(config.kernel_scale * variable)
    return model


def _built(config, dataset):
    network = NETWORKS[config.model]
    task = "regression" if dataset.num_classes is None else "classification"
    shape, size = dataset.input_shape, dataset.num_outputs
    if network.task != task or not network.fits(shape, size):
        raise ValueError(
            f"model={config.model} needs a data set of {network.needs}. Received: "
            f"model={config.model}, dataset={config.dataset}: a {task} of inputs of "
            f"shape {shape} with {size} outputs."
        )
    options = config.taken(network.options)
    defaults = defaults_of(config.model)
    options |= {n: v for n, v in defaults.items() if options[n] == "default"}
    return network.build(
        norm=build_norm(config), input_shape=shape, num_outputs=size, **options
    )


def build_optimizer(
    config: TrainConfig, model: keras.Model
) -> keras.optimizers.Optimizer:
    """The run's optimizer, with loss scaling if the model computes in float16."""
    entry = OPTIMIZERS[config.optimizer]
    learning_rate = build_learning_rate(config)
    optimizer = entry.build(learning_rate, **config.taken(entry.options))
    if any(layer.compute_dtype == "float16" for layer in all_layers(model)):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def build_learning_rate(
    config: TrainConfig,
) -> float | keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate: a float or a Keras schedule."""
    entry = LEARNING_RATE_SCHEDULES[config.learning_rate_schedule]
    options = config.taken(entry.options)
    return entry.build(config.learning_rate, config.train_steps, **options)


def build_dataset(config: TrainConfig) -> data.Dataset:
    """The run's data set, in memory."""
    return data.load(
        config.dataset, data_dir=config.data_dir or None, seed=config.data_seed
    )


def build_batches(config: TrainConfig, dataset: data.Dataset):
    """The run's batches: `.indices(step)` into the training split."""
    sampler = SAMPLERS[config.sampling]
    options = config.taken(sampler.options)
    return sampler.build(dataset.train, config.batch_size, config.seed, **options)
