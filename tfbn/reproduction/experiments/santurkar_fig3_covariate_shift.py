"""Santurkar et al. 2018, Fig. 3: internal covariate shift."""

import functools

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment

_NORMS = ("none", "batch_norm")
_RATES = {"VGG": (0.1, 0.01), "linear": (1e-6, 1e-7)}
_NETWORKS = {"VGG": networks.vgg, "linear": networks.deep_linear}
# Layers 5 and 10 of 13 convolutions and a dense layer; layers 9 and 17 of 25.
_SHARES = {"VGG": (4 / 13, 9 / 13), "linear": (8 / 24, 16 / 24)}
_PART = (0.1, 1.0)


def _label(network, norm, rate):
    return f"{network}, {norm}, {rate:g}"


def _watch(network, rate):
    """The shift, or everything if other experiments share the run."""
    return networks.EVERYTHING if rate == _RATES[network][0] else ("ics",)


def _runs(scale):
    return {
        _label(network, norm, rate): build(
            scale, norm=norm, learning_rate=rate, watch=_watch(network, rate)
        )
        for network, build in _NETWORKS.items()
        for rate in _RATES[network]
        for norm in _NORMS
    }


def _distance(share):
    return measures.over(
        "ics", "distance", layer=share, what="|G - G'|, median", part=_PART
    )


def _cosine(share):
    return measures.over(
        "ics", "cosine", layer=share, what="cos(G, G'), median", part=_PART,
        undefined=float("nan"),
    )  # fmt: skip


def _panels(results, network):
    for rate in _RATES[network]:
        labels = {norm: _label(network, norm, rate) for norm in _NORMS}
        for share in _SHARES[network]:
            layer = results.layer(_label(network, "none", rate), "ics", share)
            common = {"groups": results.groups(labels), "kind": "ics", "layer": layer}
            title = f"{layer}, rate {rate:g}"
            yield plots.SeedPanel(
                value="distance", title=title, ylabel="$|G - G'|_2$", log=True, **common
            )
            yield plots.SeedPanel(
                value="cosine",
                title=title,
                ylabel="cos(G, G')",
                ideal=1.0,
                **common,
            )


def _shift(results, network, name):
    title = f"Internal covariate shift of {name}, by layer and learning rate"
    return plots.seed_curves([*_panels(results, network)], title=title, columns=4)


def _about_vgg(share, rate):
    pair = _label("VGG", "batch_norm", rate), _label("VGG", "none", rate)
    where = f"in VGG at learning rate {rate:g}, at {share:.0%} of the depth"
    return [
        claims.larger(
            f"|G - G'| is not smaller with BatchNorm {where}",
            "similar or larger (Fig. 3)",
            _distance(share),
            pair[0],
            than=pair[1],
        ),
        claims.larger(
            f"cos(G, G') is not closer to 1 with BatchNorm {where}",
            "similar or smaller (Fig. 3)",
            _cosine(share),
            pair[1],
            than=pair[0],
        ),
    ]


def _about_linear(share):
    slow = {norm: _label("linear", norm, 1e-7) for norm in _NORMS}
    where = f"in the deep linear network at 1e-7, at {share:.0%} of the depth"
    return [
        claims.between(
            f"Without normalisation there is almost no shift {where}: cosine above 0.9",
            "1 throughout (Fig. 3)",
            _cosine(share),
            slow["none"],
            low=0.9,
        ),
        claims.between(
            f"With BatchNorm G and G' are almost uncorrelated {where}: |cosine| "
            "below 0.5",
            "between -1 and 1 (Fig. 3)",
            _cosine(share),
            slow["batch_norm"],
            low=-0.5,
            high=0.5,
        ),
    ]


EXPERIMENT = Experiment(
    paper="santurkar",
    title="Does BatchNorm reduce internal covariate shift?",
    source="Santurkar et al. 2018, Def. 2.1 and Fig. 3",
    setting="""
G and G' are the gradients with respect to one layer's parameters (kernel, bias, gamma
and beta) on the same batch, before and after the earlier layers are updated. The layers
are at the relative depths of those in the paper's figure. The text describes the deep
linear network without naming a learning rate; in the figure its description fits 1e-7
only.
""",
    runs=_runs,
    kinds=("train", "ics"),
    figures={
        "vgg": functools.partial(_shift, network="VGG", name="VGG"),
        "linear": functools.partial(_shift, network="linear", name="linear layers"),
    },
    claims=(
        *[
            claim
            for rate in _RATES["VGG"]
            for share in _SHARES["VGG"]
            for claim in _about_vgg(share, rate)
        ],
        *[claim for share in _SHARES["linear"] for claim in _about_linear(share)],
    ),
)
