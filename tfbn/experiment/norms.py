"""The normalisation layers that a run can name."""

import functools
from typing import Any

from absl import logging

from tfbn import layers
from tfbn import schedules
from tfbn.diagnostics import Need
from tfbn.experiment._group_norm import GROUP_NORM
from tfbn.experiment._relative_noise import RELATIVE_NOISE
from tfbn.experiment.norm import EPSILON
from tfbn.experiment.norm import Norm
from tfbn.models._weight_norm import WeightNorm
from tfbn.options import Option
from tfbn.registry import Registry

_STATISTICS = (
    Option(
        "norm_momentum",
        0.99,
        "Momentum of the moving averages.",
        minimum=0.0,
        maximum=1.0,
    ),
    EPSILON,
    Option(
        "virtual_batch_size",
        0,
        "Examples that share statistics, where not the whole batch does (Ioffe 2017, "
        "sec. 4.2); 0: the whole batch.",
    ),
)


def _statistics(norm_momentum, norm_epsilon, virtual_batch_size) -> dict[str, Any]:
    return {
        "momentum": norm_momentum,
        "epsilon": norm_epsilon,
        "virtual_batch_size": virtual_batch_size or None,
    }


def _by_statistics(name, layer, *, provides=frozenset(), **arguments):
    def build(train_steps, **options):
        return functools.partial(layer, **_statistics(**options), **arguments)

    return Norm(name, build, _STATISTICS, provides)


# Ramps of rmax and dmax, given the number of steps.
_RAMPS = {
    "paper": lambda train_steps: schedules.ioffe_2017(),
    "scaled": schedules.ioffe_2017,
    "constant": None,
}


def _batch_renorm(
    train_steps,
    *,
    rmax,
    dmax,
    renorm_schedule,
    momentum_warmup,
    drift_correction,
    **options,
):
    opening = 0
    if ramps := _RAMPS[renorm_schedule]:
        rmax, dmax = map(_ramp_to, (rmax, dmax), ramps(train_steps))
        opening = rmax.begin_step
    if not momentum_warmup:
        _warn_of_initial_averages(opening, options["norm_momentum"])
    return functools.partial(
        layers.BatchRenorm,
        rmax=rmax,
        dmax=dmax,
        momentum_warmup=momentum_warmup,
        drift_correction=drift_correction,
        **_statistics(**options),
    )


def _warn_of_initial_averages(opening, momentum):
    """Warns if r and d compare batches with averages of no batch."""
    weight = momentum**opening
    if weight > _LARGEST_INITIAL_WEIGHT:
        logging.warning(
            "BatchRenorm: rmax and dmax open at step %d, when %.0f %% of the moving "
            "averages are still their initial values, as norm_momentum is %g. Give "
            "--momentum_warmup, a smaller --norm_momentum or more --train_steps.",
            opening,
            100.0 * weight,
            momentum,
        )


# In the paper's runs it is 0.99 ** 5000.
_LARGEST_INITIAL_WEIGHT = 0.05


def _ramp_to(final, ramp):
    """The ramp, but to another final value."""
    return schedules.LinearRamp(
        ramp.initial_value, final, ramp.begin_step, ramp.end_step
    )


_BATCH_RENORM = Norm(
    "batch_renorm",
    _batch_renorm,
    (
        *_STATISTICS,
        Option("rmax", 3.0, "Renorm: the final bound of r.", minimum=1.0),
        Option("dmax", 5.0, "Renorm: the final bound of d.", minimum=0.0),
        Option(
            "renorm_schedule",
            "scaled",
            "Renorm: rmax and dmax follow the paper's ramps in its own steps (paper), "
            "scaled to --train_steps, or are constant.",
            choices=tuple(_RAMPS),
        ),
        Option(
            "momentum_warmup",
            False,
            "Renorm: momentum is min(norm_momentum, (1 + t) / (10 + t)) after t steps.",
        ),
        Option(
            "drift_correction",
            False,
            "Renorm: r and d leave out the scale that all channels have in common.",
        ),
    ),
    provides=frozenset({Need.RENORMALISATION}),
)

# As in theorem 4.1 of Santurkar et al. 2018.
_BY_BATCH_ALONE = frozenset({Need.BATCH_STATISTICS})


NORMS = Registry(
    "norm",
    Norm("none", lambda train_steps: None),
    _by_statistics("batch_norm", layers.BatchNorm, provides=_BY_BATCH_ALONE),
    _BATCH_RENORM,
    _by_statistics("noisy_batch_norm", layers.NoisyBatchNorm, provides=_BY_BATCH_ALONE),
    Norm("noise_only", lambda train_steps: layers.ActivationNoise),
    RELATIVE_NOISE,
    _by_statistics("l1", layers.LpBatchNorm, order=1),
    _by_statistics("l2", layers.LpBatchNorm, order=2),
    _by_statistics("linf", layers.LpBatchNorm, order="inf"),
    GROUP_NORM,
    Norm("weight_norm", lambda train_steps: WeightNorm()),
)
