"""The loss along one direction, or over the plane of two directions."""

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from tfbn.plots.legend import add_legend
from tfbn.plots.legend import run_label
from tfbn.plots.panels import drawable
from tfbn.plots.panels import grid
from tfbn.plots.panels import head_columns
from tfbn.plots.panels import note
from tfbn.plots.panels import scale
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Runs
from tfbn.plots.runs import is_wide
from tfbn.plots.runs import latest
from tfbn.plots.runs import require
from tfbn.plots.runs import styled

_KINDS = ("surface", "surface_2d")
_LEVELS = 24
_COLOURS = "cividis"  # looks as even to colour-blind readers as to others


def surface(runs: Runs, *, step: int | None = None) -> Figure:
    """Draws the loss around the current parameters: curves, or maps of contours.

    Runs that were measured along one direction share a panel; each run measured along
    two has a map of its own, with common colours. The levels, and the loss axis of the
    curves, are logarithmic if the losses span more than a decade (maps) or two
    (curves). Grey areas of a map are losses that are not finite.

    Args:
        runs: label -> records; uses the kinds "surface" and "surface_2d".
        step: the last record of each run up to this step is drawn. Default: the last.

    Raises:
        ValueError: if no run has such a record with a finite loss.
    """
    known = styled(runs)
    curves, maps = (latest(known, kind, step, _is_usable) for kind in _KINDS)
    kinds = "' or '".join(_KINDS)
    require(curves + maps, f"finite losses in records of kind '{kinds}'", runs)
    count = len(maps) + bool(curves)
    width = 7.0 if count == 1 else max(10.0, 3.2 * count)
    title = "Loss around the point"
    figure, axes = grid(title, 1, count, x_label="", share_x=False, width=width)
    if count > 1:
        figure.set_figheight(0.8 + width / count * 0.9)  # maps are square
    if curves:
        _draw_curves(axes[0, 0], curves)
        steps = {run.label: f"step {record['step']:,}" for run, record in curves}
        add_legend(figure, curves, {}, steps)
    if maps:
        _draw_maps(figure, axes[:, -len(maps) :], maps)
    return figure


def _losses(record):
    return np.array(record["losses"], dtype=np.float64)


def _is_usable(record):
    return np.isfinite(_losses(record)).any()


def _draw_curves(axis, found):
    curves = [
        Curve(run, np.array(record["radii"], dtype=np.float64), _losses(record))
        for run, record in found
    ]
    scale(axis, curves, log=is_wide(curves))
    for run, radii, losses in curves:
        axis.plot(radii, drawable(axis, losses), **run.look(linewidth=1.5))
    axis.axvline(0.0, color="0.7", linewidth=0.8, zorder=1)
    axis.set(xlabel="position along the direction", ylabel="loss")


def _draw_maps(figure, axes, found):
    levels, norm = _levels(np.concatenate([_losses(r).ravel() for _, r in found]))
    for axis, (_, record) in zip(axes.flat, found, strict=True):
        radii = np.array(record["radii"], dtype=np.float64)
        # Rows are positions along the first direction, which is the x axis here.
        losses = np.ma.masked_invalid(_losses(record).T)
        options = {"levels": levels, "norm": norm, "extend": "max"}
        filled = axis.contourf(radii, radii, losses, cmap=_COLOURS, **options)
        lines = {"colors": "white", "linewidths": 0.4, "alpha": 0.6}
        axis.contour(radii, radii, losses, levels=levels[::2], **lines)
        cross = {"marker": "+", "markersize": 11, "markeredgewidth": 2}
        axis.plot(0.0, 0.0, color="#D55E00", **cross)
        axis.set(xlabel="first direction", aspect="equal", facecolor="0.85")
        axis.grid(False)
        if losses.mask.any():
            note(axis, "grey: not finite")
    axes[0, 0].set_ylabel("second direction")
    heads = [f"{run_label(run)}, step {record['step']:,}" for run, record in found]
    head_columns(axes, heads)
    bar = figure.colorbar(filled, ax=list(axes.flat), label="loss", shrink=0.8)
    _tick(bar, levels)


def _levels(losses):
    """Returns the levels of the contours, and the scale of their colours."""
    losses = losses[np.isfinite(losses)]
    least, greatest = losses.min(), np.quantile(losses, 0.98)
    if greatest <= least:
        greatest = least + max(abs(least), 1.0) * 1e-3
    if least > 0 and greatest > 10 * least:
        return np.geomspace(least, greatest, _LEVELS), LogNorm(least, greatest)
    return np.linspace(least, greatest, _LEVELS), Normalize(least, greatest)


def _tick(bar, levels):
    """Labels some levels with their values, to as many digits as tell them apart."""
    shown = levels[:: (_LEVELS - 1) // 5]
    labels = [f"{level:.3g}" for level in shown]
    digits = 3
    while len(set(labels)) < len(labels) and digits < 17:
        digits += 1
        labels = [f"{level:#.{digits}g}" for level in shown]
    bar.set_ticks(shown, labels=labels)
    bar.minorticks_off()
