"""Santurkar et al. 2018, Fig. 3 and 4 over the paper's 15,000 steps."""

from typing import Any

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import landscape_measures
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction import shift_measures
from tfbn.reproduction.experiment import Experiment

_NORMS = ("none", "batch_norm")
_SHARES = (4 / 13, 9 / 13)  # as in Fig. 3
_PAIR = {"label": "batch_norm", "than": "none"}
_REVERSED = {"label": "none", "than": "batch_norm"}


def _runs(scale):
    options: dict[str, Any] = {"ics_kernels": True, "watch": ("ics", "landscape")}
    if scale == "cpu":
        options |= {"train_steps": 15_000, "log_every": 50, "eval_every": 500}
    return {norm: networks.vgg(scale, norm=norm, **options) for norm in _NORMS}


def _shift(share):
    where = f"at {share:.0%} of the depth"
    for kernels in (False, True):
        distance, cosine = shift_measures.distance(share), shift_measures.cosine(share)
        of, paper = "", "similar or larger (Fig. 3)"
        if kernels:
            distance, cosine = map(shift_measures.of_kernels, (distance, cosine))
            of, paper = ", of the kernel alone,", claims.OURS
        yield claims.not_less(
            f"|G - G'| / |G|{of} is not smaller with BatchNorm {where}, to a factor of "
            "1.25",
            paper,
            distance,
            within=1.25,
            **_PAIR,
        )
        yield claims.not_more(
            f"cos(G, G'){of} is not closer to 1 with BatchNorm {where}, to 0.1",
            paper if kernels else "similar or smaller (Fig. 3)",
            cosine,
            within=0.1,
            **_PAIR,
        )


def _panels(results):
    groups = results.groups({norm: norm for norm in _NORMS})
    yield plots.SeedPanel(groups, "eval", "accuracy", "Test", "accuracy")
    for value, title, ylabel in (
        (landscape_measures.loss_range, "Range of the loss", "largest - least loss"),
        (
            landscape_measures.predictiveness,
            "Gradient predictiveness",
            "largest $|g' - g|_2$",
        ),
        ("beta", "Effective beta", "$\\beta$"),
    ):
        yield plots.SeedPanel(groups, "landscape", value, title, ylabel, log=True)
    for share in _SHARES:
        layer = results.layer("none", "ics", share)
        yield plots.SeedPanel(
            groups=groups,
            kind="ics",
            value="cosine",
            layer=layer,
            title=f"Covariate shift, {layer}",
            ylabel="cos(G, G')",
            log=False,
            ideal=1.0,
        )


def _curves(results):
    title = "VGG over the paper's number of steps"
    return plots.seed_curves([*_panels(results)], title=title, columns=3)


EXPERIMENT = Experiment(
    paper="santurkar",
    title="Do the landscape and the shift stay so over the paper's number of steps?",
    source="Santurkar et al. 2018, Fig. 1, 3 and 4",
    setting="""
The runs of Fig. 3 and 4 are 2,000 steps long at the scale `cpu`; these have the paper's
15,000, at learning rate 0.1. The paper does not say whether biases, gamma and beta
count among a layer's parameters: G and G' are compared over all of them, and over the
kernel alone. The measures are those of the experiments on these figures. A pair at full
width, of one seed and 1,000 steps, is in tfbn's README: an illustration.
""",
    runs=_runs,
    kinds=("train", "eval", "ics", "landscape"),
    figures={"curves": _curves},
    claims=(
        claims.larger(
            "VGG has a higher test accuracy with BatchNorm",
            "83 % and 80 % after 15,000 steps",
            measures.TEST_ACCURACY,
            **_PAIR,
        ),
        claims.larger(
            "The loss of VGG varies more along the gradient without BatchNorm",
            "up to 10 and 0.6 to 3 (read off Fig. 4)",
            landscape_measures.RANGE,
            **_REVERSED,
        ),
        claims.larger(
            "The gradients of VGG vary more along the gradient without BatchNorm",
            "as in Fig. 4",
            landscape_measures.DISTANCE,
            **_REVERSED,
        ),
        claims.larger(
            "The effective beta of VGG has higher peaks without BatchNorm",
            "45 and 20 (read off Fig. 4)",
            landscape_measures.WORST_BETA,
            **_REVERSED,
        ),
        *[
            claims.between(
                f"The effective beta of VGG ends near 2 / learning rate, {norm}",
                "20 at 0.1 for both (read off Fig. 4); here 1.5 to 2.5",
                landscape_measures.LATE_BETA,
                norm,
                low=1.5,
                high=2.5,
            )
            for norm in _NORMS
        ],
        *[claim for share in _SHARES for claim in _shift(share)],
        claims.smaller(
            "The gradient of VGG changes less per distance with BatchNorm: effective "
            "beta is smaller",
            claims.OURS,
            landscape_measures.BETA,
            **_PAIR,
        ),
        claims.smaller(
            "The loss of VGG is more nearly linear along the gradient with BatchNorm: "
            "a2 is smaller",
            claims.OURS,
            landscape_measures.LINEARITY,
            **_PAIR,
        ),
    ),
)
