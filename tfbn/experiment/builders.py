"""What a `TrainConfig` names: layers, model, optimizer, data, batches."""

import functools

import keras

from tfbn import data
from tfbn import diagnostics
from tfbn import layers
from tfbn import models
from tfbn import schedules
from tfbn.recording import watching


def build_norm(config):
    """The callable that makes the run's normalisation layers, or None."""
    options = {
        "momentum": config.norm_momentum,
        "epsilon": config.norm_epsilon,
        "virtual_batch_size": config.virtual_batch_size or None,
    }
    lp = functools.partial(layers.LpBatchNorm, **options)
    factories = {
        "none": None,
        "batch_norm": functools.partial(layers.BatchNorm, **options),
        "batch_renorm": functools.partial(
            layers.BatchRenorm, **options, **_renorm_bounds(config)
        ),
        "noisy_batch_norm": functools.partial(layers.NoisyBatchNorm, **options),
        "noise_only": layers.ActivationNoise,
        "l1": functools.partial(lp, order=1),
        "l2": functools.partial(lp, order=2),
        "linf": functools.partial(lp, order="inf"),
    }
    return factories[config.norm]


def build_model(config, dataset):
    """The run's network, built for the shapes of `dataset`."""
    model = _network(config, dataset)
    if config.kernel_scale != 1.0:
        for variable in model.trainable_variables:
            if variable.name == "kernel":
                variable.assign(config.kernel_scale * variable)
    return model


def _network(config, dataset):
    kernel = {
        "kernel_initializer": config.kernel_initializer,
        "l2_penalty": config.l2_penalty,
    }
    norm = build_norm(config)
    if config.model == "deep_linear":
        units = dataset.input_shape[-1]
        return models.deep_linear(config.linear_depth, units, norm=norm, **kernel)
    images = {
        "norm": norm,
        "num_classes": dataset.num_classes,
        "input_shape": dataset.input_shape,
    }
    if config.activation != "default":
        images["activation"] = config.activation
    if config.model == "mlp":
        return models.mlp(**images, **kernel)
    return models.vgg(
        config.vgg_depth,
        width=config.width,
        norm_after=config.norm_after or None,
        classifier_grid=config.classifier_grid or None,
        hidden_units=config.hidden_units,
        dropout=config.dropout,
        **images,
        **kernel,
    )


def build_optimizer(config):
    """The run's optimizer, with loss scaling under mixed_float16."""
    learning_rate = build_learning_rate(config)
    momentum = config.optimizer_momentum
    factories = {
        "sgd": keras.optimizers.SGD,
        "momentum": functools.partial(keras.optimizers.SGD, momentum=momentum),
        "adam": keras.optimizers.Adam,
        "rmsprop": keras.optimizers.RMSprop,
    }
    optimizer = factories[config.optimizer](learning_rate)
    if config.dtype_policy == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def build_learning_rate(config):
    """The learning rate: a float or a keras schedule."""
    if config.learning_rate_schedule == "cosine":
        return keras.optimizers.schedules.CosineDecay(
            config.learning_rate, config.train_steps
        )
    if config.learning_rate_schedule == "step":
        boundaries = sorted(config.learning_rate_boundaries)
        rates = [config.learning_rate * 0.1**i for i in range(len(boundaries) + 1)]
        return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)
    return config.learning_rate


def build_dataset(config):
    """The run's data set, in memory."""
    return data.load(
        config.dataset, data_dir=config.data_dir or None, seed=config.data_seed
    )


def build_batches(config, dataset):
    """The run's batches: `.indices(step)` into the training split."""
    return data.make_batches(
        config.sampling,
        dataset.train,
        batch_size=config.batch_size,
        seed=config.seed,
        images_per_label=config.images_per_label,
        steps_per_domain=config.steps_per_domain,
    )


def build_watches(config, model, loss, dataset, *, jit_compile):
    """The run's diagnostics, a list of `Watch`."""
    every, options = {}, {}
    for name, diagnostic in diagnostics.registry.items():
        every[name] = getattr(config, f"{name}_every", 0)
        if every[name]:
            options[name] = {
                option.name: getattr(config, flag)
                for flag, option in diagnostic.flags.items()
            }
    return watching.watches(
        every,
        model,
        loss,
        options=options,
        spacing=config.diagnostics_spacing,
        jit_compile=jit_compile,
        second_model=lambda: build_model(config, dataset),
    )


def _renorm_bounds(config):
    if config.renorm_schedule == "constant":
        return {"rmax": config.rmax, "dmax": config.dmax}
    steps = config.train_steps if config.renorm_schedule == "scaled" else None
    rmax, dmax = schedules.ioffe_2017(steps)
    return {
        "rmax": _with_final_value(rmax, config.rmax),
        "dmax": _with_final_value(dmax, config.dmax),
    }


def _with_final_value(ramp, final_value):
    return schedules.LinearRamp(
        ramp.initial_value, final_value, ramp.begin_step, ramp.end_step
    )
