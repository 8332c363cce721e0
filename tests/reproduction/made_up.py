"""Records of runs that nobody trained, and results that claims are tried on."""

import numpy as np

from tfbn.reproduction import plan
from tfbn.reproduction.measures import Measure
from tfbn.reproduction.results import Results

_POINTS = 10  # records of each kind

NUMBER = Measure("number", lambda records: records[0]["number"])


def numbers(scale="cpu", **numbers):
    """One run a seed for each label, of which nothing is known but a number."""
    runs = {
        label: [[{"step": 1, "kind": "train", "number": number}] for number in seeds]
        for label, seeds in numbers.items()
    }
    return Results(scale, runs)


def study(name, experiment, scale):
    """The `Study` of an experiment, in folders that are not there."""
    return plan.study(name, experiment, scale, out="out", data_dir="")


def results(experiment, scale, **options):
    """`Results` of all runs of an experiment: what its archive keeps of them.

    `options` are those of `records`.
    """
    runs, seeds = {}, {}
    for run in study("", experiment, scale).runs:
        made = records(run.config, **options)
        kept = [record for record in made if record["kind"] in experiment.kinds]
        if run.label not in experiment.histograms:
            kept = [_without_histograms(record) for record in kept]
        runs.setdefault(run.label, []).append(kept)
        seeds.setdefault(run.label, []).append(run.config.seed)
    return Results(scale, runs, seeds=seeds)


def _without_histograms(record):
    if "layers" not in record:
        return record
    layers = [
        {k: v for k, v in layer.items() if k != "histogram"}
        for layer in record["layers"]
    ]
    return record | {"layers": layers}


def records(config, *, diverges=False):
    """Records of all kinds that a run of this `TrainConfig` writes.

    It trains better the further it is; with `diverges` no number of its second half is
    finite.
    """
    rng = np.random.default_rng([config.seed, len(config.norm)])
    steps = {config.train_steps * i // _POINTS for i in range(1, _POINTS + 1)}
    made = []
    for step in sorted(steps):
        progress = step / config.train_steps
        size = np.exp(0.1 * rng.normal())
        if diverges and progress > 0.5:
            size = np.nan
        for kind, values in _values(config, progress, size).items():
            made.append({"step": step, "kind": kind, **values})
    return made


def _values(config, progress, size):
    """Kind of record -> its values."""
    made = {"train": _fit(progress, size), "eval": _fit(0.9 * progress, size)}
    if config.norm == "batch_renorm":
        made["train"] |= {"rmax": 1.0 + 2.0 * progress, "dmax": 5.0 * progress}
    if config.eval_in_training_mode:
        made["eval_training_mode"] = _fit(0.95 * progress, size)
    if config.recalibration_batches:
        made["eval_recalibrated"] = _fit(0.97 * progress, size)
    of_layer = {"ics": _shift, "activations": _moments, "replication": _replication}
    for kind, of in of_layer.items():
        if getattr(config, f"{kind}_every"):
            entries = [of(progress, size * (1 + i)) for i in range(_depth(config))]
            if kind == "ics" and config.ics_kernels:
                entries = [
                    e | {f"kernel_{k}": v for k, v in e.items()} for e in entries
                ]
            layers = [
                {"name": f"dense{i}", **entry}
                for i, entry in enumerate(entries, start=1)
            ]
            made[kind] = {"layers": layers}
    if config.landscape_every:
        made["landscape"] = _landscape(progress, size, config.learning_rate)
    return made


def _depth(config):
    """The number of layers with weights."""
    if config.model == "vgg":
        return {"A": 9, "D": 14}.get(config.vgg_depth, 11)
    return config.linear_depth if config.model == "deep_linear" else 4


def _fit(progress, size):
    return {
        "loss": 2.3 * np.exp(-2.0 * progress) * size,
        "accuracy": 0.1 if np.isnan(size) else 0.1 + 0.8 * progress,
    }


def _shift(progress, size):
    cosine = 0.9 - 0.5 * progress * size / (1 + size)
    return {"distance": size, "cosine": cosine, "norm": 2.0 * size}


def _moments(progress, size):
    edges = np.linspace(-3, 3, 9) * size + progress
    return {
        "mean": progress * size,
        "variance": size**2,
        "mean_change": 0.01 * size,
        "mean_drift": progress * size,
        "variance_drift": progress * size**2,
        "percentiles": [progress - size, progress, progress + size],
        "histogram": {
            "edges": edges.tolist(),
            "counts": [0, 1, 4, 9, 8, 5, 1, 1],
        },
    }


def _replication(progress, size):
    names = ("distance", "distance_faulty", "gradient_sum", "gradient_change")
    values = {name: size * (i + 1) for i, name in enumerate(names)}
    return values | {"cosine": 0.7 + 0.2 * progress, "cosine_faulty": -0.05 * size}


def _landscape(progress, size, learning_rate):
    sizes = np.geomspace(0.5, 4.0, 4) * learning_rate
    return {
        "learning_rate": learning_rate,
        "loss": 2.3 * np.exp(-2.0 * progress),
        "gradient_norm": size,
        "step_sizes": sizes.tolist(),
        "losses": (size * (1.0 + sizes)).tolist(),
        "gradient_distances": (size * sizes).tolist(),
        "beta": 2.0 * size / learning_rate,
        "local_linearity": size,
    }
