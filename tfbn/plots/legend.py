"""The legend of a figure."""

from collections.abc import Iterable
from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfbn.plots.runs import Band
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Latest
from tfbn.plots.runs import Layers
from tfbn.plots.runs import Run

_Drawn = Curve | Band | Layers | Latest


def run_label(run: Run) -> str:
    """Returns the label of a run, marked if it diverged."""
    return f"{run.label} (diverged)" if run.diverged else run.label


def add_legend(
    figure: Figure,
    drawn: Iterable[_Drawn],
    styles: Mapping[str, Artist],
    details: Mapping[str, str] | None = None,
) -> None:
    """Puts one legend under the panels: the runs, then what the styles mean.

    Args:
        figure: the figure, whose height grows with the legend.
        drawn: the curves, bands or layers that are drawn; each run gets one entry.
        styles: label -> handle of the styles that all runs share.
        details: label of a run -> text to add to its entry.
    """
    handles: dict[str, Artist] = {}
    for run in {item.run.label: item.run for item in drawn}.values():
        detail = f", {details[run.label]}" if details else ""
        handles[run_label(run) + detail] = Line2D([], [], **run.look(linewidth=2))
    handles |= styles
    columns = _columns([*handles], letters=11 * figure.get_figwidth())
    rows = -(-len(handles) // columns)
    figure.set_figheight(figure.get_figheight() + 0.22 * (rows - 1))
    legend = figure.legend(
        handles.values(),
        [""] * len(handles),
        loc="outside lower center",
        ncols=columns,
        frameon=False,
    )
    # Set afterwards: matplotlib omits labels that start with an underscore and parses
    # text between dollar signs, both of which may occur in a directory's name.
    for text, label in zip(legend.get_texts(), handles, strict=True):
        text.set(text=label, parse_math=False)


def _columns(labels, letters):
    """Returns the smallest number of columns that gives the fewest rows.

    Args:
        labels: the labels; matplotlib fills the first columns with more of them.
        letters: how many letters fit into a row; a handle takes the space of 8.
    """
    for rows in range(1, len(labels)):
        columns = -(-len(labels) // rows)
        widths = [max(map(len, part)) for part in np.array_split(labels, columns)]
        if sum(widths) + 8 * columns <= letters:
            return columns
    return 1
