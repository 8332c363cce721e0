"""The estimators of a public replication, beside the correct ones."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from tfbn.plots.layer_choice import chosen
from tfbn.plots.legend import add_legend
from tfbn.plots.lines import IDEAL
from tfbn.plots.lines import draw_panel
from tfbn.plots.lines import draw_smoothed
from tfbn.plots.lines import line_handle
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import scale
from tfbn.plots.runs import Runs
from tfbn.plots.runs import layer_series
from tfbn.plots.runs import measured_layers

# The correct and the faulty values, which share a value axis.
_DISTANCES = ("distance", "distance_faulty")
_COSINES = ("cosine", "cosine_faulty")


def replication(
    runs: Runs, layers: Sequence[str] | None = None, *, log_steps: bool = False
) -> Figure:
    """Draws what a public replication of Santurkar et al. (2018) plots.

    Each layer has a row of five panels. Four show the distance |G - G'|_2 and the
    absolute cosine of G and G', by the correct estimator and by the replication's
    faulty one, on the same value axis. The faulty G' is the gradient of a different
    function: the replication's second network has another classifier and other
    normalisation parameters. The fifth panel shows |g_t + g_{t+1}|_2, which the
    replication calls gradient predictiveness. Faint lines are the records, the others
    their centred mean over about a 30th of them.

    Args:
        runs: label -> records; uses the kind "replication".
        layers: names of the layers, in the order in which to draw them. Default: the
            second, the middle and the last of those that all runs have.
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has "replication" records, or `layers` names one that no
            run has.
    """
    measured = measured_layers(runs, "replication")
    names = chosen(measured, layers)
    title = "The replication's estimators, right and faulty"
    figure, axes = grid(title, len(names), 5, log_steps, width=15.0)
    for row, name in zip(axes, names, strict=True):
        _draw_distances(row[:2], measured, name)
        _draw_cosines(row[2:4], measured, name)
        _draw_sums(row[4], measured, name)
    fit_titles(axes)
    ideal = {"ideal": line_handle(**IDEAL)}
    add_legend(figure, measured, ideal)
    return figure


def _draw_distances(pair, measured, name):
    both = [layer_series(measured, name, value) for value in _DISTANCES]
    pair[1].sharey(pair[0])
    for axis, curves in zip(pair, both, strict=True):
        scale(axis, both[0] + both[1], log=True)
        for curve in curves:
            draw_smoothed(axis, curve)
        axis.set_ylabel("$|G - G'|_2$")
    pair[0].set_title(f"{name}: distance")
    pair[1].set_title("distance, faulty")


def _draw_cosines(pair, measured, name):
    for axis, value in zip(pair, _COSINES, strict=True):
        axis.axhline(1.0, zorder=1, **IDEAL)
        axis.set_ylim(-0.05, 1.1)
        curves = layer_series(measured, name, value)
        sizes = [curve._replace(values=np.abs(curve.values)) for curve in curves]
        draw_panel(axis, sizes, log=False)
        axis.set_ylabel("$|\\cos(G, G')|$")
    pair[0].set_title(f"{name}: |cosine|")
    pair[1].set_title("|cosine|, faulty")


def _draw_sums(axis, measured, name):
    draw_panel(axis, layer_series(measured, name, "gradient_sum"))
    axis.set(title=f"{name}: gradient sum", ylabel="$|g_t + g_{t+1}|_2$")
