"""Tables of numbers as coloured cells."""

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from matplotlib.ticker import MaxNLocator

from tfbn import validation
from tfbn.plots.legend import add_legend
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import leave_out_last
from tfbn.plots.panels import wrapped
from tfbn.plots.runs import NothingToDraw

_COLOURS = "viridis"  # ordered by brightness, which colour-blind readers see too
_NEVER = "0.85"

# Inches.
_LETTER = 0.07  # width of a small letter
_WIDTH = 10.0  # width of a row of panels, unless a single panel needs more
_CELL_WIDTH = (0.42, 0.9)  # least and greatest, unless the text is wider
_CELL_HEIGHT = (0.42, 0.65)  # least and greatest
_BAR = 0.15  # width of a colour bar, and of the space before it
_BESIDE = 1.15  # space beside the cells for the colour bar and the axis labels


@dataclasses.dataclass(frozen=True)
class HeatTable:
    """What one panel of `heat_map` shows.

    Attributes:
        title: title of the panel.
        rows: labels of the rows, the first at the top.
        columns: labels of the columns.
        values: numbers `[rows][columns]`; NaN: not measured; infinity: never reached.
        xlabel: label of the columns' axis.
        ylabel: label of the rows' axis.
        colour_label: label of the colour bar.
        text: format of the numbers in the cells, such as "{:.0%}".
        log: whether the colour scale is logarithmic.
        limits: (low, high) of the colour scale; values beyond have the colour of that
            end. Default: the least and the greatest of the finite values.
        low_is_good: whether low values have the bright colours, which mean good.
            Default: high values have.

    Raises:
        ValueError: if `values` is not a table of that size, or holds minus infinity or,
            with `log`, a value that is not positive; if `limits` do not rise or, with
            `log`, are not positive; or if `text` is not a format of a number.
    """

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: Sequence[Sequence[float]]
    xlabel: str = ""
    ylabel: str = ""
    colour_label: str = ""
    text: str = "{:.3g}"
    log: bool = False
    limits: tuple[float, float] | None = None
    low_is_good: bool = False

    def __post_init__(self):
        _check_values(self)
        _check_limits(self)
        try:
            self.text.format(1.0)
        except (ValueError, LookupError) as error:
            raise ValueError(
                "text must be a format of one number, such as '{:.2f}'. "
                f"Received: text={self.text!r}."
            ) from error

    @property
    def array(self) -> np.ndarray:
        """The values as float64 [rows, columns]."""
        return np.array(self.values, dtype=np.float64)


def heat_map(tables: Sequence[HeatTable], *, title: str) -> Figure:
    """Draws tables as coloured cells that contain their numbers.

    Bright is good and dark is bad in every table, but each has its own colour scale. A
    value that was not measured is a white cell, an infinite one a hatched cell with the
    word "never".

    Args:
        tables: the tables, side by side, or in several rows if their cells would be too
            small to read in a figure 10 inches wide.
        title: title of the figure.

    Raises:
        NothingToDraw: (a ValueError) if all values are NaN.
        ValueError: if there is no table.
    """
    if not tables:
        raise ValueError(f"tables must hold a table. Received: tables={tables}.")
    missing = [np.isnan(table.array) for table in tables]
    if all(cells.all() for cells in missing):
        titles = [table.title for table in tables]
        raise NothingToDraw(f"No table has a value to draw. Received: tables={titles}.")
    figure, axes, cell = _layout(tables, title)
    for axis, table in zip(axes.flat, tables, strict=False):
        colours = _colours(table)
        _draw_cells(axis, table, colours)
        if np.isfinite(table.array).any():
            _draw_bar(axis, table, colours, cell)
        _label(axis, table, cell)
    fit_titles(axes)
    leave_out_last(axes, axes.size - len(tables))
    if any(cells.any() for cells in missing):
        white = Patch(facecolor="white", edgecolor="0.7")
        add_legend(figure, (), {"not measured": white})
    return figure


def _check_values(table):
    shape = (len(table.rows), len(table.columns))
    try:
        values = table.array
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape != shape or not values.size:
        raise ValueError(
            "values must be a table of numbers with a row for each of rows and a column"
            f" for each of columns. Received: values={validation.shown(table.values)}, "
            f"{shape[0]} rows and {shape[1]} columns."
        )
    least = np.nanmin(values, initial=np.inf)
    if least == -np.inf or (table.log and least <= 0):
        rule = "greater than 0, for log=True" if table.log else "greater than -infinity"
        raise ValueError(f"values must be {rule}. Received: {least:g} among values.")


def _check_limits(table):
    if table.limits is None:
        return
    low, high = (validation.number("limits", end) for end in table.limits)
    if not low < high or (table.log and low <= 0):
        rule = " and low > 0, for log=True" if table.log else ""
        raise ValueError(
            f"limits must be (low, high) with low < high{rule}. "
            f"Received: limits={table.limits}."
        )


class _Cell(NamedTuple):
    """The size of a cell in inches."""

    width: float
    height: float


