"""Distributions of activations, one behind the other as training goes on."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from tfbn.plots.layer_choice import chosen
from tfbn.plots.legend import run_label
from tfbn.plots.panels import fit_label
from tfbn.plots.panels import grid
from tfbn.plots.panels import head_columns
from tfbn.plots.panels import note
from tfbn.plots.panels import usual_range
from tfbn.plots.runs import Runs
from tfbn.plots.runs import measured_layers

_HEIGHT = 1.7  # of a ridge, in distances between two base lines
_TAIL = 5e-3  # part of the mass at either end that the axis need not show
_WIDEST = 2.5  # times the narrowest: the most that panels with one axis may differ by


def activation_ridges(
    runs: Runs,
    layers: Sequence[str] | None = None,
    *,
    num_steps: int = 8,
    log_steps: bool = False,
) -> Figure:
    """Draws how the distribution of a layer's activations moves while it trains.

    A row per layer and a column per run: histograms at some of the recorded steps, the
    earliest at the top and behind the others. The panels of a row have the same x axis,
    unless the distributions of one run are far wider than those of another; the row's
    label says if axes differ. An axis leaves out the outermost hundredth of the
    values. Each ridge is scaled to its
    own peak: heights show the shape of a distribution, and cannot be compared between
    ridges. A ridge far wider than most is cut off, with a note in the panel, and one
    wider than the axis is drawn lower in proportion. Histograms without finite edges
    are left out.

    Args:
        runs: label -> records; uses the histograms of the kind "activations".
        layers: names of the layers, in the order in which to draw them. Default: the
            second, the middle and the last of those that all runs have.
        num_steps: int >= 1, the greatest number of steps to draw.
        log_steps: whether these are evenly spaced in the logarithm of the step, rather
            than in the step.

    Raises:
        ValueError: if no run has histograms of activations, or `layers` names a layer
            that no run has.
    """
    measured = measured_layers(
        runs, "activations", values="histograms", usable=_is_usable
    )
    names = chosen(measured, layers)
    size = (len(names), len(measured))
    width = max(7.0, min(10.0, 3.5 * size[1]), 2.2 * size[1])
    title = "Distributions of activations, from the earliest step (top) on"
    figure, axes = grid(
        title, *size, x_label="activation", share_x=False, width=width, row_height=2.9
    )
    for row, name in zip(axes, names, strict=True):
        panels = [
            [_ridge(e) for e in _spaced(run.table.get(name, ()), num_steps, log_steps)]
            for run in measured
        ]
        differ = _draw_row(row, panels, [run.run.colour for run in measured])
        label = f"{name}, x axes differ" if differ else name
        fit_label(row[0], f"{label}\noptimizer step")
    head_columns(axes, [run_label(run) for run, _ in measured])
    return figure


class _Ridge(NamedTuple):
    step: int
    edges: np.ndarray
    density: np.ndarray  # of each bin, the peak being 1
    low: float
    high: float


def _is_usable(record):
    """Returns whether there is a histogram with finite edges and some count."""
    edges, counts = _histogram(record)
    finite = np.isfinite(edges).all() and np.isfinite(counts).all()
    return finite and counts.sum() > 0 and np.all(np.diff(edges) > 0)


def _histogram(record):
    histogram = record.get("histogram") or {"edges": [], "counts": []}
    return (np.array(histogram[name], np.float64) for name in ("edges", "counts"))


def _spaced(records, count, log_steps):
    """Returns at most `count` of the records, evenly spaced, with both ends."""
    steps = np.array([record["step"] for record in records], dtype=np.float64)
    if steps.size <= count:
        return records
    places = np.log(np.maximum(steps, 0.5)) if log_steps else steps
    wanted = np.linspace(places[0], places[-1], count)
    nearest = np.abs(places[:, None] - wanted).argmin(axis=0)
    return [records[i] for i in sorted(set(nearest.tolist()))]


def _ridge(record):
    edges, counts = _histogram(record)
    density = counts / np.diff(edges)
    mass = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    low, high = np.interp([_TAIL, 1 - _TAIL], mass, edges)
    return _Ridge(record["step"], edges, density / density.max(), low, high)


def _middles(edges):
    return (edges[1:] + edges[:-1]) / 2


def _draw_row(row, panels, colours):
    """Draws the panels of a row; returns whether their x axes differ."""
    ranges = _ranges(panels)
    for axis, panel, colour, (least, greatest) in zip(
        row, panels, colours, ranges, strict=True
    ):
        axis.set_xlim(least, greatest)
        _draw_ridges(axis, panel, np.array(to_rgb(colour)), greatest - least)
        if any(ridge.low < least or ridge.high > greatest for ridge in panel):
            note(axis, "goes on beyond the axis", top=True)
    return len(set(ranges)) > 1


def _ranges(panels):
    """Returns the range of each panel: the same one, unless they differ too much."""
    together = least, greatest = _usual([r for panel in panels for r in panel])
    # A few ridges that are far wider than the row's other ones do not count.
    usual = [[r for r in p if least <= r.low and r.high <= greatest] for p in panels]
    own = [_usual(panel) if panel else together for panel in usual]
    widths = [high - low for low, high in own]
    return [together] * len(own) if max(widths) <= _WIDEST * min(widths) else own


def _usual(ridges):
    low, high = (np.array([getattr(r, end) for r in ridges]) for end in ("low", "high"))
    return usual_range(low, high)


def _draw_ridges(axis, panel, colour, extent):
    count = len(panel)
    for i, ridge in enumerate(panel):
        base = count - 1 - i  # the earliest at the top
        paleness = 0.7 - 0.5 * i / max(count - 1, 1)
        flatness = min(1.0, extent / max(ridge.high - ridge.low, 1e-30))
        first, *_, last = ridge.edges
        x = np.concatenate([[first], _middles(ridge.edges), [last]])
        top = base + _HEIGHT * flatness * np.concatenate([[0.0], ridge.density, [0.0]])
        look = {"facecolor": paleness + (1 - paleness) * colour, "edgecolor": "none"}
        axis.fill_between(x, base, top, **look, zorder=2 + i / count)
        look = {"color": 0.75 * colour, "linewidth": 0.6}
        axis.plot(x, top, **look, zorder=2 + (i + 0.5) / count)
    axis.set_yticks(range(count), [f"{ridge.step:,}" for ridge in panel[::-1]])
    axis.tick_params(axis="y", length=0, labelsize="small")
    axis.set_ylim(-0.3, max(count, 1) - 1 + _HEIGHT + 0.4)
    axis.spines["left"].set_visible(False)
