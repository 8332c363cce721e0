"""How far Theorem 4.1 holds: an equality and a bound between two gradient norms."""

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfbn.plots.layer_choice import known_layers
from tfbn.plots.layer_choice import picked
from tfbn.plots.legend import add_legend
from tfbn.plots.lines import IDEAL
from tfbn.plots.lines import line_handle
from tfbn.plots.panels import drawable
from tfbn.plots.panels import grid
from tfbn.plots.panels import scale
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Runs
from tfbn.plots.runs import is_wide
from tfbn.plots.runs import layer_series
from tfbn.plots.runs import measured_layers


def theory(runs: Runs, layers: Sequence[str] | None = None) -> Figure:
    """Draws how far Theorem 4.1 of Santurkar et al. (1805.11604) holds, by layer.

    Left: the relative error of the theorem as an equality, with 1/m where the paper
    prints 1/sqrt(m). Right: the printed bound divided by the norm |G| that it bounds.
    Below 1 the bound is violated; a negative bound is violated by every norm. A dot is
    the median over the steps; the line through it extends from the least to the
    greatest value.

    Args:
        runs: label -> records; uses the kind "theory".
        layers: names of the layers, in the order in which to draw them. Default: all.

    Raises:
        ValueError: if no run has "theory" records, or `layers` names a layer that no
            run has.
    """
    measured = measured_layers(runs, "theory")
    names = known_layers(measured) if layers is None else picked(measured, layers)
    title = "Theorem 4.1: gradients below and above a normalisation"
    figure, axes = grid(title, 1, 2, x_label="")
    # Room for the names of the layers, which are slanted.
    figure.set_figheight(4.6 + 0.06 * min(max(map(len, names)), 30))
    left, right = axes.flat
    _draw(left, measured, names, _errors, always_log=True)
    left.set(title="Relative error of the equality", ylabel="relative error")
    _draw(right, measured, names, _ratios, always_log=False)
    right.set(title="Bound as printed (violated below 1)", ylabel="bound / $|G|_2$")
    right.axhline(1.0, zorder=1, **IDEAL)
    handle = line_handle(marker="o", markersize=4.5)
    styles = {"median, and range over the steps": handle}
    styles |= {"equality": line_handle(**IDEAL)}
    add_legend(figure, measured, styles)
    return figure


def _errors(run, name):
    return layer_series([run], name, "relative_error")[0]


def _ratios(run, name):
    norm, bound = (layer_series([run], name, n)[0] for n in ("norm", "printed_bound"))
    shared, left, right = np.intersect1d(norm.steps, bound.steps, return_indices=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = bound.values[right] / norm.values[left]
    return Curve(run.run, shared, ratio)


def _draw(axis, measured, names, values_of, always_log):
    curves = [[values_of(run, name) for name in names] for run in measured]
    everything = [curve for row in curves for curve in row]
    scale(axis, everything, log=always_log or is_wide(everything))
    shifts = np.linspace(-0.3, 0.3, len(curves) + 2)[1:-1]  # beside each other
    for (run, _), row, shift in zip(measured, curves, shifts, strict=True):
        shown = [drawable(axis, curve.values) for curve in row]
        kept = [i for i, values in enumerate(shown) if np.isfinite(values).any()]
        low, middle, high = (
            np.array([reduce(shown[i]) for i in kept])
            for reduce in (np.nanmin, np.nanmedian, np.nanmax)
        )
        places = np.array(kept, dtype=np.float64) + shift
        ranges = (ends[high > low] for ends in (places, low, high))  # of some length
        axis.vlines(*ranges, color=run.colour, linewidth=1.2)
        axis.plot(places, middle, "o", color=run.colour, markersize=4.5)
    longest = max(map(len, names))
    look = {"rotation": 45, "ha": "right"} if longest <= 16 else {"rotation": 90}
    labels = [textwrap.fill(name, 24) for name in names]
    axis.set_xticks(range(len(names)), labels, **look, fontsize="small")
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.grid(False, axis="x")
