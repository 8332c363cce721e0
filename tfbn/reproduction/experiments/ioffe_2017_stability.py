"""Does BatchRenorm train as steadily as BatchNorm at a high learning rate?"""

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment

_BATCH_NORM, _PLAIN = "batch_norm", "batch_renorm"
_WARM, _CORRECTED = "momentum_warmup", "drift_correction"
_BOTH, _TIGHT = "both", "rmax 1.5, dmax 0.5"
_ARMS: dict[str, dict] = {
    _BATCH_NORM: {"norm": "batch_norm"},
    _PLAIN: {},
    _WARM: {"momentum_warmup": True},
    _CORRECTED: {"drift_correction": True},
    _BOTH: {"momentum_warmup": True, "drift_correction": True},
    _TIGHT: {"rmax": 1.5, "dmax": 0.5},
}


def _runs(scale):
    return {
        arm: networks.steep_vgg(scale, **{"norm": "batch_renorm"} | options)
        for arm, options in _ARMS.items()
    }


def _curves(results):
    panels_of = {
        "as published, and with either option": (_PLAIN, _WARM, _CORRECTED),
        "with both options, and with other bounds": (_BOTH, _TIGHT),
    }
    panels = [
        plots.SeedPanel(
            groups=results.groups({arm: arm for arm in (_BATCH_NORM, *arms)}),
            kind="train",
            value="loss",
            title=title,
            ylabel="training loss",
            log=True,
        )
        for title, arms in panels_of.items()
    ]
    return plots.seed_curves(panels, title="BatchRenorm at a high learning rate")


def _steady(arm):
    return claims.not_more(
        f"{arm}: the largest loss is less than 1.5 times BatchNorm's",
        claims.OURS,
        measures.LARGEST_LOSS,
        arm,
        than=_BATCH_NORM,
        within=1.5,
    )


def _as_accurate(arm):
    return claims.not_less(
        f"{arm}: the test accuracy is at most 2 percentage points below BatchNorm's",
        claims.OURS,
        measures.TEST_ACCURACY,
        arm,
        than=_BATCH_NORM,
        within=0.02,
    )


EXPERIMENT = Experiment(
    paper="ioffe_2017",
    title="Does BatchRenorm train as steadily as BatchNorm at a high learning rate?",
    source="not in the paper; docs/renorm.md",
    setting="""
VGG at a learning rate of 0.1, on CIFAR-10 with plain SGD and batches of 128. rmax and
dmax follow the paper's ramps to 3 and 5, scaled to the run, and the averages have the
paper's momentum, 0.99. In so few steps the averages lag: when the bounds open they
still hold much of their initial values, and later the statistics of smaller weights.
`momentum_warmup` and `drift_correction` are options of `tfbn.BatchRenorm`; the last arm
has the paper's layer with other final bounds.
""",
    runs=_runs,
    kinds=("train", "eval"),
    figures={"curves": _curves},
    seeds={"cpu": 10},
    claims=tuple(
        claim(arm)
        for claim in (_steady, _as_accurate)
        for arm in (_PLAIN, _WARM, _CORRECTED, _BOTH, _TIGHT)
    ),
)
