"""Every figure that there are records for."""

from collections.abc import Callable
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from tfbn.plots._activation_ridges import activation_ridges
from tfbn.plots._covariate_shift import covariate_shift
from tfbn.plots._covariate_shift import shift_layers
from tfbn.plots._curvature import curvature
from tfbn.plots._hessian_spectrum import hessian_spectrum
from tfbn.plots._landscape import landscape
from tfbn.plots._landscape import landscape_random
from tfbn.plots._learning_curves import learning_curves
from tfbn.plots._renorm_bounds import renorm_bounds
from tfbn.plots._replication import replication
from tfbn.plots._surface import surface
from tfbn.plots._theory import theory
from tfbn.plots.activations import activation_moments
from tfbn.plots.activations import activation_percentiles
from tfbn.plots.runs import NothingToDraw
from tfbn.plots.runs import Runs
from tfbn.plots.runs import check_layers
from tfbn.plots.runs import known_layers
from tfbn.plots.runs import layers_of
from tfbn.plots.runs import require
from tfbn.plots.runs import styled


class _Entry(NamedTuple):
    draw: Callable[..., Figure]
    kind: str | None = None  # whose layers it draws
    by_layer: bool = True  # whether it draws nothing but layers
    steps: bool = True  # whether it has, or chooses, steps


_FIGURES = {
    "learning_curves": _Entry(learning_curves),
    "covariate_shift": _Entry(covariate_shift, "ics"),
    "landscape": _Entry(landscape, "landscape", by_layer=False),
    "landscape_random": _Entry(landscape_random, "landscape_random", by_layer=False),
    "activation_ridges": _Entry(activation_ridges, "activations"),
    "activation_moments": _Entry(activation_moments, "activations"),
    "activation_percentiles": _Entry(activation_percentiles, "activations"),
    "curvature": _Entry(curvature, "curvature", by_layer=False),
    "hessian_spectrum": _Entry(hessian_spectrum, steps=False),
    "surface": _Entry(surface, steps=False),
    "theory": _Entry(theory, "theory", steps=False),
    "replication": _Entry(replication, "replication"),
    "renorm_bounds": _Entry(renorm_bounds),
}

FIGURE_NAMES = tuple(_FIGURES)


def figures(
    runs: Runs,
    *,
    names: Sequence[str] | None = None,
    layers: Sequence[str] | None = None,
    log_steps: bool = False,
) -> dict[str, Figure]:
    """Draws every figure that the records have data for.

    Args:
        runs: label -> records.
        names: the only figures to draw, among `FIGURE_NAMES`, in their order.
        layers: layers of the figures that have panels of layers; those that a figure
            has no records of are left out of it. Default: the choice of each figure.
        log_steps: whether the step axes are logarithmic.

    Returns:
        A dict from name to figure; empty if there is nothing to draw.

    Raises:
        ValueError: if `names` has an unknown name, or one whose figure there are no
            records for, or `layers` has a layer that no run has records of.
    """
    _check_names(names)
    known = _layers_by_kind(runs)
    if layers is not None:
        kinds = "', '".join(known)
        require(any(known.values()), f"records of layers (kind '{kinds}')", runs)
        check_layers(layers, list(dict.fromkeys(sum(known.values(), []))))
    drawn = {}
    for name in FIGURE_NAMES if names is None else dict.fromkeys(names):
        try:
            drawn[name] = _draw(_FIGURES[name], runs, known, layers, log_steps)
        except NothingToDraw:
            if names is not None:
                raise
    return drawn


def _check_names(names):
    unknown = [name for name in names or () if name not in _FIGURES]
    if unknown or (names is not None and not names):
        raise ValueError(
            f"`names` must be among {', '.join(FIGURE_NAMES)}. "
            f"Received: names={','.join(names)}."
        )


def _layers_by_kind(runs):
    known = {"ics": known_layers(shift_layers(runs))}
    for kind in dict.fromkeys(entry.kind for entry in _FIGURES.values() if entry.kind):
        if kind != "ics":
            known[kind] = known_layers(layers_of(styled(runs), kind))
    return known


def _draw(entry, runs, known, layers, log_steps):
    options = {"log_steps": log_steps} if entry.steps else {}
    if entry.kind is not None and layers is not None:
        own = tuple(name for name in layers if name in known[entry.kind])
        if not own and entry.by_layer:
            wanted = f"records of {', '.join(layers)} of kind '{entry.kind}'"
            require(own, wanted, runs)
        options["layers"] = own
    return entry.draw(runs, **options)
