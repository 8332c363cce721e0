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


def _in_spreads(entry):
    if not entry["variance"] > 0.0:
        return None
    return entry["mean_drift"] / entry["variance"] ** 0.5


def _drift(value, what):
    return measures.over(
        "activations",
        value,
        layer=2 / 3,  # the third of four layers, the last of which gives the logits
        what=f"{what}, mean of all units, median of the run without its first 2 %",
        part=(0.02, 1.0),
        log=True,
    )


_DRIFT = _drift("mean_drift", "|mean - first mean| of a unit's input")
_RELATIVE_DRIFT = _drift(_in_spreads, "the same in standard deviations")

_FIRST = measures.over(
    "eval",
    "accuracy",
    what="test accuracy at the first evaluation",
    reduce=lambda accuracies: accuracies[0],
    form="{:.1%}",
)


def _accuracies(results):
    groups = results.groups({norm: norm for norm in _NORMS})
    panel = plots.SeedPanel(groups, "eval", "accuracy", title="Test", ylabel="accuracy")
    return plots.seed_curves([panel], title="Three sigmoid layers of 100", columns=1)


def _percentiles(results):
    runs = results.first({norm: norm for norm in _NORMS})
    return plots.activation_percentiles(runs, layers=[_LAST])


_larger_with = functools.partial(claims.larger, label="batch_norm", than="none")
# All units are measured since the records of a single one had been seen.
_smaller_with = functools.partial(
    claims.smaller, label="batch_norm", than="none", seeds_from=claims.FRESH
)


EXPERIMENT = Experiment(
    paper="ioffe_2015",
    title="Does BatchNorm stabilise the input of a sigmoid?",
    source="Ioffe & Szegedy 2015, sec. 4.1 and Fig. 1",
    setting="""
Three hidden layers of 100 sigmoid units, batches of 60, 50,000 steps of SGD. The
optimizer, the learning rate and the scale of the Gaussian weights are not stated in the
paper (here 0.05, the default of Keras). The paper and the scale `paper` train on MNIST,
the scale `cpu` on CIFAR-10. The figure shows the first unit of the last hidden layer
(the paper's: a typical one); the claims are about all of its units. At the scale `cpu`
the seeds 3 to 7 were trained on another machine than the seeds 0 to 2, an AMD EPYC.
""",
    runs=_runs,
    kinds=("eval", "activations"),
    seeds={"cpu": 8},
    figures={"accuracies": _accuracies, "percentiles": _percentiles},
    claims=(
        _larger_with(
            "The sigmoid network has a higher test accuracy with BatchNorm",
            "as in Fig. 1a",
            measures.TEST_ACCURACY,
        ),
        _larger_with(
            "After 2,500 steps it already has a higher test accuracy with BatchNorm",
            "as in Fig. 1a",
            _FIRST,
        ),
        _smaller_with(
            "The inputs of the last sigmoids drift less with BatchNorm",
            "as in Fig. 1b and c, of one unit",
            _DRIFT,
        ),
        _smaller_with(
            "They drift less in units of their spread as well",
            claims.OURS,
            _RELATIVE_DRIFT,
        ),
    ),
)
