"""Percentiles of activations against the step."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfbn.plots.layer_choice import chosen
from tfbn.plots.legend import add_legend
from tfbn.plots.legend import run_label
from tfbn.plots.lines import band_handle
from tfbn.plots.lines import draw_band
from tfbn.plots.lines import draw_line
from tfbn.plots.lines import line_handle
from tfbn.plots.panels import drawable
from tfbn.plots.panels import fit_label
from tfbn.plots.panels import grid
from tfbn.plots.panels import head_columns
from tfbn.plots.panels import note
from tfbn.plots.panels import usual_range
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Runs
from tfbn.plots.runs import layer_bands
from tfbn.plots.runs import measured_layers


def activation_percentiles(
    runs: Runs, layers: Sequence[str] | None = None, *, log_steps: bool = False
) -> Figure:
    """Draws percentiles of one unit, as Fig. 1 of Ioffe and Szegedy (1502.03167).

    A row per layer and a column per run, with one value axis for each row: the band
    extends from the 15th to the 85th percentile of the unit's values over the batch,
    the line is the median. A run that blows up is cut off, with a note in the panel.

    Args:
        runs: label -> records; uses the kind "activations".
        layers: as in `activation_moments`.
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has percentiles of activations, or `layers` names a layer
            that no run has.
    """
    measured = measured_layers(
        runs,
        "activations",
        values="percentiles",
        usable=lambda record: record.get("percentiles"),
    )
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


def _draw_percentiles(row, bands):
    """Draws one run per panel, on the range that is usual among all of them."""
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
