"""Santurkar et al. 2018, Fig. 3: internal covariate shift."""

import functools

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import networks
from tfbn.reproduction import shift_measures
from tfbn.reproduction.experiment import Experiment

_NORMS = ("none", "batch_norm")
_RATES = {"VGG": (0.1, 0.01), "linear": (1e-6, 1e-7)}
_NETWORKS = {"VGG": networks.vgg, "linear": networks.deep_linear}
# Layers 5 and 10 of 13 convolutions and a dense layer; layers 9 and 17 of 25.
_SHARES = {"VGG": (4 / 13, 9 / 13), "linear": (8 / 24, 16 / 24)}


def _label(network, norm, rate):
    return f"{network}, {norm}, {rate:g}"


def _watch(scale, network, rate):
    """The shift, and more where other experiments share the run."""
    if rate != _RATES[network][0]:
        return ("ics",)
    return networks.of_wide_vgg(scale) if network == "VGG" else networks.GRADIENTS


def _runs(scale):
    return {
        _label(network, norm, rate): build(
            scale, norm=norm, learning_rate=rate, watch=_watch(scale, network, rate)
        )
        for network, build in _NETWORKS.items()
        for rate in _RATES[network]
        for norm in _NORMS
    }


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
                log=False,
                ideal=1.0,
                **common,
            )


def _shift(results, network, name):
    title = f"Internal covariate shift of {name}, by layer and learning rate"
    return plots.seed_curves([*_panels(results, network)], title=title, columns=4)


def _pair(rate):
    return {
        "label": _label("VGG", "batch_norm", rate),
        "than": _label("VGG", "none", rate),
        "seeds_from": claims.FRESH,
    }


def _about_vgg(share, rate):
    where = f"in VGG at learning rate {rate:g}, at {share:.0%} of the depth"
    return [
        claims.not_less(
            f"|G - G'| / |G| is not smaller with BatchNorm {where}, to a factor of "
            "1.25",
            "similar or larger (Fig. 3)",
            shift_measures.distance(share),
            within=1.25,
            **_pair(rate),
        ),
        claims.not_more(
            f"cos(G, G') is not closer to 1 with BatchNorm {where}, to 0.1",
            "similar or smaller (Fig. 3)",
            shift_measures.cosine(share),
            within=0.1,
            **_pair(rate),
        ),
    ]


def _about_halves(rate):
    where = f"half of VGG at learning rate {rate:g}"
    return [
        claims.smaller(
            f"cos(G, G') is smaller with BatchNorm in the lower {where}",
            claims.OURS,
            shift_measures.of_half("lower"),
            **_pair(rate),
        ),
        claims.larger(
            f"cos(G, G') is closer to 1 with BatchNorm in the upper {where}",
            claims.OURS,
            shift_measures.of_half("upper"),
            **_pair(rate),
        ),
    ]


def _about_linear(share):
    slow = {norm: _label("linear", norm, 1e-7) for norm in _NORMS}
    where = f"in the deep linear network at 1e-7, at {share:.0%} of the depth"
    return [
        claims.between(
            f"Without normalisation there is almost no shift {where}: cosine above 0.9",
            "1 throughout (Fig. 3)",
            shift_measures.cosine(share),
            slow["none"],
            low=0.9,
        ),
        claims.between(
            f"With BatchNorm G and G' are almost uncorrelated {where}: |cosine| "
            "below 0.5",
            "between -1 and 1 (Fig. 3)",
            shift_measures.cosine(share, shift_measures.unsigned, "|cos(G, G')|"),
            slow["batch_norm"],
            high=0.5,
        ),
        claims.larger(
            f"|G - G'| / |G| is larger with BatchNorm {where}",
            "almost none without, as large as G with (Fig. 3)",
            shift_measures.distance(share),
            slow["batch_norm"],
            than=slow["none"],
        ),
    ]


EXPERIMENT = Experiment(
    paper="santurkar",
    title="Does BatchNorm reduce internal covariate shift?",
    source="Santurkar et al. 2018, Def. 2.1 and Fig. 3",
    setting="""
G and G' are the gradients with respect to one layer's parameters (kernel, bias, gamma
and beta) on the same batch, before and after the earlier layers are updated. The layers
are at the relative depths of those in the paper's figure. "Similar" means: no smaller
than by a factor of 1.25, and a cosine no larger than by 0.1. Distances are relative to
|G|, as the gradients of the two networks differ in size. The text describes the deep
linear network without naming a learning rate; in the figure its description fits 1e-7
only.
""",
    runs=_runs,
    kinds=("train", "ics"),
    seeds={"cpu": 10},
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
        *[claim for rate in _RATES["VGG"] for claim in _about_halves(rate)],
        *[claim for share in _SHARES["linear"] for claim in _about_linear(share)],
    ),
)
