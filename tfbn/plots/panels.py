"""Grids of panels, and their axes."""

import textwrap
from collections.abc import Iterable
from typing import Any
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfbn import _compat
from tfbn.plots.log_ticks import set_log_ticks
from tfbn.plots.runs import Band
from tfbn.plots.runs import Curve
from tfbn.plots.runs import finite

GREY = "0.4"

_STEPS = "optimizer step"


def grid(
    title: str,
    rows: int,
    columns: int,
    log_steps: bool = False,
    *,
    x_label: str = _STEPS,
    share_x: bool | Literal["row"] = True,
    width: float | None = None,
    row_height: float = 2.4,
) -> tuple[Figure, np.ndarray]:
    """Returns a figure and its panels, an array of `Axes` `[rows, columns]`.

    Args:
        title: title of the figure.
        rows: number of rows of panels.
        columns: number of columns of panels.
        log_steps: whether the x axes are logarithmic; they cannot show step 0.
        x_label: label of the x axes of the lowest row.
        share_x: which panels share an x axis, as in `Figure.subplots`.
        width: inches. Default: 10, or 7 for a single column.
        row_height: inches, if there are several rows.
    """
    width = width or (10.0 if columns > 1 else 7.0)
    height = 1.6 + (3.2 if rows == 1 else row_height * rows)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle(title, fontweight="bold")
    axes = figure.subplots(rows, columns, sharex=share_x, squeeze=False)
    for axis in axes.flat:
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        if log_steps:
            axis.set_xscale("log", nonpositive="mask")
        elif x_label == _STEPS:  # no fractions, even if there is a single step
            axis.locator_params(axis="x", integer=True)
    for axis in axes[-1]:
        axis.set_xlabel(x_label)
    figure.align_ylabels(axes)
    return figure, axes


def scale(axis: Axes, data: Iterable[Curve | Band], log: bool) -> None:
    """Makes the value axis logarithmic if `log`, unless no value is positive."""
    values = finite(data)
    if not log or not np.any(values > 0):
        return
    axis.set_yscale("log", nonpositive="mask")
    set_log_ticks(axis)
    if np.any(values <= 0):
        left_out = "zeros" if values.min() == 0 else "values up to zero"
        note(axis, f"{left_out} are not drawn")


def leave_out_last(axes: np.ndarray, count: int = 1) -> None:
    """Removes the last panels, and labels the x axes of those above them instead."""
    label = axes[-1, 0].get_xlabel()
    for above, last in axes[-2:, axes.shape[1] - count :].T:
        _compat.stop_aligning_ylabel(last)
        last.remove()
        above.xaxis.set_tick_params(labelbottom=True)
        above.set_xlabel(label)


def head_columns(axes: np.ndarray, labels: list[str]) -> None:
    """Titles the columns of panels, breaking the labels into lines that fit."""
    for axis, label in zip(axes[0], labels, strict=True):
        axis.set_title(label)
    fit_titles(axes)


def fit_titles(axes: np.ndarray) -> None:
    """Breaks the panels' titles into lines that fit; names of layers can be long."""
    letters = int(axes[0, 0].figure.get_figwidth() / axes.shape[1] * 9)
    for axis in axes.flat:
        axis.set_title(textwrap.fill(axis.get_title(), letters), parse_math=False)


def fit_label(axis: Axes, text: str) -> None:
    """Labels the value axis with a text of any length."""
    lines = (textwrap.fill(line, 24) for line in text.split("\n"))
    axis.set_ylabel("\n".join(lines), parse_math=False)


def wrapped(text: str, letters: int) -> str:
    """Breaks a text into lines, unless it contains a formula."""
    return text if "$" in text else textwrap.fill(text, letters)


def note(axis: Axes, text: str, top: bool = False) -> None:
    """Writes a note into a corner of the panel, unless it is there already."""
    said = [shown.get_text() for shown in axis.texts]
    if text in said:
        return
    axis.margins(y=0.14)  # room for it
    place: dict[str, Any] = (
        {"y": 0.99, "va": "top"} if top else {"y": 0.02 + 0.08 * len(said)}
    )
    behind = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1}
    axis.text(
        x=0.99, s=text, transform=axis.transAxes, ha="right", **place,
        fontsize="small", color=GREY, bbox=behind, zorder=5,
    )  # fmt: skip


def drawable(axis: Axes, values: np.ndarray) -> np.ndarray:
    """Returns the values, with NaN for those that the axis cannot show."""
    shown = np.isfinite(values)
    if axis.get_yscale() == "log":
        shown &= values > 0
    return np.where(shown, values, np.nan)


def symmetric_scale(axis: Axes, threshold: float) -> None:
    """Makes the value axis logarithmic on both sides of zero, and linear around it.

    The linear part ends at the power of ten above `threshold`, so that ticks stay
    apart.
    """
    axis.set_yscale("symlog", linthresh=10.0 ** np.ceil(np.log10(threshold)))
    axis.axhline(0.0, color="0.7", linewidth=0.6, zorder=1)


def include_ideal(axis: Axes, ideal: float) -> None:
    """Has the value axis end a little above `ideal`, the greatest value there can be.

    An axis shorter than a twentieth would magnify rounding errors.
    """
    low, high = axis.get_ylim()
    length = max(ideal - low, 0.05)
    axis.set_ylim(ideal - length, max(high, ideal + 0.05 * length))


def usual_range(low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """Returns the range of an axis, which a few outliers do not widen.

    Args:
        low: lower ends of the intervals to draw, all finite.
        high: their upper ends.

    Returns:
        (least, greatest), with a margin, of the intervals that are at most five times
        as wide as the median interval, and at most five such widths away from it.
    """
    width = np.median(high - low)
    centre = np.median(high + low) / 2
    usual = (high - low <= 5 * width) & (abs(high + low - 2 * centre) <= 10 * width)
    if width <= 0 or not usual.any():
        usual = np.ones_like(low, dtype=bool)
    least, greatest = low[usual].min(), high[usual].max()
    margin = 0.05 * (greatest - least) or 0.5
    return least - margin, greatest + margin