def _layout(tables, title):
    """Returns a figure, its panels, and the approximate size of their cells.

    The figure is sized to fit the cells: panels with a fixed aspect ratio would be laid
    out badly, with labels cut off.
    """
    least = max(_CELL_WIDTH[0], *(_inches(_texts(table)) for table in tables))
    beside = _BESIDE + max(_inches(_broken(table.rows)) for table in tables)
    across, down = (
        max(len(getattr(table, side)) for table in tables)
        for side in ("columns", "rows")
    )
    fitting = max(1, int(_WIDTH / (across * least + beside)))
    rows = -(-len(tables) // fitting)
    columns = -(-len(tables) // rows)
    width = max(_WIDTH if columns > 1 else 7.0, across * least + beside)
    cell_width = (width / columns - beside) / across
    cell_width = min(cell_width, max(least, _CELL_WIDTH[1]))
    cell = _Cell(cell_width, float(np.clip(cell_width, *_CELL_HEIGHT)))
    figure, axes = grid(title, rows, columns, x_label="", share_x=False, width=width)
    below = max(_below(table, cell) for table in tables)
    figure.set_figheight(0.4 + rows * (0.4 + down * cell.height + below))
    used = min(1.0, columns * (across * cell.width + beside) / width)
    figure.set_layout_engine("constrained", rect=((1 - used) / 2, 0, used, 1))
    return figure, axes, cell


def _below(table, cell):
    """Returns the height in inches that the columns' labels need."""
    labels = 0.7 * _inches(_broken(table.columns)) if _aslant(table, cell) else 0.2
    return labels + 0.25 * bool(table.xlabel)


def _aslant(table, cell):
    """Returns whether the columns' labels must be slanted to fit side by side."""
    return _inches(table.columns) > cell.width


def _inches(texts):
    """Returns the approximate width of the widest small text, with a margin."""
    lines = [line for text in texts for line in text.split("\n")]
    return 0.08 + _LETTER * max(map(len, lines))


def _broken(labels):
    return [textwrap.fill(label, 18) for label in labels]


def _texts(table):
    """Returns the texts of the cells, in the order of `array.flat`."""
    return ["never" if value == np.inf else "" if np.isnan(value)
            else table.text.format(value) for value in table.array.flat]  # fmt: skip


def _draw_cells(axis, table, colours):
    values = table.array
    places = [np.arange(count + 1) - 0.5 for count in values.shape[::-1]]
    filling = {"cmap": colours.cmap, "norm": colours.norm, "edgecolors": "white"}
    axis.pcolormesh(*places, np.ma.masked_invalid(values), **filling)
    centred = {"ha": "center", "va": "center", "fontsize": "small"}
    texts = np.reshape(_texts(table), values.shape)
    for (i, j), value in np.ndenumerate(values):
        look: dict[str, Any] = dict(centred)
        if np.isfinite(value):
            look["color"] = "black" if _is_bright(colours.to_rgba(value)) else "white"
        elif value == np.inf:
            hatched = Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, facecolor=_NEVER)
            hatched.set(hatch="////", edgecolor="0.7", linewidth=0)
            axis.add_patch(hatched)
            look["bbox"] = {"facecolor": _NEVER, "edgecolor": "none", "pad": 1}
        axis.text(j, i, texts[i, j], parse_math=False, **look)
    axis.invert_yaxis()


def _colours(table):
    """Returns the colour scale of a table."""
    values = table.array[np.isfinite(table.array)]
    values = values if values.size else np.ones(1)  # no cell will be coloured
    low, high = table.limits or (values.min(), values.max())
    if low == high:  # a bar needs a range
        margin = 0.1 * (abs(low) or 1.0)
        low, high = low - margin, high + margin
    cmap = matplotlib.colormaps[_COLOURS + "_r" * table.low_is_good]
    return ScalarMappable((LogNorm if table.log else Normalize)(low, high), cmap)


def _is_bright(colour):
    """Returns whether black contrasts with the colour more than white does (WCAG 2)."""
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in colour[:3]
    )
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) ** 2 > 1.05 * 0.05


def _draw_bar(axis, table, colours, cell):
    """Draws a colour bar that keeps the height of the panel when it is laid out."""
    share = _BAR / (len(table.columns) * cell.width)
    place = axis.inset_axes((1 + share, 0, share, 1))
    low, high = colours.norm.vmin, colours.norm.vmax
    values = table.array[np.isfinite(table.array)]
    below, above = values.min() < low, values.max() > high
    extend = ("neither", "max", "min", "both")[2 * below + above]
    bar = axis.figure.colorbar(colours, cax=place, extend=extend)
    bar.set_ticks(np.geomspace(low, high, 4) if table.log else MaxNLocator(4))
    bar.minorticks_off()
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda x, _: table.text.format(x)))
    bar.ax.tick_params(labelsize="small")
    for label in bar.ax.get_yticklabels():
        label.set_parse_math(False)
    bar.set_label(_fitted(table.colour_label, len(table.rows) * cell.height))


def _label(axis, table, cell):
    look = {"fontsize": "small", "parse_math": False}
    axis.set_yticks(range(len(table.rows)), _broken(table.rows), **look)
    labels = table.columns
    if _aslant(table, cell):
        labels = _broken(labels)
        look |= {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(range(len(labels)), labels, **look)
    axis.tick_params(length=0)
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set_xlabel(_fitted(table.xlabel, len(labels) * cell.width))
    axis.set_ylabel(_fitted(table.ylabel, len(table.rows) * cell.height))
    axis.set_title(table.title)


def _fitted(text, inches):
    return wrapped(text, max(12, int(inches / _LETTER)))
