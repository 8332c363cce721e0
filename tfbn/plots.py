"""Figures from the records of runs.

Every drawing function takes `runs`, a mapping from label to records (as
`tfbn.diagnostics.records.read_runs` returns it), and returns a matplotlib `Figure`; no
pyplot, no global state, nothing is read or trained. A run has the same colour in every
figure of the same `runs`. Values that are not finite are not drawn; a run whose loss
or distance ends in such values is called "(diverged)" in the legend, with an x at its
last finite point. Zeros have no place on a logarithmic axis: a panel that leaves some
out says so.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfbn.diagnostics.records import by_layer
from tfbn.diagnostics.records import column
from tfbn.diagnostics.records import select

FILE_FORMATS = ("png", "pdf", "svg")

Runs = Mapping[str, Sequence[Mapping]]

# Okabe and Ito's colours, distinct for colour-blind readers too; their yellow is left
# out because it is too pale for a line on white.
_COLOURS = (
    "#0072B2",  # blue
    "#D55E00",  # vermillion
    "#009E73",  # green
    "#CC79A7",  # purple
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#000000",  # black
)
_DASHES = ("-", "--", ":", "-.")  # the next one each time the colours are used up
_GREY = "0.4"

# Name in the records -> label of the value axis.
_CURVES = {"loss": "loss", "accuracy": "accuracy (fraction correct)"}
_BOUNDS = {
    "rmax": "rmax (1: batch normalization)",
    "dmax": "dmax (0: batch normalization)",
}


def figures(
    runs: Runs, *, layers: Sequence[str] | None = None, log_steps: bool = False
) -> dict[str, Figure]:
    """Draws every figure that the records have data for.

    Args:
        runs: label -> records.
        layers: layers of `covariate_shift`; see there.
        log_steps: whether the step axes are logarithmic.

    Returns:
        A dict from name, one of "learning_curves", "covariate_shift" and
        "renorm_bounds", to figure; empty if there is nothing to draw.

    Raises:
        ValueError: if `layers` is given and no run has a layer of such a name.
    """
    styled = _styled(runs)
    drawn = {}
    if any(_series(styled, k, n) for k in ("train", "eval") for n in _CURVES):
        drawn["learning_curves"] = learning_curves(runs, log_steps=log_steps)
    if layers is not None or any(len(run.layers) > 1 for run in styled):
        drawn["covariate_shift"] = covariate_shift(runs, layers, log_steps=log_steps)
    if any(_series(styled, "train", name) for name in _BOUNDS):
        drawn["renorm_bounds"] = renorm_bounds(runs, log_steps=log_steps)
    return drawn


def learning_curves(runs: Runs, *, log_steps: bool = False) -> Figure:
    """Draws loss and accuracy against the step.

    Training is a thin line over the faint values that it smooths (a centred mean over
    about a 30th of the records), test a line with markers. The loss axis is logarithmic
    if the losses span more than two decades. Without any accuracy there is one panel.

    Args:
        runs: label -> records; uses the kinds "train" and "eval".
        log_steps: whether the step axis is logarithmic; it has no place for step 0.

    Raises:
        ValueError: if no run has a loss or an accuracy.
    """
    styled = _styled(runs)
    panels = {
        name: (_series(styled, "train", name), _series(styled, "eval", name))
        for name in _CURVES
    }
    panels = {name: curves for name, curves in panels.items() if any(curves)}
    _require(panels, "losses or accuracies", runs)
    figure, axes = _grid("Learning curves", 1, len(panels), log_steps)
    for axis, (name, (train, test)) in zip(axes.flat, panels.items(), strict=True):
        _scale(axis, train + test, log=name == "loss" and _is_wide(train + test))
        for curve in train:
            _draw_smoothed(axis, curve)
        for curve in test:
            _draw_points(axis, curve)
        axis.set(title=name.capitalize(), ylabel=_CURVES[name])
    everything = [c for curves in panels.values() for group in curves for c in group]
    _legend(figure, everything, _style_handles(panels.values()))
    return figure


def covariate_shift(
    runs: Runs, layers: Sequence[str] | None = None, *, log_steps: bool = False
) -> Figure:
    """Draws Santurkar's internal covariate shift, as their Fig. 3 (1805.11604).

    A row of two panels a layer: the distance |G - G'|_2 (logarithmic axis; ideal 0)
    and the cosine of G and G' (ideal 1), where G and G' are the layer's gradients on
    the same batch before and after the layers below it made their update. Faint values
    are the records, the line is their centred mean over about a 30th of them.

    Args:
        runs: label -> records; uses the kind "ics".
        layers: names of the layers, in the order in which to draw them. Default: the
            second, the middle and the last of those that all runs have; never the
            first, whose shift is zero by definition.
        log_steps: whether the step axis is logarithmic; it has no place for step 0.

    Raises:
        ValueError: if no run has "ics" records, `layers` names one that no run has, or
            is not given and there is no layer besides the first.
    """
    measured = [run for run in _styled(runs) if run.layers]
    _require(measured, "records of kind 'ics' (see train.py --ics_every)", runs)
    names = _chosen(measured, layers)
    figure, axes = _grid("Internal covariate shift", len(names), 2, log_steps)
    everything = []
    for (left, right), name in zip(axes, names, strict=True):
        distances = _layer_series(measured, name, "distance")
        _scale(left, distances, log=True)
        right.axhline(1.0, color=_GREY, linestyle="--", linewidth=0.8, zorder=1)
        right.set_ylim(-1.1, 1.1)
        for curve in distances:
            _draw_smoothed(left, curve)
        for curve in _layer_series(measured, name, "cosine"):
            _draw_smoothed(right, curve)
        left.set(title=f"{name}: distance", ylabel="$|G - G'|_2$")
        right.set(title=f"{name}: cosine", ylabel="$\\cos(G, G')$")
        everything += distances
    ideal = Line2D([], [], color=_GREY, linestyle="--", linewidth=0.8)
    _legend(figure, everything, {"ideal": ideal})
    return figure


def renorm_bounds(runs: Runs, *, log_steps: bool = False) -> Figure:
    """Draws rmax and dmax of Batch Renormalization against the step.

    Runs often share a schedule, so earlier runs have wider lines: they stay visible
    under the later ones.

    Args:
        runs: label -> records; uses the kind "train" of the runs that have bounds.
        log_steps: whether the step axis is logarithmic; it has no place for step 0.

    Raises:
        ValueError: if no run has bounds.
    """
    styled = _styled(runs)
    panels = {name: _series(styled, "train", name) for name in _BOUNDS}
    everything = panels["rmax"] + panels["dmax"]
    _require(everything, "rmax or dmax (only a BatchRenorm layer has them)", runs)
    figure, axes = _grid("Batch Renormalization bounds", 1, 2, log_steps)
    for axis, (name, curves) in zip(axes.flat, panels.items(), strict=True):
        widths = np.linspace(min(1.5 * len(curves), 6.0), 1.5, len(curves))
        for curve, width in zip(curves, widths, strict=True):
            _draw_line(axis, curve, _drawable(axis, curve.values), linewidth=width)
        axis.set(title=name, ylabel=_BOUNDS[name])
    _legend(figure, everything, {})
    return figure


def save(
    figures: Mapping[str, Figure],
    directory: str | os.PathLike,
    file_format: str = "png",
    dpi: int = 150,
) -> list[str]:
    """Writes figures as `<directory>/<name>.<file_format>`.

    A file is replaced as a whole or not at all, so a viewer never finds half of one.

    Args:
        figures: name -> figure.
        directory: folder to write into, made if missing.
        file_format: "png", "pdf" or "svg".
        dpi: dots per inch of a "png"; the figures are 10 inches wide.

    Returns:
        The paths of the files, in the order of `figures`.

    Raises:
        ValueError: if `file_format` is none of these.
        OSError: if the folder or a file cannot be written.
    """
    if file_format not in FILE_FORMATS:
        raise ValueError(
            f"`file_format` must be one of {', '.join(FILE_FORMATS)}. "
            f"Received: file_format={file_format!r}."
        )
    os.makedirs(directory, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        path = os.path.join(directory, f"{name}.{file_format}")
        _write(figure, path, file_format, dpi)
        paths.append(path)
    return paths


@dataclasses.dataclass(frozen=True)
class _Run:
    label: str
    records: Sequence[Mapping]
    layers: Mapping[str, list[dict]]
    colour: str
    dash: str

    @functools.cached_property
    def diverged(self) -> bool:
        ends = [(select(self.records, kind), "loss") for kind in ("train", "eval")]
        ends += [(records, "distance") for records in self.layers.values()]
        return any(_ends_badly(column(records, name)[1]) for records, name in ends)


class _Curve(NamedTuple):
    run: _Run
    steps: np.ndarray
    values: np.ndarray


def _styled(runs):
    return [
        _Run(
            label=label,
            records=records,
            layers=by_layer(records),
            colour=_COLOURS[i % len(_COLOURS)],
            dash=_DASHES[i // len(_COLOURS) % len(_DASHES)],
        )
        for i, (label, records) in enumerate(runs.items())
    ]


def _series(styled, kind, name):
    curves = [_Curve(r, *column(select(r.records, kind), name)) for r in styled]
    return [curve for curve in curves if curve.steps.size]


def _layer_series(styled, layer, name):
    return [_Curve(r, *column(r.layers.get(layer, ()), name)) for r in styled]


def _require(data, what, runs):
    if not data:
        raise ValueError(f"No run has {what} to draw. Received: runs={list(runs)}.")


def _chosen(measured, layers):
    """Returns the names of the layers to draw."""
    known = list(dict.fromkeys(name for run in measured for name in run.layers))
    if layers is not None:
        unknown = [name for name in layers if name not in known]
        if unknown or not layers:
            raise ValueError(
                f"`layers` must be among {', '.join(known)}. "
                f"Received: layers={','.join(layers)}."
            )
        return list(dict.fromkeys(layers))
    first = {next(iter(run.layers)) for run in measured}
    shared = [name for name in known if all(name in run.layers for run in measured)]
    names = [name for name in shared if name not in first]
    if not names:
        raise ValueError(
            "No layer besides the first, whose shift is zero by definition, is in "
            f"every run. Received layers: {', '.join(known)}. Choose by `layers`."
        )
    count = len(names)
    return [names[i] for i in sorted({0, (count - 1) // 2, count - 1})]


def _is_wide(curves):
    """Returns whether the values are positive and span more than two decades."""
    values = np.concatenate([curve.values for curve in curves])
    values = values[np.isfinite(values)]
    return values.size > 0 and values.min() >= 0 and _ratio(values[values > 0]) > 100


def _ratio(values):
    return values.max() / values.min() if values.size else 1.0


def _ends_badly(values):
    return values.size > 0 and not np.isfinite(values[-1])


def _grid(title, rows, columns, log_steps):
    size = (10.0 if columns > 1 else 7.0, 1.6 + (3.2 if rows == 1 else 2.4 * rows))
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontweight="bold")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axis in axes.flat:
        axis.grid(color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
        if log_steps:
            axis.set_xscale("log", nonpositive="mask")
    for axis in axes[-1]:
        axis.set_xlabel("optimizer step")
    return figure, axes


def _scale(axis: Axes, curves, log):
    """Makes the value axis logarithmic, if there is a value for such an axis."""
    values = np.concatenate([curve.values for curve in curves])
    values = values[np.isfinite(values)]
    if not log or not np.any(values > 0):
        return
    axis.set_yscale("log", nonpositive="mask")
    if np.any(values <= 0):
        axis.text(
            0.99, 0.02, "zeros are not drawn", transform=axis.transAxes,
            ha="right", fontsize="small", color=_GREY,
        )  # fmt: skip


def _drawable(axis, values):
    """Returns the values with NaN for those that have no place on the axis."""
    shown = np.isfinite(values)
    if axis.get_yscale() == "log":
        shown &= values > 0
    return np.where(shown, values, np.nan)


def _draw_smoothed(axis, curve):
    values = _drawable(axis, curve.values)
    half = values.size // 60
    if half:
        faint = {"color": curve.run.colour, "alpha": 0.25, "linewidth": 0.6}
        axis.plot(curve.steps, values, **faint)
        values = _smoothed(values, half, in_decades=axis.get_yscale() == "log")
    _draw_line(axis, curve, values, linewidth=1.2)


def _draw_points(axis, curve):
    values = _drawable(axis, curve.values)
    every = max(1, values.size // 15)  # markers that touch would hide the line
    points = {"marker": "o", "markersize": 4.5, "markevery": every, "linewidth": 1.8}
    _draw_line(axis, curve, values, **points)


def _draw_line(axis, curve, values, **style):
    """Draws `values` in the style of the curve's run, and its end if it diverged."""
    run = curve.run
    measured = _drawable(axis, curve.values)
    finite = np.flatnonzero(np.isfinite(measured))
    if finite.size == 1:
        style.setdefault("marker", ".")  # a line of one point cannot be seen
    axis.plot(curve.steps, values, color=run.colour, linestyle=run.dash, **style)
    if run.diverged and finite.size and _ends_badly(curve.values):
        last = finite[-1]
        cross = {"marker": "x", "markersize": 9, "markeredgewidth": 2, "zorder": 4}
        axis.plot(curve.steps[last], measured[last], color=run.colour, **cross)


