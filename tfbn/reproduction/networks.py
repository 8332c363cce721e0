"""The papers' networks, as options of a run at each scale."""

from collections.abc import Iterable
from typing import Any

_ByScale = dict[str, dict[str, Any]]

# Steps between measurements, by scale.
_EVERY_OF_VGG = {
    "smoke": {"ics": 10, "landscape": 10, "activations": 10},
    "cpu": {"ics": 100, "landscape": 50, "activations": 100},
    "paper": {"ics": 100, "landscape": 100, "activations": 100},
}
_EVERY_OF_DEEP_LINEAR = {
    "smoke": {"ics": 10, "landscape": 10},
    "cpu": {"ics": 200, "landscape": 100},
    "paper": {"ics": 100, "landscape": 100},
}
EVERYTHING = ("ics", "landscape", "activations")
GRADIENTS = ("ics", "landscape")

# Stands for the seed of the run. Data that are generated are drawn for each seed, so
# that results are not about one draw; all runs of a seed have the same data.
OF_SEED = object()

# The settings of BatchRenorm that docs/renorm.md advises for short runs.
ADVISED_RENORM: dict[str, Any] = {
    "rmax": 1.5,
    "dmax": 0.5,
    "momentum_warmup": True,
    "drift_correction": True,
}


def vgg(scale: str, *, watch: Iterable[str] = (), **options: Any) -> dict[str, Any]:
    """VGG on images, by plain SGD in batches of 128 (Santurkar, App. A.1).

    The paper says "VGG-like"; the layers in its figures fit the 13 convolutions of
    VGG-16, configuration D. The cpu scale uses configuration A at a quarter of the
    width (see also `narrow_vgg`), the smoke scale dense layers.

    Args:
        scale: str.
        watch: the diagnostics of the run, some of `EVERYTHING`. Experiments share a run
            only if these are equal as well.
        **options: fields of `TrainConfig`.
    """
    at_scale: _ByScale = {
        "smoke": {
            "model": "mlp",
            "dataset": "shapes",
            "batch_size": 32,
            "train_steps": 20,
            "eval_every": 10,
            "norm_momentum": 0.5,
        },
        "cpu": {
            "width": 0.25,
            "train_steps": 2000,
            "eval_every": 250,
            "log_every": 25,
            "norm_momentum": 0.9,
        },
        "paper": {"vgg_depth": "D", "train_steps": 15_000, "log_every": 50},
    }
    always = {
        "model": "vgg",
        "dataset": "cifar10",
        "batch_size": 128,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "on_nonfinite": "ignore",
    }
    measured = _watching(_EVERY_OF_VGG[scale], watch)
    return always | at_scale[scale] | measured | options


def of_wide_vgg(scale: str) -> tuple[str, ...]:
    """What is measured in the runs of `vgg` that experiments share.

    At the scale cpu the experiments that read activations use `narrow_vgg`.
    """
    return GRADIENTS if scale == "cpu" else EVERYTHING


def narrow_vgg(scale: str, **options: Any) -> dict[str, Any]:
    """`vgg`, an eighth as wide at the cpu scale: for experiments with many runs."""
    return vgg(scale, **({"width": 0.125} if scale == "cpu" else {}) | options)


def deep_linear(
    scale: str, *, watch: Iterable[str] = (), **options: Any
) -> dict[str, Any]:
    """25 linear layers of 10 units on 1,000 Gaussian inputs (Santurkar, App. A.1).

    A and the inputs are drawn for each seed. Full-batch gradient descent in float64: in
    float32, rounding errors dominate the loss that remains above that of a linear
    model. For the arguments see `vgg`.
    """
    at_scale: _ByScale = {
        "smoke": {"linear_depth": 5, "train_steps": 20, "eval_every": 10},
        "cpu": {"train_steps": 10_000, "log_every": 20, "eval_every": 500},
        "paper": {"train_steps": 10_000, "log_every": 20, "eval_every": 500},
    }
    always = {
        "model": "deep_linear",
        "dataset": "gaussian",
        "data_seed": OF_SEED,
        "batch_size": 1000,
        "optimizer": "sgd",
        "learning_rate": 1e-6,
        "dtype_policy": "float64",
        "landscape_low": 0.01,
        "landscape_high": 30.0,
        "on_nonfinite": "ignore",
    }
    measured = _watching(_EVERY_OF_DEEP_LINEAR[scale], watch)
    return always | at_scale[scale] | measured | options


