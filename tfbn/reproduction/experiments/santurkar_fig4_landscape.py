"""Santurkar et al. 2018, Fig. 4 and 9-13: the loss along the gradient."""

import functools
import math

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment

_NORMS = ("none", "batch_norm")
_EARLY, _LATE = (0.0, 0.2), (0.5, 1.0)


def _vgg(norm):
    return f"VGG, {norm}"


def _linear(norm):
    return f"linear, {norm}"


def _runs(scale):
    options = {norm: {"norm": norm, "watch": networks.EVERYTHING} for norm in _NORMS}
    images = {_vgg(n): networks.vgg(scale, **options[n]) for n in _NORMS}
    linear = {_linear(n): networks.deep_linear(scale, **options[n]) for n in _NORMS}
    return images | linear


def _loss_range(record):
    losses = record["losses"]
    return max(losses) - min(losses) if all(map(math.isfinite, losses)) else math.inf


def _predictiveness(record):
    distances = record["gradient_distances"]
    return max(distances) if all(map(math.isfinite, distances)) else math.inf


def _beta_in_learning_rates(record):
    return record["beta"] * record["learning_rate"]


def _measure(value, what, **options):
    return measures.over("landscape", value, what=what, **options)


_RANGE = _measure(_loss_range, "range of the loss, median of the run")
_EARLY_RANGE = _measure(
    _loss_range, "range of the loss, median of the first fifth", part=_EARLY
)
_WORST_RANGE = _measure(
    _loss_range, "largest range of the loss in the first fifth", part=_EARLY, reduce=max
)
_PREDICTIVENESS = _measure(
    _predictiveness, "largest distance of gradients, median of the run"
)
_EARLY_PREDICTIVENESS = _measure(
    _predictiveness,
    "largest distance of gradients, median of the first fifth",
    part=_EARLY,
)
_WORST_PREDICTIVENESS = _measure(
    _predictiveness,
    "largest distance of gradients in the first fifth",
    part=_EARLY,
    reduce=max,
)
_WORST_BETA = _measure("beta", "largest effective beta of the run", reduce=max)
_LATE_BETA = _measure(
    _beta_in_learning_rates,
    "effective beta times learning rate, median of the second half",
    part=_LATE,
)
_LINEARITY = _measure("local_linearity", "a2 (see the setting), median of the run")


def _seeds(results, label, name):
    groups = results.groups({norm: label(norm) for norm in _NORMS})
    panels = [
        plots.SeedPanel(groups, "landscape", value, title, ylabel, log=True)
        for value, title, ylabel in (
            (_loss_range, "Range of the loss", "largest - least loss"),
            (_predictiveness, "Gradient predictiveness", "largest $|g' - g|_2$"),
            ("beta", "Effective beta", "$\\beta$"),
            ("local_linearity", "Local linearity", "$a_2$"),
        )
    ]
    title = f"{name} along the gradient"
    return plots.seed_curves(panels, title=title, columns=2)


def _vgg_bands(results):
    return plots.landscape(results.first({norm: _vgg(norm) for norm in _NORMS}))


_vgg_larger_without = functools.partial(
    claims.larger, label=_vgg("none"), than=_vgg("batch_norm")
)
_linear_far_larger_without = functools.partial(
    claims.larger, label=_linear("none"), than=_linear("batch_norm"), by=100.0
)


EXPERIMENT = Experiment(
    paper="santurkar",
    title="Does BatchNorm make the landscape smoother?",
    source="Santurkar et al. 2018, Fig. 4 and 9 to 13",
    setting="""
At a step, the loss and its gradient are evaluated at points along the negative
gradient: 0.5 to 4 learning rates away, 0.01 to 30 in the deep linear network. Effective
beta is the largest |g' - g| divided by the distance. Late in training it is close to
2 / learning rate with and without normalisation, in the paper's own figures too (20 at
0.1), as gradient descent stays at the edge of stability. The paper's figure therefore
shows lower peaks, not a lower level. a2 is the smallest constant with |f(x + u) - f(x)
- g.u| <= a2 |u|^2 / 2 at these points.
""",
    runs=_runs,
    kinds=("train", "landscape"),
    figures={
        "vgg": functools.partial(_seeds, label=_vgg, name="VGG"),
        "vgg_bands": _vgg_bands,
        "linear": functools.partial(_seeds, label=_linear, name="Deep linear network"),
    },
    claims=(
        *[
            _vgg_larger_without(
                f"{when} the loss of VGG varies more without BatchNorm",
                "up to 10 and 0.6 to 3 (read off Fig. 4)",
                measure,
            )
            for when, measure in (
                ("Over the run,", _RANGE),
                ("In the first fifth,", _EARLY_RANGE),
            )
        ],
        _vgg_larger_without(
            "In the first fifth, its largest variation is over 10 times larger",
            '"close to two orders of magnitude" in the text, 5 to 10 in Fig. 4',
            _WORST_RANGE,
            by=10.0,
        ),
        *[
            _vgg_larger_without(
                f"{when} the gradients of VGG vary more without BatchNorm",
                "100 to 255 and under 40 (read off Fig. 4)",
                measure,
            )
            for when, measure in (
                ("Over the run,", _PREDICTIVENESS),
                ("In the first fifth,", _EARLY_PREDICTIVENESS),
            )
        ],
        _vgg_larger_without(
            "The effective beta of VGG has higher peaks without BatchNorm",
            "45 and 20 (read off Fig. 4)",
            _WORST_BETA,
        ),
        *[
            claims.between(
                f"The effective beta of VGG ends near 2 / learning rate, {norm}",
                "20 at 0.1 for both (read off Fig. 4); here 1.5 to 2.5",
                _LATE_BETA,
                _vgg(norm),
                low=1.5,
                high=2.5,
            )
            for norm in _NORMS
        ],
        _vgg_larger_without(
            "The loss of VGG is more nearly linear with BatchNorm: a smaller a2",
            "not in the paper; a question of its readers",
            _LINEARITY,
        ),
        _linear_far_larger_without(
            "In the first fifth, the loss of the deep linear network varies over 100 "
            "times more without BatchNorm",
            "up to 1e15 and 1e3 to 1e5 (read off the figure)",
            _WORST_RANGE,
        ),
        _linear_far_larger_without(
            "In the first fifth, its gradients vary over 100 times more as well",
            "up to 1e16 and 1e3 to 1e6 (read off the figure)",
            _WORST_PREDICTIVENESS,
        ),
        claims.between(
            "The effective beta of the deep linear network ends near 2 / learning rate "
            "with BatchNorm",
            "2e6 at 1e-6 (read off the figure); here 1.5 to 2.5",
            _LATE_BETA,
            _linear("batch_norm"),
            low=1.5,
            high=2.5,
        ),
    ),
)
