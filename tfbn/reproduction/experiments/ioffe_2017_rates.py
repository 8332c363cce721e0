"""Does BatchRenorm train as steadily as BatchNorm at any width and learning rate?"""

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.claims import Sweep
from tfbn.reproduction.experiment import Experiment

_WIDTHS = (0.25, 1.0)
_RATES = (0.03, 0.1, 0.3)
_BATCH_NORM = "batch_norm"
_ARMS: dict[str, dict] = {
    _BATCH_NORM: {"norm": "batch_norm"},
    "batch_renorm": {},
    "momentum_warmup": {"momentum_warmup": True},
    "both": {"momentum_warmup": True, "drift_correction": True},
    "rmax 1.5, dmax 0.5": {"rmax": 1.5, "dmax": 0.5},
    "rmax 1.5, dmax 0.5, both": networks.ADVISED_RENORM,
}
_OTHERS = [arm for arm in _ARMS if arm != _BATCH_NORM]


def _label(arm, width, rate):
    return f"{arm}, width x {width:g}, {rate:g}"


def _runs(scale):
    runs = {}
    for width in _WIDTHS:
        # Dense layers, at the scale smoke, have no width.
        of_width = {} if scale == "smoke" else {"width": width}
        for rate in _RATES:
            for arm, options in _ARMS.items():
                options = {"norm": "batch_renorm", "learning_rate": rate} | options
                runs[_label(arm, width, rate)] = networks.steep_vgg(
                    scale, **of_width | options
                )
    return runs


def _of_all(measure, reduce, which):
    """A measure of the runs at all learning rates."""
    return measures.Measure(
        f"{measure.what}, {which} learning rates",
        lambda points: reduce([number for _, number in points]),
        measure.form,
        log=measure.log,
    )


def _mean(numbers):
    return sum(numbers) / len(numbers)


_AT_WORST = _of_all(measures.LARGEST_LOSS, max, "largest of the")
_ACCURACY = _of_all(measures.TEST_ACCURACY, _mean, "mean of the")


def _sweep(arm, width, of_each, measure):
    points = {_label(arm, width, rate): rate for rate in _RATES}
    return Sweep(f"{arm}, width x {width:g}", points, of_each, measure)


def _curves(results, width):
    panels = [
        plots.SeedPanel(
            groups=results.groups({arm: _label(arm, width, rate) for arm in _ARMS}),
            kind="train",
            value="loss",
            title=f"learning rate {rate:g}",
            ylabel="training loss",
            log=True,
        )
        for rate in _RATES
    ]
    title = f"BatchRenorm in VGG-A, width x {width:g}"
    return plots.seed_curves(panels, title=title, columns=3)


def _steady(arm, width):
    sides = [
        _sweep(a, width, measures.LARGEST_LOSS, _AT_WORST) for a in (arm, _BATCH_NORM)
    ]
    return claims.not_above(
        f"{arm}, width x {width:g}: the largest loss is less than 1.5 times "
        "BatchNorm's",
        claims.OURS,
        *sides,
        within=1.5,
    )


def _as_accurate(arm, width):
    sides = [
        _sweep(a, width, measures.TEST_ACCURACY, _ACCURACY) for a in (arm, _BATCH_NORM)
    ]
    return claims.not_below(
        f"{arm}, width x {width:g}: the test accuracy is at most 2 percentage points "
        "below BatchNorm's",
        claims.OURS,
        *sides,
        within=0.02,
    )


EXPERIMENT = Experiment(
    paper="ioffe_2017",
    title="Is BatchRenorm steady at any width and learning rate?",
    source="not in the paper; docs/renorm.md",
    setting="""
VGG-A, a quarter as wide and at full width, on CIFAR-10 with plain SGD and batches of
128, as in `ioffe_2017_stability`, at three learning rates. A claim is about the
learning rates together: the largest loss at any of them, the mean of the accuracies.
""",
    runs=_runs,
    kinds=("train", "eval"),
    figures={
        "quarter": lambda results: _curves(results, 0.25),
        "full": lambda results: _curves(results, 1.0),
    },
    seeds={"cpu": 4},
    claims=tuple(
        claim(arm, width)
        for claim in (_steady, _as_accurate)
        for width in _WIDTHS
        for arm in _OTHERS
    ),
)
