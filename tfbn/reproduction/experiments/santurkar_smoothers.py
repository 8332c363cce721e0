"""Is a smoother landscape BatchNorm's own? Group, layer and weight normalisation."""

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import landscape_measures
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment

_SMOOTHERS: dict[str, dict] = {
    "batch_norm": {"norm": "batch_norm"},
    "group_norm": {"norm": "group_norm"},
    # All channels in one group.
    "layer_norm": {"norm": "group_norm", "norm_groups": 1},
    "weight_norm": {"norm": "weight_norm"},
}


def _runs(scale):
    watch = networks.of_wide_vgg(scale)  # as for Fig. 3 and 4, which share two runs
    options = {"none": {"norm": "none"}} | _SMOOTHERS
    return {
        label: networks.vgg(scale, watch=watch, **of_label)
        for label, of_label in options.items()
    }


def _curves(results):
    groups = results.groups({label: label for label in ("none", *_SMOOTHERS)})
    panels = [
        plots.SeedPanel(groups, "landscape", value, title, ylabel, log=True)
        for value, title, ylabel in (
            (
                landscape_measures.loss_range,
                "Range of the loss",
                "largest - least loss",
            ),
            ("beta", "Effective beta", "$\\beta$"),
            ("local_linearity", "Local linearity", "$a_2$"),
        )
    ]
    panels.append(plots.SeedPanel(groups, "eval", "accuracy", "Test", "accuracy"))
    title = "Normalisations along the gradient"
    return plots.seed_curves(panels, title=title, columns=2)


def _claims(label):
    for text, measure in (
        ("The loss varies less along the gradient", landscape_measures.RANGE),
        (
            "The gradient changes less per distance (effective beta)",
            landscape_measures.BETA,
        ),
        (
            "The loss is more nearly linear along the gradient (a2)",
            landscape_measures.LINEARITY,
        ),
    ):
        yield claims.smaller(
            f"{text} with {label} than without normalisation",
            claims.OURS,
            measure,
            label,
            than="none",
        )
    yield claims.larger(
        f"VGG has a higher test accuracy with {label} than without normalisation",
        claims.OURS,
        measures.TEST_ACCURACY,
        label,
        than="none",
    )


EXPERIMENT = Experiment(
    paper="santurkar",
    title="Is a smoother landscape BatchNorm's own?",
    source="not in the paper; its sec. 3.3 asks the same of l_p norms",
    setting="""
The runs of Fig. 4 with other normalisations at learning rate 0.1: group normalisation
(at most 32 groups of two channels or more), layer normalisation (one group: statistics
over the channels and positions of an example), and weight normalisation (Salimans &
Kingma 2016), whose initial weights compute what those without normalisation do.
""",
    runs=_runs,
    kinds=("train", "eval", "landscape"),
    seeds={"cpu": 5},
    figures={"curves": _curves},
    claims=tuple(claim for label in _SMOOTHERS for claim in _claims(label)),
)
