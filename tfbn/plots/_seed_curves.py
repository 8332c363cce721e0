"""Any recorded number against the step: each seed, and their mean."""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from tfbn import validation
from tfbn.plots.legend import add_legend
from tfbn.plots.lines import IDEAL
from tfbn.plots.lines import draw_line
from tfbn.plots.lines import line_handle
from tfbn.plots.lines import mark_end
from tfbn.plots.lines import smoothed
from tfbn.plots.panels import drawable
from tfbn.plots.panels import fit_titles
from tfbn.plots.panels import grid
from tfbn.plots.panels import leave_out_last
from tfbn.plots.panels import note
from tfbn.plots.panels import scale
from tfbn.plots.panels import wrapped
from tfbn.plots.runs import Curve
from tfbn.plots.runs import Run
from tfbn.plots.runs import ends_badly
from tfbn.plots.runs import is_wide
from tfbn.plots.runs import require
from tfbn.plots.runs import styled
from tfbn.recording.records import by_layer
from tfbn.recording.records import column

_SEED = {"linewidth": 0.7, "linestyle": "-", "alpha": 0.55}
# Of the means; on and off in line widths.
_DASHES: tuple[Any, ...] = ("-", "-", (0, (5, 1.5)), (0, (3, 1.5)), (0, (1, 1)))


@dataclasses.dataclass(frozen=True)
class SeedPanel:
    """What one panel of `seed_curves` shows.

    Attributes:
        groups: label -> the runs of its seeds, each a list of records.
        kind: the kind of the records, such as "train" or "ics".
        value: the name of a number in the record, or a function of the record. A record
            whose value is missing or None is left out.
        title: title of the panel.
        ylabel: label of the value axis; text between dollar signs is a formula.
        layer: name of a layer whose entry in `layers`, with the record's `step` added,
            is used in place of the record. Default: none.
        log: whether the value axis is logarithmic. Default: if no value is negative and
            they span more than two decades.
        ideal: the value at which to draw a grey dashed line. Default: none.
        limits: (low, high) of the value axis, with None for an end that the values
            decide. On a logarithmic axis, an end that is not positive counts as None.
        same_axis: a name; the panels of a figure with the same name have the same value
            axis, fitted to the values of all. Default: an axis of its own.

    Raises:
        ValueError: if a group is not a list of lists of records, or `limits` do not
            rise.
    """

    groups: Mapping[str, Sequence[Sequence[Mapping]]]
    kind: str
    value: str | Callable[[Mapping], float | None]
    title: str
    ylabel: str
    layer: str | None = None
    log: bool | None = None
    ideal: float | None = None
    limits: tuple[float | None, float | None] | None = None
    same_axis: str | None = None

    def __post_init__(self):
        for label, runs in self.groups.items():
            if any(isinstance(records, Mapping) for records in runs):
                raise ValueError(
                    "groups must hold a list of runs for each label, each a list of "
                    f"records. Received: groups[{label!r}], a list of records. Put it "
                    "in brackets."
                )
        ends = [end for end in self.limits or () if end is not None]
        ends = [validation.number("limits", end) for end in ends]
        if ends != sorted(set(ends)):
            raise ValueError(
                "limits must be (low, high) with low < high. "
                f"Received: limits={self.limits}."
            )


