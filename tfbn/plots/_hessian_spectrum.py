"""The density of the Hessian's eigenvalues."""

import numpy as np
from matplotlib.figure import Figure

from tfbn.plots.legend import add_legend
from tfbn.plots.panels import grid
from tfbn.plots.runs import Runs
from tfbn.plots.runs import latest
from tfbn.plots.runs import require
from tfbn.plots.runs import styled

_POINTS = 2000  # of a curve
_DECADES = 8  # that the density axis spans at most


def hessian_spectrum(
    runs: Runs, *, step: int | None = None, width: float = 0.01
) -> Figure:
    """Draws the density of the Hessian's eigenvalues, one curve for each run.

    Each node of the Lanczos quadrature is drawn as a Gaussian of its weight. The
    density axis is logarithmic. So is the eigenvalue axis, on both sides of a linear
    part around zero, if the ranges of the runs differ more than twentyfold.

    Args:
        runs: label -> records; uses `nodes` and `weights` of the kind "curvature".
        step: the last record of each run up to this step is drawn. Default: the last.
        width: standard deviation of the Gaussians, as a fraction of the range of the
            run's nodes.

    Raises:
        ValueError: if no run has such a record with finite nodes and weights.
    """
    found = latest(styled(runs), "curvature", step, _is_usable)
    require(found, "nodes in records of kind 'curvature'", runs)
    figure, axes = grid("Density of the Hessian's eigenvalues", 1, 1)
    (axis,) = axes.flat
    curves = [_density(record, width) for _, record in found]
    for (run, _), (x, density) in zip(found, curves, strict=True):
        axis.plot(x, density, **run.look(linewidth=1.2))
        axis.fill_between(x, 0.0, density, color=run.colour, alpha=0.12, linewidth=0)
    _scale(axis, curves)
    axis.set(xlabel="eigenvalue", ylabel="density")
    steps = {run.label: f"step {record['step']:,}" for run, record in found}
    add_legend(figure, found, {}, steps)
    return figure


def _is_usable(record):
    nodes, weights = _spectrum(record)
    finite = np.isfinite(nodes).all() and np.isfinite(weights).all()
    return nodes.size > 0 and finite and weights.sum() > 0


def _spectrum(record):
    names = ("nodes", "weights")
    return (np.array(record.get(name) or [], dtype=np.float64) for name in names)


def _density(record, width):
    nodes, weights = _spectrum(record)
    deviation = width * (np.ptp(nodes) or abs(nodes[0]) or 1.0)
    ends = nodes.min() - 5 * deviation, nodes.max() + 5 * deviation
    # The nodes are among the points, so that no peak falls between two of these.
    x = np.sort(np.concatenate([np.linspace(*ends, _POINTS), nodes]))
    bells = np.exp(-0.5 * ((x[:, None] - nodes) / deviation) ** 2)
    return x, bells @ (weights / weights.sum()) / (deviation * np.sqrt(2 * np.pi))


def _scale(axis, curves):
    highest = max(density.max() for _, density in curves)
    axis.set_yscale("log", nonpositive="clip")
    axis.set_ylim(highest * 10.0**-_DECADES, highest * 3)
    sizes = [np.abs(x).max() for x, _ in curves]
    if max(sizes) > 20 * min(sizes):
        axis.set_xscale("symlog", linthresh=0.1 * min(sizes))
