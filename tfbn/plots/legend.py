"""The legend of a figure."""

from collections.abc import Iterable
from collections.abc import Mapping

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfbn.plots.runs import Run


def run_label(run: Run) -> str:
    """Returns the label of a run, marked if it diverged."""
    return f"{run.label} (diverged)" if run.diverged else run.label


def add_legend(
    figure: Figure,
    runs: Iterable[Run],
    styles: Mapping[str, Artist],
    details: Mapping[str, str] | None = None,
) -> None:
    """Puts one legend under the panels: the runs, then what the styles mean.

    Args:
        figure: the figure, which grows by the rows that the legend takes.
        runs: the runs that are drawn, repetitions allowed.
        styles: label -> handle of the styles that all runs share.
        details: label of a run -> what its entry adds.
    """
    handles = {}
    for run in {run.label: run for run in runs}.values():
        look = {"color": run.colour, "linestyle": run.dash, "linewidth": 2}
        detail = f", {details[run.label]}" if details else ""
        handles[run_label(run) + detail] = Line2D([], [], **look)
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
    """Returns the least number of columns that need the fewest rows.

    Args:
        labels: what matplotlib splits into columns, of which the first are longer.
        letters: how many letters fit in a row; a handle takes the space of 8.
    """
    for rows in range(1, len(labels)):
        columns = -(-len(labels) // rows)
        widths = [max(map(len, part)) for part in np.array_split(labels, columns)]
        if sum(widths) + 8 * columns <= letters:
            return columns
    return 1
