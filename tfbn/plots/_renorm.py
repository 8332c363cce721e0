"""r and d of Batch Renormalization before clipping, beside their bounds."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tfbn.plots.layer_choice import chosen
from tfbn.plots.legend import add_legend
from tfbn.plots.lines import draw_line
from tfbn.plots.lines import line_handle
from tfbn.plots.panels import drawable
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import scale
from tfbn.plots.runs import Runs
from tfbn.plots.runs import layer_series
from tfbn.plots.runs import measured_layers

_LARGEST = {"linewidth": 1.5}
_COMMON = {"linewidth": 0.8, "alpha": 0.7}
_BOUND = {"linewidth": 0.9, "linestyle": "--"}

# Of each panel: title, label, and value in the records -> look of its line.
_PANELS = (
    (
        "r",
        "$\\sigma_B / \\sigma$",
        {"r_largest": _LARGEST, "common_scale": _COMMON, "rmax": _BOUND},
    ),
    (
        "|d|",
        "$|\\mu_B - \\mu| / \\sigma$",
        {"d_largest": _LARGEST, "d_median": _COMMON, "dmax": _BOUND},
    ),
    (
        "channels clipped",
        "share",
        {"r_clipped": _LARGEST, "d_clipped": {"linewidth": 1.2, "linestyle": ":"}},
    ),
)


def renorm(
    runs: Runs, layers: Sequence[str] | None = None, *, log_steps: bool = False
) -> Figure:
    """Draws r and d of Batch Renormalization before clipping, and what is clipped.

    A row of three panels per layer: the largest r of any channel, the geometric mean of
    sigma_B / sigma over the channels (pale) and rmax (dashed); the largest |d|, its
    median (pale) and dmax (dashed); and the shares of channels whose r (solid) and d
    (dotted) are clipped. The first two have logarithmic axes.

    Args:
        runs: label -> records; uses the kind "renorm".
        layers: names of the layers, in the order in which to draw them. Default: the
            second, the middle and the last of those that all runs have.
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has "renorm" records, or `layers` names one that no run
            has.
    """
    measured = measured_layers(runs, "renorm")
    names = chosen(measured, layers)
    title = "What Batch Renormalization corrects"
    figure, axes = grid(title, len(names), len(_PANELS), log_steps, width=12.0)
    for row, name in zip(axes, names, strict=True):
        for axis, panel in zip(row, _PANELS, strict=True):
            _draw(axis, measured, name, *panel)
    fit_titles(axes)
    styles = {
        "largest": line_handle(**_LARGEST),
        "mean of r, median of |d|": line_handle(**_COMMON),
        "bound": line_handle(**_BOUND),
        "share of d": line_handle(linestyle=":"),
    }
    add_legend(figure, measured, styles)
    return figure


def _draw(axis, measured, name, title, label, looks):
    curves = {value: layer_series(measured, name, value) for value in looks}
    is_share = label == "share"
    scale(axis, [c for some in curves.values() for c in some], log=not is_share)
    for value, some in curves.items():
        for curve in some:
            draw_line(axis, curve, drawable(axis, curve.values), **looks[value])
    if is_share:
        axis.set_ylim(-0.05, 1.05)
    axis.set(title=f"{name}: {title}", ylabel=label)
