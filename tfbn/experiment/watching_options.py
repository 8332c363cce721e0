"""Options of the measurements on the way."""

from tfbn.diagnostics import instruments
from tfbn.experiment.norms import NORMS
from tfbn.experiment.section import Section
from tfbn.options import Option
from tfbn.recording import cadence


def _check(config):
    if config.landscape_low >= config.landscape_high:
        raise ValueError(
            "landscape_low must be less than landscape_high. Received: landscape_low="
            f"{config.landscape_low}, landscape_high={config.landscape_high}."
        )
    if config.theory_every:
        _check_theory(config)
    if config.replication_every and config.model != "vgg":
        raise ValueError(
            "replication_every needs VGG's convolutions: model=vgg. Received: "
            f"replication_every={config.replication_every}, model={config.model}."
        )
    if config.replication_every and not config.replication_convolutions:
        raise ValueError(
            "replication_convolutions must name one or more with replication_every. "
            f"Received: replication_every={config.replication_every}, "
            "replication_convolutions=()."
        )


def _check_theory(config):
    """The theorem is about layers that normalise by the statistics of the batch."""
    if config.takes("norm") and not NORMS[config.norm].is_plain:
        plain = " or ".join(name for name, norm in NORMS.items() if norm.is_plain)
        raise ValueError(
            f"theory_every needs batch normalisation: norm={plain}. Received: "
            f"theory_every={config.theory_every}, norm={config.norm}."
        )
    if config.virtual_batch_size:
        raise ValueError(
            "virtual_batch_size must be 0 with theory_every, whose theorem is about "
            "statistics of the whole batch. Received: virtual_batch_size="
            f"{config.virtual_batch_size}, theory_every={config.theory_every}."
        )


SECTION = Section(
    "Measurements",
    (
        Option(
            "diagnostics_spacing",
            "linear",
            "Steps between measurements: constant (linear), or growing to about a "
            "tenth of the step (log), in multiples of the number given.",
            choices=cadence.SPACINGS,
        ),
        Option(
            "ics_every",
            0,
            "Steps between measurements of internal covariate shift (G and G' of every "
            "layer; one costs about 0.4 steps a layer, G included); 0: never.",
        ),
        Option(
            "ics_update",
            "optimizer",
            "Update whose covariate shift is measured: the optimizer's, or a step of "
            "plain SGD.",
            choices=instruments.UPDATES,
        ),
        Option(
            "landscape_every",
            0,
            "Steps between measurements of the loss landscape along the gradient (loss "
            "range, gradient predictiveness, effective beta, local linearity; one "
            "costs --landscape_points + 1 steps); 0: never.",
        ),
        Option(
            "landscape_low",
            0.5,
            "Landscape: least step size, in learning rates.",
            above=0.0,
        ),
        Option(
            "landscape_high",
            4.0,
            "Landscape: largest step size, in learning rates.",
            above=0.0,
        ),
        Option(
            "landscape_points",
            8,
            "Landscape: number of step sizes, in geometric spacing.",
            minimum=2,
        ),
        Option(
            "landscape_directions",
            "gradient",
            "Landscape: against the gradient, along random directions of its length, "
            "or both.",
            choices=instruments.DIRECTIONS,
        ),
        Option(
            "activations_every",
            0,
            "Steps between measurements of every layer's activations (moments, their "
            "change, percentiles, histograms; one costs about 1.4 steps); 0: never.",
        ),
        Option(
            "activations_unit",
            0,
            "Activations: the unit whose percentiles are taken.",
        ),
        Option(
            "curvature_every",
            0,
            "Steps between measurements of the Hessian's largest eigenvalue and "
            "spectrum (one costs about three steps an iteration); 0: never.",
        ),
        Option(
            "curvature_iterations",
            20,
            "Curvature: most iterations of Lanczos.",
            minimum=1,
        ),
        Option(
            "curvature_per_layer",
            False,
            "Curvature: of each layer too, at as many iterations each.",
        ),
        Option(
            "theory_every",
            0,
            "Steps between checks of theorem 4.1 and the gradient identities on the "
            "batch normalisation layers (one costs about two steps); 0: never.",
        ),
        Option(
            "replication_every",
            0,
            "Steps between measurements by a public replication's estimators, faults "
            "included (one costs two steps a convolution, and two); 0: never.",
        ),
        Option(
            "replication_convolutions",
            (5,),
            "Replication: the convolutions measured, from 1 on.",
            minimum=1,
        ),
    ),
    _check,
)