def seed_curves(
    panels: Sequence[SeedPanel],
    *,
    title: str,
    columns: int = 3,
    log_steps: bool = False,
) -> Figure:
    """Draws the mean over seeds, and each seed as a thin line.

    A label has the same look in all panels; from the third on lines are dashed, so that
    one that lies over another leaves it visible. If a seed has many records, its values
    are first smoothed by a centred mean over about a 30th of them. All lines are drawn
    at the steps that all seeds of the label have; a panel notes if it leaves out other
    steps. On a logarithmic axis all means are geometric. Values that are not finite are
    left out of the mean, and an x marks the last finite value of a seed that diverged.
    Labels and seeds without such records are left out. Panels whose runs end at about
    the same step share the step axis.

    Args:
        panels: what to draw, row by row.
        title: title of the figure.
        columns: int >= 1, the greatest number of panels in a row.
        log_steps: whether the step axes are logarithmic; they cannot show step 0.

    Raises:
        NothingToDraw: (a ValueError) if no panel has such records.
        ValueError: if there is no panel, `columns` is not an integer >= 1, a value is
            not a number, or the seeds of a label have no step in common.
    """
    columns = min(validation.integer("columns", columns, minimum=1), len(panels))
    if not panels:
        raise ValueError(f"panels must hold a panel. Received: panels={panels}.")
    looks = _looks(panels)
    drawn = [_groups(panel, looks) for panel in panels]
    wanted = " or ".join(f"{panel.title!r} (kind {panel.kind!r})" for panel in panels)
    require([*filter(None, drawn)], f"values of {wanted}", [g.label for g in looks])
    rows = -(-len(panels) // columns)
    figure, axes = grid(
        title,
        rows,
        columns,
        log_steps,
        share_x=_alike(drawn),
        width=12.0 if columns > 3 else None,
    )
    for axis, panel, groups in zip(axes.flat, panels, drawn, strict=False):
        _draw_panel(axis, panel, groups)
    _share_axes(axes, panels)
    fit_titles(axes)
    leave_out_last(axes, rows * columns - len(panels))
    groups = [group for groups in drawn for group in groups]
    add_legend(figure, _one_of_each(groups), _styles(panels, groups))
    return figure


def _looks(panels):
    looks = styled({label: () for panel in panels for label in panel.groups})
    return [
        dataclasses.replace(look, dash=_DASHES[i % len(_DASHES)])
        for i, look in enumerate(looks)
    ]


class _Group(NamedTuple):
    """A label in a panel: its look, and a curve for each of its seeds."""

    look: Run
    seeds: list[Curve]

    @property
    def steps(self):
        """The steps that all seeds have."""
        return functools.reduce(np.intersect1d, (seed.steps for seed in self.seeds))


def _groups(panel, looks):
    """Returns the groups that have values in the panel."""
    groups = []
    for look in looks:
        runs = panel.groups.get(look.label, ())
        seeds = [_curve(panel, dataclasses.replace(look, records=r)) for r in runs]
        seeds = [seed for seed in seeds if seed.steps.size]
        if not seeds:
            continue
        groups.append(_Group(look, seeds))
        if not groups[-1].steps.size:
            raise ValueError(
                "groups must hold seeds that were measured at the same steps. Received:"
                f" groups[{look.label!r}], whose {len(seeds)} seeds have no step of "
                f"kind {panel.kind!r} in common. Repeat them with the same interval."
            )
    return groups


def _curve(panel, run):
    rows = run.select(panel.kind)
    if panel.layer is not None:
        rows = by_layer(rows, panel.kind).get(panel.layer, [])
    if isinstance(panel.value, str):
        return Curve(run, *column(rows, panel.value))
    rows = [{"step": row["step"], "value": panel.value(row)} for row in rows]
    return Curve(run, *column(rows, "value"))


def _alike(drawn):
    """Returns whether the panels' last steps are close enough to share an axis."""
    ends = [max(group.steps[-1] for group in groups) for groups in drawn if groups]
    return bool(max(ends) <= 1.25 * min(ends))


def _share_axes(axes, panels):
    """Gives the panels of one `same_axis` the range that holds all of theirs."""
    named = {}
    for axis, panel in zip(axes.flat, panels, strict=False):
        if panel.same_axis is not None and axis.get_lines():
            named.setdefault((panel.same_axis, axis.get_yscale()), []).append(axis)
    for together in named.values():
        lows, highs = zip(*(axis.get_ylim() for axis in together), strict=True)
        for axis in together:
            axis.set_ylim(min(lows), max(highs))


def _draw_panel(axis, panel, groups):
    curves = [seed for group in groups for seed in group.seeds]
    scale(axis, curves, log=is_wide(curves) if panel.log is None else panel.log)
    if panel.ideal is not None:
        axis.axhline(panel.ideal, zorder=1, **IDEAL)
    for group in groups:
        _draw_group(axis, group)
    if not groups:
        note(axis, "nothing was recorded")
        axis.set_yticks([])
    axis.set_title(panel.title)
    axis.set_ylabel(wrapped(panel.ylabel, 24))
    if panel.limits is not None:
        _limit(axis, *panel.limits)


def _draw_group(axis, group):
    look, seeds = group
    steps = group.steps
    table = np.stack([_at(axis, seed, steps) for seed in seeds])
    shown = drawable(axis, table)
    if len(seeds) > 1:
        for values in shown:
            alone = {"marker": "."} if np.isfinite(values).sum() == 1 else {}
            axis.plot(steps, values, **look.look(**_SEED, **alone))
        if steps.size < max(seed.steps.size for seed in seeds):
            note(axis, "only steps that all seeds have")
        if np.any(np.isfinite(table).any(axis=0) & ~np.isfinite(table).all(axis=0)):
            note(axis, "values that are not finite are left out")
    mean = _mean(shown, in_decades=axis.get_yscale() == "log")
    draw_line(axis, Curve(look, steps, mean), mean, linewidth=2.0)
    for seed, values in zip(seeds, table, strict=True):
        if ends_badly(values):
            mark_end(axis, seed.run, steps, drawable(axis, values))


def _at(axis, seed, steps):
    """Returns the smoothed values of a seed at some of its steps."""
    values = smoothed(axis, drawable(axis, seed.values))
    # Values that cannot be drawn stay infinite or zero: the panel's notes differ.
    values = np.where(np.isfinite(values), values, seed.values)
    return values[np.searchsorted(seed.steps, steps)]


def _mean(table, in_decades):
    """Returns the mean over the rows, skipping NaN; NaN where there is nothing else."""
    masked = np.ma.masked_invalid(table)
    mean = np.exp(np.log(masked).mean(axis=0)) if in_decades else masked.mean(axis=0)
    return np.ma.filled(mean, np.nan)


def _limit(axis, low, high):
    if axis.get_yscale() == "log":
        low, high = (end if end and end > 0 else None for end in (low, high))
    axis.set_ylim(low, high)


def _one_of_each(groups):
    """Returns a seed of each label: one that diverged, if any of the label did."""
    by_label = {}
    for group in groups:
        by_label.setdefault(group.look.label, []).extend(group.seeds)
    return [max(seeds, key=lambda c: c.run.diverged) for seeds in by_label.values()]


def _styles(panels, groups):
    styles = {}
    if any(len(group.seeds) > 1 for group in groups):
        styles["each seed"] = line_handle(**{**_SEED, "alpha": 1.0})
    if any(panel.ideal is not None for panel in panels):
        styles["ideal"] = line_handle(**IDEAL)
    return styles
