"""Santurkar et al. 2018, Fig. 1, 2 and 8: BatchNorm with unstable distributions."""

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment

_NORMS = ("none", "batch_norm", "noisy_batch_norm", "noise_only")
_SHARED = ("none", "batch_norm")  # with other experiments
_RATES = (0.1, 0.5)
# Enough to see which runs train; drawing the noise is slow.
_FEWER_STEPS = {("cpu", 0.5): {"train_steps": 1000}}


def _vgg(norm, rate=0.1):
    return f"VGG, {norm}, {rate:g}"


def _linear(norm):
    return f"linear, {norm}"


def _watch(norm, rate):
    """Activations, or everything if other experiments share the run."""
    shared = norm in _SHARED and rate == 0.1
    return networks.EVERYTHING if shared else ("activations",)


def _runs(scale):
    images = {
        _vgg(norm, rate): networks.narrow_vgg(
            scale,
            norm=norm,
            learning_rate=rate,
            watch=_watch(norm, rate),
            **_FEWER_STEPS.get((scale, rate), {}),
        )
        for rate in _RATES
        for norm in _NORMS
    }
    linear = {
        _linear(norm): networks.deep_linear(
            scale, norm=norm, watch=networks.GRADIENTS if norm in _SHARED else ()
        )
        for norm in _NORMS
    }
    return images | linear


def _relative_change(layer):
    if layer.get("mean_change") is None or not layer["variance"] > 0.0:
        return None
    return layer["mean_change"] / layer["variance"] ** 0.5


# The paper plots single activations (Fig. 8). This is a mean over units and layers,
# each scaled by its standard deviation, because normalisation changes the scale.
_CHANGE = measures.over(
    "activations",
    measures.mean_over_layers(_relative_change),
    what="change of an activation's mean in one update, in standard deviations",
    part=(0.1, 1.0),
    log=True,
)


def _accuracies(results):
    panels = [
        plots.SeedPanel(
            groups=results.groups({norm: _vgg(norm, rate) for norm in _NORMS}),
            kind=kind,
            value="accuracy",
            title=f"{split}, learning rate {rate:g}",
            ylabel="accuracy",
            same_axis="accuracy",
        )
        for rate in _RATES
        for kind, split in (("train", "Training"), ("eval", "Test"))
    ]
    return plots.seed_curves(panels, title="VGG on images", columns=2)


def _losses(results):
    groups = results.groups({norm: _linear(norm) for norm in _NORMS})
    panel = plots.SeedPanel(groups, "train", "loss", "Training", "loss", log=True)
    return plots.seed_curves([panel], title="Deep linear network", columns=1)


def _distributions(results):
    runs = results.first({norm: _vgg(norm) for norm in _NORMS})
    layers = [
        results.layer(_vgg("none"), "activations", share) for share in (0.1, 0.6, 0.9)
    ]
    return plots.activation_ridges(runs, layers=layers)


EXPERIMENT = Experiment(
    paper="santurkar",
    title="Does BatchNorm train well because it stabilises distributions?",
    source="Santurkar et al. 2018, Fig. 1, 2 and 8",
    setting="""
Noise whose mean and variance change at every step (Algorithm 1) follows each
normalisation (`noisy_batch_norm`) or replaces it (`noise_only`). The paper trains
"VGG-like" networks for 15,000 steps; their depth is not stated. Here the VGG has 8
convolutions, so noise of that fixed size passes through fewer layers. The training loss
of a noisy network contains its noise; the deep linear networks are compared without.
""",
    runs=_runs,
    kinds=("train", "eval", "activations"),
    seeds_of={"VGG": {"cpu": 8}, "linear": {"cpu": 10}},
    histograms=[_vgg(norm) for norm in _NORMS],
    figures={
        "accuracies": _accuracies,
        "losses": _losses,
        "distributions": _distributions,
    },
    claims=(
        claims.larger(
            "At learning rate 0.1, VGG has a higher test accuracy with BatchNorm",
            "83 % and 80 % after 15,000 steps",
            measures.TEST_ACCURACY,
            _vgg("batch_norm"),
            than=_vgg("none"),
        ),
        claims.between(
            "At learning rate 0.5, VGG without normalisation stays at chance level",
            "10 % (read off Fig. 1)",
            measures.TEST_ACCURACY,
            _vgg("none", 0.5),
            high=0.15,
        ),
        claims.between(
            "At learning rate 0.5, VGG with BatchNorm trains: over five times chance "
            "level",
            "about 80 % (read off Fig. 1)",
            measures.TEST_ACCURACY,
            _vgg("batch_norm", 0.5),
            low=0.5,
            seeds_from=claims.FRESH,
        ),
        claims.near(
            "Noisy BatchNorm trains as well as BatchNorm, within 10 percentage points",
            "80 % and 72 % after 1,000 steps, both about 100 % at the end (Fig. 2)",
            measures.TRAINING_ACCURACY,
            _vgg("noisy_batch_norm"),
            to=_vgg("batch_norm"),
            within=0.1,
        ),
        claims.larger(
            "Noisy BatchNorm trains better than no normalisation",
            "72 % and 50 % after 1,000 steps (read off Fig. 2)",
            measures.TRAINING_ACCURACY,
            _vgg("noisy_batch_norm"),
            than=_vgg("none"),
        ),
        claims.larger(
            "Noisy BatchNorm has a higher test accuracy than no normalisation",
            claims.OURS,
            measures.TEST_ACCURACY,
            _vgg("noisy_batch_norm"),
            than=_vgg("none"),
            seeds_from=claims.FRESH,
        ),
        claims.larger(
            "Activations are less stable with noisy BatchNorm than without "
            "normalisation",
            "as in Fig. 2 and 8",
            _CHANGE,
            _vgg("noisy_batch_norm"),
            than=_vgg("none"),
        ),
        *(
            claims.between(
                "The same noise without normalisation prevents training at learning "
                f"rate {rate:g}",
                "stated in the text",
                measures.TRAINING_ACCURACY,
                _vgg("noise_only", rate),
                high=0.15,
            )
            for rate in _RATES
        ),
        claims.smaller(
            "The deep linear network reaches a lower loss with BatchNorm than without",
            "4.8e2 with, 1.65e3 without (read off the figure)",
            measures.TRAINING_LOSS,
            _linear("batch_norm"),
            than=_linear("none"),
        ),
        claims.smaller(
            "At learning rate 0.5, the noise alone trains worse than neither noise nor "
            "normalisation",
            claims.OURS,
            measures.TRAINING_ACCURACY,
            _vgg("noise_only", 0.5),
            than=_vgg("none", 0.5),
            seeds_from=claims.FRESH,
        ),
    ),
)
