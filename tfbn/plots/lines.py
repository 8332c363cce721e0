"""Lines and bands against the step, in the look of their runs."""

import dataclasses
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tfbn.plots.panels import GREY
from tfbn.plots.panels import drawable
from tfbn.plots.panels import note
from tfbn.plots.panels import scale
from tfbn.plots.runs import Band
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Run
from tfbn.plots.runs import ends_badly

_FILL = 0.18  # opacity of a band; three over each other still show the grid

IDEAL: dict[str, Any] = {"color": GREY, "linestyle": "--", "linewidth": 0.8}


def draw_smoothed(axis: Axes, curve: Curve) -> None:
    """Draws a smoothed line over faint values, if there are many values."""
    values = drawable(axis, curve.values)
    smooth = smoothed(axis, values)
    if smooth is not values:
        draw_faint(axis, curve)
    draw_line(axis, curve, smooth, linewidth=1.2)


def draw_panel(
    axis: Axes,
    curves: Iterable[Curve],
    draw: Callable[[Axes, Curve], None] = draw_smoothed,
    *,
    log: bool = True,
) -> None:
    """Scales the value axis for the curves and draws them."""
    scale(axis, curves, log)
    for curve in curves:
        draw(axis, curve)


def draw_faint(axis: Axes, curve: Curve) -> None:
    """Draws the values as a thin, pale line, for a smoothed one to lie over."""
    values = drawable(axis, curve.values)
    axis.plot(curve.steps, values, color=curve.run.colour, alpha=0.25, linewidth=0.6)


def draw_points(axis: Axes, curve: Curve) -> None:
    """Draws a line with a marker at (some of) its values."""
    values = drawable(axis, curve.values)
    every = max(1, values.size // 15)  # touching markers would hide the line
    points = {"marker": "o", "markersize": 4.5, "markevery": every}
    draw_line(axis, curve, values, **points, linewidth=1.8)


def draw_line(axis: Axes, curve: Curve, values: np.ndarray, **style: Any) -> None:
    """Draws `values` in the look of the curve's run; marks its end if it diverged."""
    run = curve.run
    measured = drawable(axis, curve.values)
    if np.count_nonzero(np.isfinite(measured)) == 1:
        style.setdefault("marker", ".")  # a line of one point is invisible
    axis.plot(curve.steps, values, **run.look(**style))
    if ends_badly(curve.values):
        mark_end(axis, run, curve.steps, measured)


def draw_band(axis: Axes, band: Band, end: bool = True) -> None:
    """Draws the range of the values at each step: a pale area between two edges.

    The edges tell overlapping bands apart. A step without any finite value is a gap; a
    step between two gaps is a vertical line.

    Args:
        axis: the panel.
        band: what to draw.
        end: whether to mark the end of a run that diverged.
    """
    run = band.run
    low, high = band.limits(positive=axis.get_yscale() == "log")
    area: dict[str, Any] = {"color": run.colour, "alpha": _FILL, "linewidth": 0}
    axis.fill_between(band.steps, low, high, **area)
    for edge in (low, high):
        axis.plot(band.steps, edge, **run.look(linewidth=0.6))
    alone = _alone(np.isfinite(low))
    if alone.any():
        axis.vlines(band.steps[alone], low[alone], high[alone], color=run.colour)
    present = [np.isfinite(row) for row in band.rows]
    if any(row.any() and not row.all() for row in present):
        note(axis, "values that are not finite are left out")
    if end and present and not present[-1].any():
        mark_end(axis, run, band.steps, high)


def shaded(curve: Curve, towards: str, part: float) -> Curve:
    """Returns the curve with a part of another colour mixed into its run's."""
    own, other = to_rgb(curve.run.colour), to_rgb(towards)
    red, green, blue = (
        (1 - part) * a + part * b for a, b in zip(own, other, strict=True)
    )
    colour = to_hex((red, green, blue))
    return curve._replace(run=dataclasses.replace(curve.run, colour=colour))


def mark_end(axis: Axes, run: Run, steps: np.ndarray, measured: np.ndarray) -> None:
    """Marks the last finite value of a run that diverged."""
    found = np.flatnonzero(np.isfinite(measured))
    if run.diverged and found.size:
        last = found[-1]
        cross = run.look(marker="x", markersize=9, markeredgewidth=2, zorder=4)
        axis.plot(steps[last], measured[last], **cross)


def smoothed(axis: Axes, values: np.ndarray) -> np.ndarray:
    """Returns the centred mean of each value over about a 30th of them.

    Fewer than 60 values are returned unchanged. On a logarithmic axis it is the mean of
    the logarithms, and all values must be `drawable`.
    """
    half = values.size // 60
    if not half:
        return values
    if axis.get_yscale() != "log":
        return centred_mean(values, half)
    return np.exp(centred_mean(np.log(values), half))


def centred_mean(values: np.ndarray, half: int) -> np.ndarray:
    """Returns the mean of each value and its `half` neighbours on either side.

    Values that are not finite are skipped, and NaN in the result.
    """
    present = np.isfinite(values)
    filled = np.where(present, values, 0.0)
    means = _window_sums(filled, half) / np.maximum(_window_sums(present, half), 1)
    return np.where(present, means, np.nan)


def line_handle(**style: Any) -> Artist:
    """Returns the legend's handle for a style of line that all runs share."""
    return Line2D([], [], **{"color": GREY, "linewidth": 1.2, **style})


def band_handle() -> Artist:
    """Returns the legend's handle for the bands of all runs."""
    return Patch(facecolor=(0.4, 0.4, 0.4, _FILL), edgecolor=GREY, linewidth=0.6)


def _alone(present):
    """Returns where a value is present and both of its neighbours are not."""
    padded = np.concatenate([[False], present, [False]])
    return present & ~padded[:-2] & ~padded[2:]


def _window_sums(values, half):
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(values.size)
    return (
        sums[np.minimum(index + half + 1, values.size)]
        - sums[np.maximum(index - half, 0)]
    )
