"""Internal covariate shift: gradients before and after the update of other layers."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from tfbn.plots.layer_choice import chosen
from tfbn.plots.legend import add_legend
from tfbn.plots.lines import IDEAL
from tfbn.plots.lines import draw_panel
from tfbn.plots.lines import line_handle
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import include_ideal
from tfbn.plots.runs import TOTAL
from tfbn.plots.runs import Runs
from tfbn.plots.runs import layer_series
from tfbn.plots.runs import layers_of
from tfbn.plots.runs import require
from tfbn.plots.runs import styled


def covariate_shift(
    runs: Runs, layers: Sequence[str] | None = None, *, log_steps: bool = False
) -> Figure:
    """Draws the internal covariate shift, as Santurkar et al.'s Fig. 3 (1805.11604).

    A row of two panels per layer: the distance |G - G'|_2 (logarithmic axis; ideal 0)
    and the cosine of G and G' (ideal 1; the axis begins near the least one), where G
    and G' are the layer's gradients on the same batch before and after the update of
    the preceding layers. A further row shows the same for the gradients of all layers
    together, where that was recorded. Faint values are the records, the line is their
    centred mean over about a 30th of them.

    Args:
        runs: label -> records; uses the kind "ics".
        layers: names of the layers, in the order in which to draw them; "all
            parameters" is the total. Default: the second, the middle and the last of
            those that all runs have, never the first, whose shift is zero by
            definition; and the total.
        log_steps: whether the step axis is logarithmic; it cannot show step 0.

    Raises:
        ValueError: if no run has "ics" records, `layers` names one that no run has, or
            is not given and there is no layer besides the first.
    """
    measured = layers_of(styled(runs), "ics")
    require(measured, "records of kind 'ics' (see train.py --ics_every)", runs)
    with_total = layers_of(styled(runs), "ics", total=True)
    if layers is None:
        names = chosen(measured, None, first=False)
        names += [TOTAL] * any(TOTAL in run.table for run in with_total)
    else:
        names = chosen(with_total, layers)
    figure, axes = grid("Internal covariate shift", len(names), 2, log_steps)
    for row, name in zip(axes, names, strict=True):
        _draw(row, with_total, name)
    fit_titles(axes)
    ideal = {"ideal": line_handle(**IDEAL)}
    add_legend(figure, measured, ideal)
    return figure


def _draw(row, measured, name):
    left, right = row
    draw_panel(left, layer_series(measured, name, "distance"))
    right.axhline(1.0, zorder=1, **IDEAL)
    draw_panel(right, layer_series(measured, name, "cosine"), log=False)
    include_ideal(right, 1.0)
    left.set(title=f"{name}: distance", ylabel="$|G - G'|_2$")
    right.set(title=f"{name}: cosine", ylabel="$\\cos(G, G')$")
