"""Every figure that there are records for.

A figure `NAME` is drawn by the function `NAME` of the module `tfbn.plots._NAME`. Apart
from those of training records, figures are declared by the diagnostics whose records
they draw.
"""

import importlib
import inspect
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from matplotlib.figure import Figure

from tfbn.diagnostics import registry
from tfbn.plots.layer_choice import check_layers
from tfbn.plots.layer_choice import known_layers
from tfbn.plots.runs import NothingToDraw
from tfbn.plots.runs import Runs
from tfbn.plots.runs import layers_of
from tfbn.plots.runs import require
from tfbn.plots.runs import styled

_KINDS = [kind for diagnostic in registry.values() for kind in diagnostic.kinds]

# Name of each figure -> what it shows, in the order in which they are drawn.
FIGURES: Mapping[str, str] = {
    "learning_curves": "loss and accuracy, training and test",
    **{name: text for kind in _KINDS for name, text in kind.figures.items()},
    "renorm_bounds": "rmax and dmax of Batch Renormalization",
}

FIGURE_NAMES = tuple(FIGURES)

# The kind of the layers that a figure draws.
_KIND_OF = {name: kind.name for kind in reversed(_KINDS) for name in kind.figures}


def drawing_function(name: str) -> Callable[..., Figure]:
    """Returns the function that draws a figure, from the module of the figure."""
    return getattr(importlib.import_module(f"tfbn.plots._{name}"), name)


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
        layers: layers of the figures that have panels of layers; each figure draws
            those that it has records of. Default: the choice of each figure.
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
        everything = list(dict.fromkeys(sum(known.values(), [])))
        require(everything, f"records of layers (kind '{kinds}')", runs)
        check_layers(layers, everything)
    drawn = {}
    for name in FIGURE_NAMES if names is None else dict.fromkeys(names):
        try:
            drawn[name] = _draw(name, runs, known, layers, log_steps)
        except NothingToDraw:
            if names is not None:
                raise
    return drawn


def _check_names(names):
    unknown = [name for name in names or () if name not in FIGURES]
    if unknown or (names is not None and not names):
        raise ValueError(
            f"`names` must be among {', '.join(FIGURE_NAMES)}. "
            f"Received: names={','.join(names)}."
        )


def _layers_by_kind(runs):
    return {
        kind.name: known_layers(layers_of(styled(runs), kind.name, total=True))
        for kind in _KINDS
        if kind.layer_values
    }


def _draw(name, runs, known, layers, log_steps):
    draw = drawing_function(name)
    parameters = inspect.signature(draw).parameters
    options = {"log_steps": log_steps} if "log_steps" in parameters else {}
    if layers is None or "layers" not in parameters:
        return draw(runs, **options)
    kind = _KIND_OF[name]
    own = tuple(layer for layer in layers if layer in known[kind])
    try:
        return draw(runs, layers=own, **options)
    except NothingToDraw:
        require(own, f"records of {', '.join(layers)} of kind '{kind}'", runs)
        raise
