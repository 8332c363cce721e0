"""Ioffe & Szegedy 2015: robustness to learning rate, initial weights, sigmoids."""

import functools
import math

import numpy as np

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment

_NORMS = ("none", "batch_norm")
_RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_HIGH = 0.3
_SCALES = (0.1, 0.3, 1.0, 3.0, 10.0)
_ACTIVATIONS = ("relu", "sigmoid")
_TARGET = 0.3
_PERCENT = f"{_TARGET:.0%}"
_STEPS = measures.steps_to(_TARGET)


def _by_rate(activation, norm, rate):
    return f"{activation}, {norm}, learning rate {rate:g}"


def _by_scale(norm, scale):
    return f"relu, {norm}, initial weights x {scale:g}"


def _runs(scale):
    every = 3 if scale == "smoke" else 1
    rates = {
        _by_rate(activation, norm, rate): networks.small_vgg(
            scale, norm=norm, activation=activation, learning_rate=rate
        )
        for activation in _ACTIVATIONS
        for norm in _NORMS
        for rate in _RATES[::every]
    }
    initial = {
        _by_scale(norm, factor): networks.small_vgg(
            scale, norm=norm, activation="relu", kernel_scale=factor
        )
        for norm in _NORMS
        for factor in _SCALES[::every]
    }
    return rates | initial


def _mean(values):
    return float(np.mean([number for _, number in values]))


def _accuracy(over):
    what = f"training accuracy, mean over the last tenth and {over}"
    return measures.Measure(what, _mean, "{:.1%}")


_FEWEST_STEPS = measures.Measure(
    f"fewest steps to {_PERCENT}, at the best learning rate; the length of the run if "
    "never",
    lambda values: min(steps for _, steps in values),
    "{:.0f}",
    log=True,
)


def _rates(activation, norm, of_each, measure, least=0.0):
    points = {
        _by_rate(activation, norm, rate): rate for rate in _RATES if rate >= least
    }
    return claims.Sweep(f"{activation}, {norm}", points, of_each, measure)


def _rate_claim(text, paper, activation, over, least=0.0):
    """Claims a higher accuracy with BatchNorm, averaged over learning rates."""
    sides = [
        _rates(activation, norm, measures.TRAINING_ACCURACY, _accuracy(over), least)
        for norm in ("batch_norm", "none")
    ]
    return claims.exceeds(text, paper, sides[0], than=sides[1], seeds_from=claims.FRESH)


def _fewest_steps(norm):
    censored = measures.steps_to(_TARGET, censored=True)
    return _rates("relu", norm, censored, _FEWEST_STEPS)


def _scales(norm):
    points = {_by_scale(norm, scale): scale for scale in _SCALES}
    of_all = _accuracy(f"{len(_SCALES)} scales of the initial weights")
    return claims.Sweep(norm, points, measures.TRAINING_ACCURACY, of_all)


def _table(results, rows, columns, label, share):
    """Returns the steps to the target, or the fraction of seeds that reach it."""
    values = np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            steps = claims.Side(label(*row, column), _STEPS).values(results)
            reached = [s for s in steps if s < math.inf]
            mean = np.mean(reached) if reached else math.inf
            values[i, j] = len(reached) / len(steps) if share else mean
    return values


def _maps(results, title, xlabel, rows, columns, label):
    """Draws heat maps of the steps and of the fraction of runs that train."""
    columns = [c for c in columns if label(*rows[0], c) in results.records]
    common = {
        "rows": [", ".join(row) for row in rows],
        "columns": [f"{column:g}" for column in columns],
        "xlabel": xlabel,
    }
    steps = plots.HeatTable(
        title=f"Steps to {_PERCENT} training accuracy",
        values=_table(results, rows, columns, label, share=False),
        colour_label="optimizer steps",
        text="{:.0f}",
        low_is_good=True,
        **common,
    )
    share = plots.HeatTable(
        title="Runs that reach it",
        values=_table(results, rows, columns, label, share=True),
        colour_label="fraction of the seeds",
        text="{:.0%}",
        limits=(0.0, 1.0),
        **common,
    )
    return plots.heat_map([steps, share], title=title)


def _rate_map(results, activation, title):
    rows = [(activation, norm) for norm in _NORMS]
    return _maps(results, title, "learning rate", rows, _RATES, _by_rate)


def _scale_map(results):
    rows = [(norm,) for norm in _NORMS]
    title, xlabel = "Initial weights", "multiple of Glorot's initial weights"
    return _maps(results, title, xlabel, rows, _SCALES, _by_scale)


EXPERIMENT = Experiment(
    paper="ioffe_2015",
    title="Does BatchNorm make training robust?",
    source="Ioffe & Szegedy 2015, sec. 3.3 and 4.2",
    setting=f"""
Short runs of a small VGG over a grid of learning rates, over multiples of the initial
weights (at learning rate 0.1), and over learning rates with sigmoids instead of ReLUs.
In the figures a run counts as trained if it reaches {_PERCENT} training accuracy,
averaged over 25 steps (50 at the scale `paper`); the claims are about the accuracy at
the end, averaged over the runs of a grid. The paper trains Inception on ImageNet, with
learning rates of 0.0015, 0.0075 and 0.045.
""",
    runs=_runs,
    kinds=("train",),
    seeds={"cpu": 8},
    figures={
        "learning_rates": functools.partial(
            _rate_map, activation="relu", title="Learning rates"
        ),
        "initial_weights": _scale_map,
        "sigmoid": functools.partial(_rate_map, activation="sigmoid", title="Sigmoid"),
    },
    claims=(
        _rate_claim(
            f"At learning rates of {_HIGH:g} and more, BatchNorm trains better",
            "0.045 and 0.0015; without, 0.0075 is too high (sec. 4.2.2)",
            "relu",
            f"learning rates from {_HIGH:g} on",
            least=_HIGH,
        ),
        claims.exceeds(
            "At the best learning rate of each, BatchNorm needs fewer steps",
            "2.1 million and 31 million (sec. 4.2.2)",
            _fewest_steps("none"),
            than=_fewest_steps("batch_norm"),
            seeds_from=claims.FRESH,
        ),
        claims.exceeds(
            "Over the scales of the initial weights, BatchNorm trains better",
            '"less careful about initialization"',
            _scales("batch_norm"),
            than=_scales("none"),
            seeds_from=claims.FRESH,
        ),
        _rate_claim(
            "With sigmoids, over the learning rates, BatchNorm trains better",
            "69.8 % with, chance without (sec. 4.2.2)",
            "sigmoid",
            "all learning rates",
        ),
    ),
)
