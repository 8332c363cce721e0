"""The loss and its gradient along a line from the current parameters."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tfbn.plots.layer_choice import picked
from tfbn.plots.legend import add_legend
from tfbn.plots.lines import band_handle
from tfbn.plots.lines import draw_band
from tfbn.plots.lines import draw_line
from tfbn.plots.lines import draw_panel
from tfbn.plots.lines import line_handle
from tfbn.plots.panels import drawable
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import leave_out_last
from tfbn.plots.panels import scale
from tfbn.plots.runs import Runs
from tfbn.plots.runs import bands
from tfbn.plots.runs import layer_bands
from tfbn.plots.runs import layers_of
from tfbn.plots.runs import require
from tfbn.plots.runs import series
from tfbn.plots.runs import styled

_LINEARITY = "max $2\\,|\\Delta L - \\langle g, u\\rangle|\\,/\\,|u|^2$"


def landscape(
    runs: Runs, layers: Sequence[str] = (), *, log_steps: bool = False
) -> Figure:
    """Draws the landscape along the gradient, as Santurkar et al. 2018, Fig. 4.

    Four panels, with logarithmic axes: the range, over the step sizes that were
    measured, of the loss at x - step size * g, with the loss at x itself as a thin
    line; the range of the distance of the gradients there from g (gradient
    predictiveness); the effective beta-smoothness; and the local linearity, the
    smallest a for which |L(x + u) - L(x) - <g, u>| is at most a |u|^2 / 2 at all points
    measured.

    Values that are not finite are left out, with a note in the panel; where no value of
    a record is finite the band has a gap.

    Args:
        runs: label -> records; uses the kind "landscape".
        layers: names of layers to draw the gradient predictiveness of as well, a panel
            each. Default: none.
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has such records, or `layers` names a layer that no run
            has.
    """
    title = "Landscape along the gradient"
    return draw(runs, "landscape", title, layers, log_steps)


def draw(
    runs: Runs, kind: str, title: str, layers: Sequence[str], log_steps: bool
) -> Figure:
    """Draws the records of `kind`; see `landscape`."""
    known = styled(runs)
    losses = bands(known, kind, "losses")
    require(losses, f"records of kind '{kind}'", runs)
    measured = layers_of(known, kind)
    layers = picked(measured, layers) if layers else []
    figure, axes = grid(title, 2 + -(-len(layers) // 2), 2, log_steps, row_height=2.8)
    _draw_losses(axes[0, 0], losses, series(known, kind, "loss"))
    distances = bands(known, kind, "gradient_distances")
    _draw_distances(axes[0, 1], distances, "Gradient predictiveness")
    beta, linearity = (series(known, kind, n) for n in ("beta", "local_linearity"))
    _draw_curves(axes[1, 0], beta, "Effective smoothness", "effective $\\beta$")
    _draw_curves(axes[1, 1], linearity, "Local linearity", _LINEARITY)
    for axis, name in zip(axes.flat[4:], layers, strict=False):
        distances = layer_bands(measured, name, "gradient_distances")
        _draw_distances(axis, distances, f"{name}: gradient predictiveness")
    fit_titles(axes)
    if len(layers) % 2:
        leave_out_last(axes)
    styles = {"range over the step sizes": band_handle()}
    styles["loss at the point itself"] = line_handle()
    add_legend(figure, losses, styles)
    return figure


def _draw_losses(axis, losses, curves):
    scale(axis, losses + curves, log=True)
    for band in losses:
        draw_band(axis, band, end=False)  # the line marks it
    for curve in curves:
        draw_line(axis, curve, drawable(axis, curve.values), linewidth=1.2)
    axis.set(title="Loss range", ylabel="loss")


def _draw_distances(axis, distances, title):
    scale(axis, distances, log=True)
    for band in distances:
        draw_band(axis, band)
    axis.set(title=title, ylabel="$|g' - g|_2$")


def _draw_curves(axis, curves, title, label):
    draw_panel(axis, curves)
    axis.set(title=title, ylabel=label)
