"""Santurkar et al. 2018, sec. 2.1: does noise alone stop a deeper network?"""

from typing import Any

from tfbn import plots
from tfbn.reproduction import claims
from tfbn.reproduction import measures
from tfbn.reproduction import networks
from tfbn.reproduction.experiment import Experiment

_NORMS = ("none", "batch_norm", "noisy_batch_norm", "noise_only", "relative_noise")
_ALONE = {"noise_only": "fixed", "relative_noise": "relative"}


def _runs(scale):
    options: dict[str, Any] = {"vgg_depth": "D"}
    if scale == "smoke":
        options = {}  # dense layers
    if scale == "cpu":
        options |= {"train_steps": 8000, "eval_every": 500, "log_every": 50}
    return {norm: networks.narrow_vgg(scale, norm=norm, **options) for norm in _NORMS}


def _curves(results):
    panels = [
        plots.SeedPanel(
            groups=results.groups({norm: norm for norm in _NORMS}),
            kind=kind,
            value="accuracy",
            title=title,
            ylabel="accuracy",
            same_axis="accuracy",
        )
        for kind, title in (("train", "Training"), ("eval", "Test"))
    ]
    return plots.seed_curves(panels, title="VGG-D with noise", columns=2)


EXPERIMENT = Experiment(
    paper="santurkar",
    title="Does noise alone stop a deeper network from training?",
    source="Santurkar et al. 2018, sec. 2.1",
    setting="""
The paper says that the noise of Algorithm 1 stops a network without normalisation from
training, and leaves one with BatchNorm alone. Its noise has a fixed size, which a
network without normalisation can outgrow, the more so the fewer layers it has: here
VGG-D with 13 convolutions at learning rate 0.1, and a second kind of noise,
`relative_noise`, in units of the standard deviation of each channel in the batch.
""",
    runs=_runs,
    kinds=("train", "eval"),
    figures={"curves": _curves},
    seeds={"cpu": 5},
    claims=(
        claims.between(
            "The noise prevents training without normalisation",
            "stated in the text",
            measures.TRAINING_ACCURACY,
            "noise_only",
            high=0.15,
        ),
        claims.between(
            "BatchNorm trains: over five times chance level",
            "about 80 % on the test examples (read off Fig. 1)",
            measures.TRAINING_ACCURACY,
            "batch_norm",
            low=0.5,
        ),
        claims.near(
            "Noisy BatchNorm trains as well as BatchNorm, within 10 percentage points",
            "80 % and 72 % after 1,000 steps, both about 100 % at the end (Fig. 2)",
            measures.TRAINING_ACCURACY,
            "noisy_batch_norm",
            to="batch_norm",
            within=0.1,
        ),
        claims.larger(
            "Noisy BatchNorm trains better than no normalisation",
            "72 % and 50 % after 1,000 steps (read off Fig. 2)",
            measures.TRAINING_ACCURACY,
            "noisy_batch_norm",
            than="none",
        ),
        claims.between(
            "Noise in proportion to the activations prevents training without "
            "normalisation",
            claims.OURS,
            measures.TRAINING_ACCURACY,
            "relative_noise",
            high=0.15,
        ),
        *[
            claims.smaller(
                f"Without normalisation, {size} noise trains worse than none",
                claims.OURS,
                measures.TRAINING_ACCURACY,
                norm,
                than="none",
            )
            for norm, size in _ALONE.items()
        ],
    ),
)