def vgg_for_renorm(scale: str, **options: Any) -> dict[str, Any]:
    """`narrow_vgg` in batches of 32, with the averages of Ioffe 2017."""
    at_scale: _ByScale = {
        "smoke": {"norm_momentum": 0.5},
        "cpu": {"train_steps": 2000, "norm_momentum": 0.99},
        "paper": {
            "train_steps": 130_000,
            "eval_every": 5000,
            "renorm_schedule": "paper",
        },
    }
    always = {"batch_size": 32, "learning_rate": 0.03}
    return narrow_vgg(scale, **always | at_scale[scale] | options)


def vgg_in_groups(scale: str, **options: Any) -> dict[str, Any]:
    """`narrow_vgg` in batches of 256, of which groups are normalised on their own.

    The gradient is that of the whole batch, whatever the groups are, as in Ioffe 2017,
    where 50 workers each normalise a batch and average their gradients.
    """
    at_scale: _ByScale = {
        "smoke": {"batch_size": 64, "norm_momentum": 0.5, "recalibration_batches": 1},
        "cpu": {"train_steps": 1000, "eval_every": 125},
        "paper": {"train_steps": 15_000},
    }
    always = {
        "batch_size": 256,
        "learning_rate": 0.05,
        "norm_momentum": 0.99,
        "recalibration_batches": 20,
    }
    return narrow_vgg(scale, **always | at_scale[scale] | options)


def shapes_by_domain(scale: str, **options: Any) -> dict[str, Any]:
    """`vgg_for_renorm` on the built-in shapes, one colour domain after the other."""
    at_scale: _ByScale = {
        "smoke": {"steps_per_domain": 5},
        "cpu": {"train_steps": 1000, "eval_every": 125, "steps_per_domain": 250},
        "paper": {"train_steps": 4000, "eval_every": 500, "steps_per_domain": 1000},
    }
    always = {
        "dataset": "shapes",
        "data_seed": OF_SEED,
        "sampling": "domain_biased",
    }
    scaled = {"renorm_schedule": "scaled"}
    return vgg_for_renorm(scale, **always | at_scale[scale] | scaled | options)


def sigmoid_mlp(scale: str, **options: Any) -> dict[str, Any]:
    """Three hidden layers of 100 sigmoid units (Ioffe & Szegedy 2015, sec. 4.1)."""
    at_scale: _ByScale = {
        "smoke": {"dataset": "shapes", "train_steps": 20, "activations_every": 5},
        "cpu": {"dataset": "cifar10"},
        "paper": {"dataset": "mnist"},
    }
    always = {
        "model": "mlp",
        "kernel_initializer": "random_normal",
        "batch_size": 60,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "train_steps": 50_000,
        "eval_every": 2500,
        "log_every": 250,
        "activations_every": 500,
        "steps_per_execution": 50,
        "on_nonfinite": "ignore",
    }
    return always | at_scale[scale] | options


def steep_vgg(scale: str, **options: Any) -> dict[str, Any]:
    """`narrow_vgg` at a learning rate of 0.1, with the averages of Ioffe 2017."""
    at_scale: _ByScale = {
        "smoke": {},
        "cpu": {"train_steps": 1000, "log_every": 10},
        "paper": {},
    }
    always = {"norm_momentum": 0.99, "learning_rate": 0.1}
    return narrow_vgg(scale, **always | at_scale[scale] | options)


def small_vgg(scale: str, **options: Any) -> dict[str, Any]:
    """`narrow_vgg` for sweeps of many short runs, in batches of 64."""
    at_scale: _ByScale = {
        "smoke": {},
        "cpu": {"train_steps": 400, "eval_every": 0},
        "paper": {"train_steps": 5000},
    }
    return narrow_vgg(scale, **{"batch_size": 64} | at_scale[scale] | options)


def replication_vgg(scale: str, **options: Any) -> dict[str, Any]:
    """The VGG-A of the public replication: BatchNorm only after the 4th convolution.

    As in torchvision, its classifier has two layers of 4,096 units after a pooling to
    7x7; `width` scales them too.
    """
    at_scale: _ByScale = {
        "smoke": {
            "model": "vgg",
            "width": 0.0625,
            "train_steps": 10,
            "replication_every": 5,
        },
        "cpu": {"train_steps": 2000, "replication_every": 50},
        "paper": {
            "vgg_depth": "A",
            "train_steps": 11_700,
            "eval_every": 390,
            "replication_every": 50,
        },
    }
    always = {
        "classifier_grid": 7,
        "hidden_units": (4096, 4096),
        "dropout": 0.5,
        "norm_after": (4,),
        "learning_rate": 0.01,
    }
    return narrow_vgg(scale, **always | at_scale[scale] | options)


def _watching(every, watch):
    return {f"{name}_every": every[name] for name in watch}
