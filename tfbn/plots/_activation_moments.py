"""Moments of activations against the step."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfbn.plots.layer_choice import chosen
from tfbn.plots.layer_choice import known_layers
from tfbn.plots.legend import add_legend
from tfbn.plots.lines import draw_smoothed
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import scale
from tfbn.plots.panels import symmetric_scale
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Runs
from tfbn.plots.runs import finite
from tfbn.plots.runs import is_wide
from tfbn.plots.runs import layer_series
from tfbn.plots.runs import measured_layers
from tfbn.plots.runs import require
from tfbn.plots.runs import with_usable

# Columns: title -> the values of the rows of mean and variance, with the labels of
# their axes.
_MOMENTS = {
    "moments": (("mean", "$\\mu_t$"), ("variance", "$\\sigma^2_t$")),
    "change by one update": (
        ("mean_change", "$|\\mu_{t+1} - \\mu_t|$"),
        ("variance_change", "$|\\sigma^2_{t+1} - \\sigma^2_t|$"),
    ),
    "drift since the start": (
        ("mean_drift", "$|\\mu_t - \\mu_0|$"),
        ("variance_drift", "$|\\sigma^2_t - \\sigma^2_0|$"),
    ),
}


def activation_moments(
    runs: Runs, layers: Sequence[str] | None = None, *, log_steps: bool = False
) -> Figure:
    """Draws moments of activations, as Santurkar et al.'s Fig. 8 (1805.11604).

    Two rows per layer, for the mean and the variance; columns: the moment itself, its
    change by the update of the step, and its distance from the first measurement. Each
    number is an average over the layer's units; changes and drifts are averages of
    absolute values. A column without records is left out. The axes of the changes are
    logarithmic, those of variances and drifts if they span more than two decades; that
    of the mean is, on both sides of zero, if a few values are far from the usual.

    Args:
        runs: label -> records; uses the kind "activations".
        layers: names of the layers, in the order in which to draw them. Default: the
            second, the middle and the last of those that all runs have.
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has "activations" records, or `layers` names one that no
            run has.
    """
    measured = measured_layers(runs, "activations")
    names = chosen(measured, layers)
    columns = {
        title: rows
        for title, rows in _MOMENTS.items()
        if any(_recorded(measured, names, value) for value, _ in rows)
    }
    require(columns, "moments in records of kind 'activations'", runs)
    size = (2 * len(names), len(columns))
    title = "Moments of activations, averages over units"
    figure, axes = grid(title, *size, log_steps, row_height=2.0)
    for j, (title, rows) in enumerate(columns.items()):
        for i, axis in enumerate(axes[:, j]):
            value, label = rows[i % 2]
            _draw_moment(axis, layer_series(measured, names[i // 2], value), value)
            axis.set(title=f"{names[i // 2]}: {title}" if i % 2 == 0 else "")
            axis.set_ylabel(label)
    fit_titles(axes)
    add_legend(figure, measured, {})
    return figure


def _recorded(measured, names, value):
    usable = with_usable(measured, lambda record: record.get(value) is not None)
    return not set(names).isdisjoint(known_layers(usable))


def _draw_moment(axis, curves, value):
    if value.endswith("_drift"):
        # Zero by definition at the first record, and not on a logarithmic axis.
        curves = [Curve(c.run, *_without_first_zero(c)) for c in curves]
    if value == "mean":
        sizes = np.abs(finite(curves))
        usual = np.median(sizes) if sizes.size else 0.0
        if usual > 0 and sizes.max() > 50 * usual:
            symmetric_scale(axis, usual)
    else:
        scale(axis, curves, log=value.endswith("_change") or is_wide(curves))
    for curve in curves:
        draw_smoothed(axis, curve)


def _without_first_zero(curve):
    start = int(curve.values.size > 0 and curve.values[0] == 0)
    return curve.steps[start:], curve.values[start:]
