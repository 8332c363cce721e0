"""Santurkar et al. 2018, Fig. 4 and 9-13: the loss along the gradient."""

import functools

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import landscape_measures
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment

_NORMS = ("none", "batch_norm")
_LOSSES = (1.2, 1.6)


def _vgg(norm):
    return f"VGG, {norm}"


def _linear(norm):
    return f"linear, {norm}"


def _runs(scale):
    images = {
        _vgg(norm): networks.vgg(scale, norm=norm, watch=networks.of_wide_vgg(scale))
        for norm in _NORMS
    }
    linear = {
        _linear(norm): networks.deep_linear(scale, norm=norm, watch=networks.GRADIENTS)
        for norm in _NORMS
    }
    return images | linear


def _at_equal_loss(value):
    """Only where the loss of the batch is one that both networks come by."""
    low, high = _LOSSES
    return lambda record: value(record) if low <= record["loss"] <= high else None


_WORST_RANGE = landscape_measures.measure(
    landscape_measures.loss_range,
    f"largest range of the loss {landscape_measures.THERE}",
    steps=landscape_measures.TRAINING,
    reduce=max,
)
_RANGE_AT_LOSS = landscape_measures.measure(
    _at_equal_loss(landscape_measures.loss_range),
    "range of the loss, median at losses of 1.2 to 1.6",
)
_WORST_DISTANCE = landscape_measures.measure(
    landscape_measures.predictiveness,
    f"largest |g' - g| {landscape_measures.THERE}",
    steps=landscape_measures.TRAINING,
    reduce=max,
)
_RELATIVE_DISTANCE = landscape_measures.measure(
    landscape_measures.relative_distance,
    f"largest |g' - g| / |g|, median {landscape_measures.THERE}",
    steps=landscape_measures.TRAINING,
)
# Peaks of the deep linear network, which come in the paper's first few hundred steps.
_EARLY_RANGE = landscape_measures.measure(
    landscape_measures.loss_range,
    "largest range of the loss in steps 1 to 1,000",
    steps=(1, 1000),
    reduce=max,
)
_EARLY_TYPICAL_RANGE = landscape_measures.measure(
    landscape_measures.loss_range,
    "range of the loss, geometric mean over steps 1 to 1,000",
    steps=(1, 1000),
    reduce=measures.geometric_mean,
)
_EARLY_DISTANCE = landscape_measures.measure(
    landscape_measures.predictiveness,
    "largest |g' - g| in steps 1 to 1,000",
    steps=(1, 1000),
    reduce=max,
)


def _seeds(results, label, name):
    groups = results.groups({norm: label(norm) for norm in _NORMS})
    panels = [
        plots.SeedPanel(groups, "landscape", value, title, ylabel, log=True)
        for value, title, ylabel in (
            (
                landscape_measures.loss_range,
                "Range of the loss",
                "largest - least loss",
            ),
            (
                landscape_measures.predictiveness,
                "Gradient predictiveness",
                "largest $|g' - g|_2$",
            ),
            ("beta", "Effective beta", "$\\beta$"),
            ("local_linearity", "Local linearity", "$a_2$"),
        )
    ]
    title = f"{name} along the gradient"
    return plots.seed_curves(panels, title=title, columns=2)


def _vgg_bands(results):
    return plots.landscape(results.first({norm: _vgg(norm) for norm in _NORMS}))


