"""Moments and percentiles of activations against the step."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfbn.plots.legend import add_legend
from tfbn.plots.legend import run_label
from tfbn.plots.lines import band_handle
from tfbn.plots.lines import draw_band
from tfbn.plots.lines import draw_line
from tfbn.plots.lines import draw_smoothed
from tfbn.plots.lines import line_handle
from tfbn.plots.panels import drawable
from tfbn.plots.panels import fit_label
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import head_columns
from tfbn.plots.panels import note
from tfbn.plots.panels import scale
from tfbn.plots.panels import symmetric_scale
from tfbn.plots.panels import usual_range
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Layers
from tfbn.plots.runs import Runs
from tfbn.plots.runs import chosen
from tfbn.plots.runs import finite
from tfbn.plots.runs import is_wide
from tfbn.plots.runs import layer_bands
from tfbn.plots.runs import layer_series
from tfbn.plots.runs import layers_of
from tfbn.plots.runs import require
from tfbn.plots.runs import styled

# Columns: title -> the values of the mean's and of the variance's row, with the labels
# of their axes.
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
    """Draws the activations' moments, as Santurkar's Fig. 8 (1805.11604).

    Two rows a layer, of the mean and of the variance; columns: the moment itself, what
    the update of the step changed in it, and how far it is from where it started.
    Each number is an average over the layer's units; changes and drifts are averages of
    absolute values. A column that nobody recorded is left out. The axes of the changes
    are logarithmic, those of variances and drifts if they span more than two decades;
    that of the mean is, on both sides of zero, if a few values are far from the usual.

    Args:
        runs: label -> records; uses the kind "activations".
        layers: names of the layers, in the order in which to draw them. Default: the
            second, the middle and the last of those that all runs have.
        log_steps: whether the step axis is logarithmic; it has no place for step 0.

    Raises:
        ValueError: if no run has "activations" records, or `layers` names one that no
            run has.
    """
    measured = layers_of(styled(runs), "activations")
    require(measured, "records of kind 'activations'", runs)
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
    add_legend(figure, (run for run, _ in measured), {})
    return figure


def activation_percentiles(
    runs: Runs, layers: Sequence[str] | None = None, *, log_steps: bool = False
) -> Figure:
    """Draws percentiles of one unit, as Fig. 1 of Ioffe and Szegedy (1502.03167).

    A row a layer and a column a run, with one value axis a row: the band is between the
    15th and the 85th percentile of the unit's values over the batch, the line is the
    median. A run that blows up is cut, and the panel says so.

    Args:
        runs: label -> records; uses the kind "activations".
        layers: as of `activation_moments`.
        log_steps: whether the step axis is logarithmic; it has no place for step 0.

    Raises:
        ValueError: if no run has percentiles of activations, or `layers` names a layer
            that no run has.
    """
    measured = [
        Layers(run, kept)
        for run, table in layers_of(styled(runs), "activations")
        if (kept := {n: r for n, r in table.items() if _any(r, "percentiles")})
    ]
    require(measured, "percentiles in records of kind 'activations'", runs)
    names = chosen(measured, layers)
    size = (len(names), len(measured))
    width = max(7.0, min(10.0, 3.5 * size[1]), 2.2 * size[1])
    title = "Percentiles of one unit's activation"
    figure, axes = grid(title, *size, log_steps, width=width)
    for row, name in zip(axes, names, strict=True):
        _draw_percentiles(row, layer_bands(measured, name, "percentiles"))
        unit = {e.get("unit") for run in measured for e in run.table.get(name, ())}
        number = f", unit {unit.pop()}" if len(unit) == 1 and None not in unit else ""
        fit_label(row[0], f"{name}{number}")
    head_columns(axes, [run_label(run) for run, _ in measured])
    styles = {"15th to 85th percentile": band_handle(), "median": line_handle()}
    add_legend(figure, (), styles)
    return figure


def _any(records, name):
    return any(record.get(name) is not None for record in records)


def _recorded(measured, names, value):
    tables = [run.table for run in measured]
    return any(_any(table.get(name, ()), value) for table in tables for name in names)


def _draw_moment(axis, curves, value):
    if value.endswith("_drift"):
        # Zero by definition at the first record: no news, and no place on a log axis.
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


def _draw_percentiles(row, bands):
    """Draws a run a panel, over what is usual among all of them."""
    limits = [band.limits(positive=False) for band in bands]
    low, high = (np.concatenate(ends) for ends in zip(*limits, strict=True))
    present = np.isfinite(low)
    for axis in row[1:]:
        axis.sharey(row[0])
        axis.tick_params(labelleft=False)
    for axis, band in zip(row, bands, strict=True):
        draw_band(axis, band, end=False)
        medians = np.array([values[1] for values in band.rows])
        curve = Curve(band.run, band.steps, medians)
        draw_line(axis, curve, drawable(axis, medians), linewidth=1.2)
    if not present.any():
        return
    least, greatest = usual_range(low[present], high[present])
    cut = [np.any(low < least) or np.any(high > greatest) for low, high in limits]
    room = 0.15 * (greatest - least) * any(cut)
    row[0].set_ylim(least - room, greatest)
    for axis, beyond in zip(row, cut, strict=True):
        if beyond:
            note(axis, "goes on beyond the axis")