def _smoothed(values, half, in_decades):
    """Returns the mean of the `2 * half + 1` values around each, skipping NaN.

    Where a value is NaN the result is, too. `in_decades`: the mean of the logarithms.
    """
    present = np.isfinite(values)
    filled = np.where(present, values, 1.0)
    filled = np.where(present, np.log(filled) if in_decades else filled, 0.0)
    means = _window_sums(filled, half) / np.maximum(_window_sums(present, half), 1)
    return np.where(present, np.exp(means) if in_decades else means, np.nan)


def _window_sums(values, half):
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(values.size)
    return (
        sums[np.minimum(index + half + 1, values.size)]
        - sums[np.maximum(index - half, 0)]
    )


def _style_handles(panels):
    train, test = (any(curves) for curves in zip(*panels, strict=True))
    handles = {}
    if train:
        handles["training"] = Line2D([], [], color=_GREY, linewidth=1.2)
    if test:
        handles["test"] = Line2D([], [], color=_GREY, linewidth=1.8, marker="o")
    return handles


def _legend(figure, curves, styles):
    """Puts one legend under the panels: the runs, then what the line styles mean."""
    handles = {}
    for run in {curve.run.label: curve.run for curve in curves}.values():
        label = f"{run.label} (diverged)" if run.diverged else run.label
        look = {"color": run.colour, "linestyle": run.dash, "linewidth": 2}
        handles[label] = Line2D([], [], **look)
    handles |= styles
    widest = max(len(label) for label in handles)
    columns = max(1, min(len(handles), int(11 * figure.get_figwidth()) // (widest + 8)))
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.22 * (rows - 1))
    legend = figure.legend(
        handles.values(),
        [""] * len(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )
    # Set here, for matplotlib leaves out labels that start with an underscore and reads
    # mathematics between dollar signs, both of which may be in a directory's name.
    for text, label in zip(legend.get_texts(), handles, strict=True):
        text.set(text=label, parse_math=False)


def _write(figure, path, file_format, dpi):
    # In the same folder, since os.replace is atomic only inside one file system.
    partial = f"{path}.{os.getpid()}.partial"
    try:
        figure.savefig(partial, format=file_format, dpi=dpi)
        os.replace(partial, path)
    finally:
        if os.path.exists(partial):
            os.remove(partial)
