"""The bounds rmax and dmax of Batch Renormalization against the step."""

import numpy as np
from matplotlib.figure import Figure

from tfbn.plots.legend import add_legend
from tfbn.plots.lines import draw_line
from tfbn.plots.panels import drawable
from tfbn.plots.panels import grid
from tfbn.plots.runs import Runs
from tfbn.plots.runs import require
from tfbn.plots.runs import series
from tfbn.plots.runs import styled

# Name in the records -> label of the value axis.
_BOUNDS = {
    "rmax": "rmax (1: batch normalization)",
    "dmax": "dmax (0: batch normalization)",
}


def renorm_bounds(runs: Runs, *, log_steps: bool = False) -> Figure:
    """Draws rmax and dmax of Batch Renormalization against the step.

    Runs often share a schedule, so earlier runs have wider lines: they stay visible
    under the later ones.

    Args:
        runs: label -> records; uses the kind "train" of the runs that have bounds.
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has bounds.
    """
    known = styled(runs)
    panels = {name: series(known, "train", name) for name in _BOUNDS}
    everything = panels["rmax"] + panels["dmax"]
    require(everything, "rmax or dmax (only a BatchRenorm layer has them)", runs)
    figure, axes = grid("Batch Renormalization bounds", 1, 2, log_steps)
    for axis, (name, curves) in zip(axes.flat, panels.items(), strict=True):
        widths = np.linspace(min(1.5 * len(curves), 6.0), 1.5, len(curves))
        for curve, width in zip(curves, widths, strict=True):
            draw_line(axis, curve, drawable(axis, curve.values), linewidth=width)
        axis.set(title=name, ylabel=_BOUNDS[name])
    add_legend(figure, everything, {})
    return figure
