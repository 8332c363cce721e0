"""The gradient noise scale against the step."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfbn.plots.layer_choice import picked
from tfbn.plots.legend import add_legend
from tfbn.plots.lines import IDEAL
from tfbn.plots.lines import centred_mean
from tfbn.plots.lines import draw_faint
from tfbn.plots.lines import draw_line
from tfbn.plots.lines import draw_panel
from tfbn.plots.lines import line_handle
from tfbn.plots.panels import drawable
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import note
from tfbn.plots.panels import scale
from tfbn.plots.runs import TOTAL
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Runs
from tfbn.plots.runs import layer_series
from tfbn.plots.runs import layers_of
from tfbn.plots.runs import require
from tfbn.plots.runs import series
from tfbn.plots.runs import styled

# Name in the records -> title and label of the panel.
_ESTIMATES = {
    "covariance_trace": ("noise of one example", "$\\mathrm{tr}\\,\\Sigma$"),
    "squared_norm": ("squared gradient", "$|G|^2$"),
}


def noise_scale(
    runs: Runs, layers: Sequence[str] = (), *, log_steps: bool = False
) -> Figure:
    """Draws the gradient noise scale of McCandlish et al. (1812.06162).

    A row of three panels with logarithmic axes, for all parameters and for each layer
    named: the noise scale tr(Sigma) / |G|^2, beside the batch size (dashed); and the
    two estimates that it is the ratio of. Lines are centred means over about a fifth of
    the records and at least five; faint values are the records, which are too noisy to
    be divided by each other: the noise scale is the ratio of the means.

    Args:
        runs: label -> records; uses the kind "noise_scale".
        layers: names of layers to draw as well. Default: none.
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has such records, or `layers` names a layer that no run
            has.
    """
    known = styled(runs)
    rows = {TOTAL: {name: series(known, "noise_scale", name) for name in _ESTIMATES}}
    require(rows[TOTAL]["squared_norm"], "records of kind 'noise_scale'", runs)
    measured = layers_of(known, "noise_scale")
    for layer in picked(measured, layers) if layers else ():
        rows[layer] = {n: layer_series(measured, layer, n) for n in _ESTIMATES}
    figure, axes = grid("Gradient noise scale", len(rows), 3, log_steps)
    sizes = {v for c in series(known, "noise_scale", "large_batch") for v in c.values}
    for row, (label, curves) in zip(axes, rows.items(), strict=True):
        _draw_ratio(row[0], label, *curves.values())
        for size in sizes:
            row[0].axhline(size, zorder=1, **IDEAL)
        for axis, name in zip(row[1:], _ESTIMATES, strict=True):
            title, unit = _ESTIMATES[name]
            draw_panel(axis, curves[name], _draw_estimate)
            axis.set(title=title, ylabel=unit)
    fit_titles(axes)
    styles = {"batch size": line_handle(**IDEAL)}
    add_legend(figure, rows[TOTAL]["squared_norm"], styles)
    return figure


def _draw_ratio(axis, label, traces, norms):
    curves = []
    for trace, norm in zip(traces, norms, strict=True):
        above, below = _mean(trace.values), _mean(norm.values)
        positive = below > 0  # not where it is NaN
        ratio = np.where(positive, above, np.nan) / np.where(positive, below, 1.0)
        curves.append(Curve(norm.run, norm.steps, ratio))
    scale(axis, curves, log=True)
    for curve, norm in zip(curves, norms, strict=True):
        draw_line(axis, curve, drawable(axis, curve.values), linewidth=1.5)
        if np.any(_mean(norm.values) <= 0):
            note(axis, "not drawn where the mean of |G|² is not positive")
    axis.set(title=f"{label}: noise scale", ylabel="examples")


def _draw_estimate(axis, curve):
    draw_faint(axis, curve)
    draw_line(axis, curve, drawable(axis, _mean(curve.values)), linewidth=1.5)


def _mean(values):
    return centred_mean(values, max(2, values.size // 10))