_vgg_larger_without = functools.partial(
    claims.larger,
    label=_vgg("none"),
    than=_vgg("batch_norm"),
    seeds_from=claims.FRESH,
)
_vgg_smaller_with = functools.partial(
    claims.smaller,
    label=_vgg("batch_norm"),
    than=_vgg("none"),
    seeds_from=claims.FRESH,
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
2 / learning rate with and without normalisation in the paper's own figures (20 at 0.1),
as gradient descent stays at the edge of stability. a2 is the smallest constant with
|f(x + u) - f(x) - g.u| <= a2 |u|^2 / 2 at these points: the 2-Lipschitz constant that
readers of the paper ask about. Except for these two, measures of VGG leave out the
first 200 steps, in which the network without normalisation is still on its first
plateau: a window that was chosen with records of the seeds 0 to 2 at hand, so claims
about VGG are decided by the seeds from 3 on.
""",
    runs=_runs,
    kinds=("train", "landscape"),
    seeds={"cpu": 10},
    figures={
        "vgg": functools.partial(_seeds, label=_vgg, name="VGG"),
        "vgg_bands": _vgg_bands,
        "linear": functools.partial(_seeds, label=_linear, name="Deep linear network"),
    },
    claims=(
        _vgg_larger_without(
            "The loss of VGG varies more along the gradient without BatchNorm",
            "up to 10 and 0.6 to 3 (read off Fig. 4)",
            landscape_measures.RANGE,
        ),
        _vgg_larger_without(
            "Its largest variation is over 10 times larger",
            '"close to two orders of magnitude" in the text, 5 to 10 in Fig. 4',
            _WORST_RANGE,
            by=10.0,
        ),
        _vgg_larger_without(
            "The gradients of VGG vary more along the gradient without BatchNorm",
            "as in Fig. 4",
            landscape_measures.DISTANCE,
        ),
        _vgg_larger_without(
            "Their largest variation is larger",
            "100 to 255 and under 40 (read off Fig. 4)",
            _WORST_DISTANCE,
        ),
        _vgg_larger_without(
            "The effective beta of VGG has higher peaks without BatchNorm",
            "45 and 20 (read off Fig. 4)",
            landscape_measures.WORST_BETA,
        ),
        *[
            claims.between(
                f"The effective beta of VGG ends near 2 / learning rate, {norm}",
                "20 at 0.1 for both (read off Fig. 4); here 1.5 to 2.5",
                landscape_measures.LATE_BETA,
                _vgg(norm),
                low=1.5,
                high=2.5,
                seeds_from=claims.FRESH,
            )
            for norm in _NORMS
        ],
        _linear_far_larger_without(
            "Early on, the loss of the deep linear network varies over 100 times more "
            "without BatchNorm",
            "up to 1e15 and 1e3 to 1e5 (read off the figure)",
            _EARLY_RANGE,
        ),
        _linear_far_larger_without(
            "Early on, its gradients vary over 100 times more as well",
            "up to 1e16 and 1e3 to 1e6 (read off the figure)",
            _EARLY_DISTANCE,
        ),
        claims.between(
            "The effective beta of the deep linear network ends near 2 / learning rate "
            "with BatchNorm",
            "2e6 at 1e-6 (read off the figure); here 1.5 to 2.5",
            landscape_measures.LATE_BETA,
            _linear("batch_norm"),
            low=1.5,
            high=2.5,
        ),
        claims.smaller(
            "Early on, the loss of the deep linear network typically varies less "
            "without BatchNorm, peaks apart",
            claims.OURS,
            _EARLY_TYPICAL_RANGE,
            _linear("none"),
            than=_linear("batch_norm"),
        ),
        _vgg_larger_without(
            "At equal loss, the loss of VGG varies more without BatchNorm",
            claims.OURS,
            _RANGE_AT_LOSS,
            scales=("cpu",),
        ),
        _vgg_larger_without(
            "The gradients of VGG vary more relative to their size without BatchNorm",
            claims.OURS,
            _RELATIVE_DISTANCE,
        ),
        _vgg_smaller_with(
            "The effective beta of VGG ends lower with BatchNorm",
            claims.OURS,
            landscape_measures.LATE_BETA,
        ),
        _vgg_smaller_with(
            "The loss of VGG is more nearly linear along the gradient with BatchNorm: "
            "a2 is smaller",
            claims.READERS,
            landscape_measures.LINEARITY,
        ),
        _vgg_smaller_with(
            "The gradient of VGG changes less per distance with BatchNorm: effective "
            "beta is smaller",
            claims.READERS,
            landscape_measures.BETA,
        ),
        claims.smaller(
            "The loss of the deep linear network is more nearly linear with BatchNorm: "
            "a2 is smaller",
            claims.READERS,
            landscape_measures.LINEARITY,
            _linear("batch_norm"),
            than=_linear("none"),
        ),
    ),
)
