"""Ioffe & Szegedy 2015, sec. 4.1: a small sigmoid network and a unit's input."""

import functools

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment

_NORMS = ("none", "batch_norm")
_LAST = "dense3"


def _runs(scale):
    return {norm: networks.sigmoid_mlp(scale, norm=norm) for norm in _NORMS}


def _median_of_unit(entry):
    return entry["percentiles"][1]


def _range(values):
    return max(values) - min(values)


_DRIFT = measures.over(
    "activations",
    _median_of_unit,
    layer=2 / 3,  # the third of four layers, the last of which gives the logits
    what="range of the median of a unit's input over the run, without its first 2 %",
    part=(0.02, 1.0),
    reduce=_range,
)


def _accuracies(results):
    groups = results.groups({norm: norm for norm in _NORMS})
    panel = plots.SeedPanel(groups, "eval", "accuracy", title="Test", ylabel="accuracy")
    return plots.seed_curves([panel], title="Three sigmoid layers of 100", columns=1)


def _percentiles(results):
    runs = results.first({norm: norm for norm in _NORMS})
    return plots.activation_percentiles(runs, layers=[_LAST])


_larger_without = functools.partial(claims.larger, label="none", than="batch_norm")


EXPERIMENT = Experiment(
    paper="ioffe_2015",
    title="Does BatchNorm stabilise the input of a sigmoid?",
    source="Ioffe & Szegedy 2015, sec. 4.1 and Fig. 1",
    setting="""
Three hidden layers of 100 sigmoid units, batches of 60, 50,000 steps of SGD. The
optimizer, the learning rate and the scale of the Gaussian weights are not stated in the
paper (here 0.05, the default of Keras). The paper and the scale `paper` train on MNIST,
the scale `cpu` on CIFAR-10. The unit is the first one of the last hidden layer.
""",
    runs=_runs,
    kinds=("eval", "activations"),
    figures={"accuracies": _accuracies, "percentiles": _percentiles},
    claims=(
        claims.larger(
            "The sigmoid network has a higher test accuracy with BatchNorm",
            "as in Fig. 1a",
            measures.TEST_ACCURACY,
            "batch_norm",
            than="none",
        ),
        _larger_without(
            "It reaches a test accuracy of 30 % sooner with BatchNorm",
            "as in Fig. 1a",
            measures.steps_to(0.3, kind="eval"),
            scales=("cpu",),
        ),
        _larger_without(
            "The input of a unit drifts further without BatchNorm",
            "as in Fig. 1b and c",
            _DRIFT,
        ),
    ),
)
