"""Ioffe & Szegedy 2015, sec. 4.1: a small sigmoid network, and a unit's input."""

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


_WANDERING = measures.over(
    "activations",
    _median_of_unit,
    layer=2 / 3,  # the third of the hidden layers and the logits
    what="range of the median of a unit's input over the run, first 2 % left out",
    part=(0.02, 1.0),
    reduce=_range,
)


def _accuracies(results):
    panel = plots.SeedPanel(
        groups=results.groups({norm: norm for norm in _NORMS}),
        kind="eval",
        value="accuracy",
        title="Test",
        ylabel="accuracy",
    )
    return plots.seed_curves([panel], title="Three sigmoid layers of 100", columns=1)


def _percentiles(results):
    runs = results.first({norm: norm for norm in _NORMS})
    return plots.activation_percentiles(runs, layers=[_LAST])


EXPERIMENT = Experiment(
    paper="ioffe_2015",
    title="Does BatchNorm make the input of a sigmoid stable?",
    source="Ioffe & Szegedy 2015, sec. 4.1 and Fig. 1",
    setting="""
Three hidden layers of 100 sigmoid units, batches of 60, 50,000 steps of SGD; the
paper gives neither optimizer nor learning rate nor the scale of its Gaussian weights
(here 0.05, the default of Keras). It trains on MNIST, and so does the scale paper;
the scale cpu takes CIFAR-10. The unit is the first one of the last hidden layer.
""",
    runs=_runs,
    kinds=("eval", "activations"),
    figures={"accuracies": _accuracies, "percentiles": _percentiles},
    claims=(
        claims.larger(
            "The sigmoid network tests better with BatchNorm",
            "so in Fig. 1a",
            measures.TEST_ACCURACY,
            "batch_norm",
            than="none",
        ),
        claims.larger(
            "It gets to a test accuracy of 30 % sooner",
            "so in Fig. 1a",
            measures.steps_to(0.3, kind="eval"),
            "none",
            than="batch_norm",
            scales=("cpu",),
        ),
        claims.larger(
            "The input of a unit wanders more without BatchNorm",
            "so in Fig. 1b and c",
            _WANDERING,
            "none",
            than="batch_norm",
        ),
    ),
)
