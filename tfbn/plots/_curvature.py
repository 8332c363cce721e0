"""The largest eigenvalue of the loss's Hessian against the step."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfbn.plots.layer_choice import chosen
from tfbn.plots.legend import add_legend
from tfbn.plots.lines import IDEAL
from tfbn.plots.lines import draw_points
from tfbn.plots.lines import line_handle
from tfbn.plots.panels import GREY
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import leave_out_last
from tfbn.plots.panels import scale
from tfbn.plots.panels import symmetric_scale
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Runs
from tfbn.plots.runs import finite
from tfbn.plots.runs import layer_series
from tfbn.plots.runs import layers_of
from tfbn.plots.runs import require
from tfbn.plots.runs import series
from tfbn.plots.runs import styled


def curvature(
    runs: Runs, layers: Sequence[str] | None = None, *, log_steps: bool = False
) -> Figure:
    """Draws the largest eigenvalue of the Hessian, of all parameters and by layer.

    The dashed line is 2 / learning rate, beyond which a step of gradient descent
    overshoots along the eigenvector (the edge of stability). It has the colour of its
    run, or is grey where several runs share it. The value axes are logarithmic; with a
    negative value, they are logarithmic on both sides of a linear part around zero.

    Args:
        runs: label -> records; uses the kind "curvature", and the learning rates of the
            kind "train".
        layers: names of the layers that get panels, in the order in which to draw them;
            empty for none. Default: the second, the middle and the last of those that
            all runs have.
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has an eigenvalue, or `layers` names a layer that no run
            has.
    """
    known = styled(runs)
    everything = series(known, "curvature", "eigenvalue")
    require(everything, "eigenvalues in records of kind 'curvature'", runs)
    measured = layers_of(known, "curvature")
    by_default = layers is None and measured
    names = chosen(measured, layers) if layers or by_default else []
    panels = {"all parameters": everything}
    panels |= {name: layer_series(measured, name, "eigenvalue") for name in names}
    rows, columns = -(-len(panels) // 2), min(len(panels), 2)
    title = "Largest eigenvalue of the Hessian"
    figure, axes = grid(title, rows, columns, log_steps, row_height=2.8)
    edges = _edges(known, everything)
    for axis, (name, curves) in zip(axes.flat, panels.items(), strict=False):
        _scale(axis, curves)
        for curve in curves:
            draw_points(axis, curve)
        axis.set(title=name, ylabel="$\\lambda_{\\max}$")
        _draw_edges(axis, edges)
    fit_titles(axes)
    if len(panels) > 1 and len(panels) % 2:
        leave_out_last(axes)
    styles = {"2 / learning rate": line_handle(**IDEAL)} if edges else {}
    add_legend(figure, everything, styles)
    return figure


def _scale(axis, curves):
    values = finite(curves)
    if values.size and values.min() < 0:
        # Linear up to the least absolute value, but over no more than four decades.
        sizes = np.abs(values[values != 0])
        threshold = max(sizes.min(), 1e-4 * sizes.max())
        symmetric_scale(axis, threshold)
    else:
        scale(axis, curves, log=True)


def _edges(known, drawn):
    """Returns 2 / learning rate of the runs that are drawn, as curves."""
    labels = {curve.run.label for curve in drawn}
    rates = series((r for r in known if r.label in labels), "train", "learning_rate")
    edges = []
    for run, steps, values in rates:
        usable = np.isfinite(values) & (values > 0)
        if usable.any():
            edges.append(Curve(run, steps[usable], 2.0 / values[usable]))
    return edges


def _draw_edges(axis, edges):
    shared = {}
    for edge in edges:
        key = (edge.steps.tobytes(), edge.values.tobytes())
        shared.setdefault(key, []).append(edge)
    for same in shared.values():
        colour = same[0].run.colour if len(same) == 1 else GREY
        look = IDEAL | {"color": colour, "linewidth": 1.0}
        axis.plot(same[0].steps, same[0].values, **look, zorder=1)
