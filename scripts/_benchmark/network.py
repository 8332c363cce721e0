"""Time of one training step of VGG-A with each normalisation."""

import keras
from _benchmark import candidates
from _benchmark import timing

import tfbn
from tfbn import dtype_policies
from tfbn.data import ArrayBatches
from tfbn.data import IIDBatches
from tfbn.experiment import TrainConfig
from tfbn.experiment import builders
from tfbn.experiment.task import task_of
from tfbn.training.batch_sources import source_of
from tfbn.training.objective import Objective
from tfbn.training.step import Steps

NONE = "none"
NORMS = {
    NONE: None,
    "tfbn_bn": tfbn.BatchNorm,
    "tfbn_renorm": tfbn.BatchRenorm,
    "keras_bn": keras.layers.BatchNormalization,
}


def measure(dtypes, *, batch_size, width, rounds, seed, progress):
    """Returns a row for each dtype: times of a step with each norm, see `summary`."""
    rows = []
    for dtype in dtypes:
        steps = {}
        for norm in NORMS:
            progress(f"network: {dtype}, {norm}")
            steps[norm] = training_step(
                norm, dtype, batch_size=batch_size, width=width, seed=seed
            )
        progress(f"network: {dtype}, {rounds} rounds")
        seconds = timing.interleaved(steps, rounds=rounds, seed=seed)
        rows.append({"dtype": dtype, **summary(seconds)})
    return rows


def summary(seconds):
    """Returns the medians, and the percentages over no normalisation with quartiles."""
    return {
        "ms": timing.median_ms(seconds),
        "percent_over_none": {
            norm: _percent_over(timing.ratio(values, seconds[NONE]))
            for norm, values in seconds.items()
            if norm != NONE
        },
    }


def training_step(norm, dtype, *, batch_size, width, seed):
    """Builds a model and its data, and returns a function that makes a step of SGD.

    Args:
        norm: one of `NORMS`.
        dtype: str, what the model computes in.
        batch_size: int, images of 32x32x3.
        width: float, multiplies VGG's channels.
        seed: int, of weights and images.
    """
    config = TrainConfig(
        dataset="shapes",
        dtype_policy=candidates.policy(dtype),
        learning_rate=0.01,
        width=width,
    )
    keras.utils.set_random_seed(seed)
    dataset = tfbn.data.shapes(num_train=batch_size, num_test=1, seed=seed)
    model = _vgg(config, norm, dataset)
    batches = ArrayBatches(
        dataset.train.inputs,
        dataset.train.targets,
        IIDBatches(batch_size, batch_size, seed),
        transform=dataset.standardize,
    )
    task, source = task_of(dataset), source_of(batches)
    objective = Objective(model, task.loss, task.metrics, *source.spec)
    steps = Steps(model, builders.build_optimizer(config, model), objective, source)
    return lambda: steps.run(0, 1)


def _vgg(config, norm, dataset):
    """Returns the network of train.py, which has no names for the norms of Keras."""
    with dtype_policies.default(config.dtype_policy):
        return tfbn.models.vgg(
            config.vgg_depth,
            width=config.width,
            norm=NORMS[norm],
            num_classes=dataset.num_classes,
            input_shape=dataset.input_shape,
        )


def _percent_over(ratio):
    return {
        "median": 100.0 * (ratio["median"] - 1.0),
        "quartiles": [100.0 * (q - 1.0) for q in ratio["quartiles"]],
    }
