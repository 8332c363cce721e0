"""The runs of a figure: what they measured, and how each of them looks."""

import dataclasses
import functools
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Sized
from typing import Any
from typing import NamedTuple

import numpy as np

from tfbn.diagnostics import registry
from tfbn.recording.records import by_layer
from tfbn.recording.records import column
from tfbn.recording.records import select

Runs = Mapping[str, Sequence[Mapping]]

# Okabe and Ito's colours, distinct for colour-blind readers too; their yellow is left
# out because it is too pale for a line on white.
COLOURS = (
    "#0072B2",  # blue
    "#D55E00",  # vermillion
    "#009E73",  # green
    "#CC79A7",  # purple
    "#E69F00",  # orange
    "#56B4E9",  # sky blue
    "#000000",  # black
)
_DASHES = ("-", "--", ":", "-.")  # the next one each time the colours are used up

TOTAL = "all parameters"  # the name of a record's `total`, beside those of its layers

# Kinds and the value of their last record that is not finite if a run diverged.
_ENDS = {"train": "loss", "eval": "loss"}
_LAYER_ENDS: dict[str, str] = {}
for _kind in (kind for diagnostic in registry.values() for kind in diagnostic.kinds):
    if _kind.divergence is not None:
        _ends = _ENDS if _kind.divergence in _kind.values else _LAYER_ENDS
        _ends[_kind.name] = _kind.divergence


class NothingToDraw(ValueError):
    """No run has the records that a figure is drawn from."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A run's records, and its look, which is the same in all figures."""

    label: str
    records: Sequence[Mapping]
    colour: str
    dash: str

    def look(self, **style: Any) -> dict[str, Any]:
        """Returns the keyword arguments of the run's lines: its look and `style`."""
        return {"color": self.colour, "linestyle": self.dash, **style}

    def select(self, kind: str) -> list[Mapping]:
        """Returns the records of one kind, sorted by step."""
        return sorted(select(self.records, kind), key=lambda record: record["step"])

    @functools.cached_property
    def diverged(self) -> bool:
        """Whether the last loss, distance or eigenvalue of some kind is not finite."""
        ends = [
            column(select(self.records, kind), name) for kind, name in _ENDS.items()
        ]
        for kind, name in _LAYER_ENDS.items():
            layers = by_layer(self.records, kind).values()
            ends += [column(records, name) for records in layers]
        return any(ends_badly(values) for _, values in ends)


class Curve(NamedTuple):
    """One number a record."""

    run: Run
    steps: np.ndarray
    values: np.ndarray


class Band(NamedTuple):
    """Several numbers a record, of which the range is drawn."""

    run: Run
    steps: np.ndarray
    rows: Sequence[np.ndarray]

    @property
    def values(self) -> np.ndarray:
        """All numbers of all records."""
        return np.concatenate([np.empty(0), *self.rows])

    def limits(self, positive: bool) -> tuple[np.ndarray, np.ndarray]:
        """Returns the least and the greatest finite number of each record.

        NaN where there is none. `positive`: of the numbers above zero only.
        """
        limits = np.full((2, len(self.rows)), np.nan)
        for i, row in enumerate(self.rows):
            kept = row[np.isfinite(row) & (row > 0 if positive else True)]
            if kept.size:
                limits[:, i] = kept.min(), kept.max()
        return limits[0], limits[1]


class Layers(NamedTuple):
    """A run, and its records of each layer: name -> flat records."""

    run: Run
    table: Mapping[str, list[dict]]


class Latest(NamedTuple):
    """A run, and the one record of it that is drawn."""

    run: Run
    record: Mapping


def styled(runs: Runs) -> list[Run]:
    """Gives each run its look, which depends on its position in `runs`."""
    return [
        Run(
            label=label,
            records=records,
            colour=COLOURS[i % len(COLOURS)],
            dash=_DASHES[i // len(COLOURS) % len(_DASHES)],
        )
        for i, (label, records) in enumerate(runs.items())
    ]


def series(styled_runs: Iterable[Run], kind: str, name: str) -> list[Curve]:
    """Returns a curve of each run that has values of this name."""
    curves = [Curve(run, *column(run.select(kind), name)) for run in styled_runs]
    return [curve for curve in curves if curve.steps.size]


def bands(styled_runs: Iterable[Run], kind: str, name: str) -> list[Band]:
    """Returns a band of each run that has lists of values of this name."""
    found = [_band(run, run.select(kind), name) for run in styled_runs]
    return [band for band in found if band.steps.size]


def layers_of(
    styled_runs: Iterable[Run], kind: str, *, total: bool = False
) -> list[Layers]:
    """Returns the layers of the runs that have records of layers.

    Args:
        styled_runs: the runs.
        kind: the kind of the records.
        total: whether the records' `total` counts as a further layer, named `TOTAL`.
    """
    found = [Layers(run, by_layer(run.select(kind), kind)) for run in styled_runs]
    found = [layers for layers in found if layers.table]
    return [_with_total(layers, kind) for layers in found] if total else found


def _with_total(layers, kind):
    total = [
        {"step": record["step"], **record["total"]}
        for record in layers.run.select(kind)
        if record.get("total")
    ]
    own = {TOTAL: total} if total else {}
    return Layers(layers.run, {**layers.table, **own})


def layer_series(measured: Iterable[Layers], layer: str, name: str) -> list[Curve]:
    """Returns a curve a run, empty for a run that has no such layer."""
    return [Curve(run, *column(table.get(layer, ()), name)) for run, table in measured]


def layer_bands(measured: Iterable[Layers], layer: str, name: str) -> list[Band]:
    """Returns a band a run, empty for a run that has no such layer."""
    return [_band(run, table.get(layer, ()), name) for run, table in measured]


def with_usable(
    measured: Iterable[Layers], usable: Callable[[Mapping], object]
) -> list[Layers]:
    """Returns the usable records, without layers and runs that have none."""
    found = []
    for run, table in measured:
        kept = {name: list(filter(usable, table[name])) for name in table}
        found.append(Layers(run, {name: rows for name, rows in kept.items() if rows}))
    return [layers for layers in found if layers.table]


def latest(
    styled_runs: Iterable[Run],
    kind: str,
    step: int | None,
    usable: Callable[[Mapping], object],
) -> list[Latest]:
    """Returns the last usable record up to a step, of the runs that have one."""
    found = []
    for run in styled_runs:
        rows = [r for r in run.select(kind) if step is None or r["step"] <= step]
        found += [Latest(run, row) for row in list(filter(usable, rows))[-1:]]
    return found


def measured_layers(
    runs: Runs,
    kind: str,
    *,
    values: str = "",
    usable: Callable[[Mapping], object] = bool,
) -> list[Layers]:
    """Returns the usable records of the layers of all runs.

    Raises:
        NothingToDraw: if there are none; the message names `values` and the kind.
    """
    found = with_usable(layers_of(styled(runs), kind), usable)
    require(found, f"{values}{' in ' * bool(values)}records of kind '{kind}'", runs)
    return found


def require(data: Sized, what: str, runs: Iterable[str]) -> None:
    """Raises `NothingToDraw` unless there is some data."""
    if not data:
        raise NothingToDraw(f"No run has {what} to draw. Received: runs={list(runs)}.")


def is_wide(data: Iterable[Curve | Band]) -> bool:
    """Returns whether no value is negative and they span more than two decades."""
    values = finite(data)
    positive = values[values > 0]
    if not positive.size or values.min() < 0:
        return False
    return positive.max() / positive.min() > 100


def finite(data: Iterable[Curve | Band]) -> np.ndarray:
    """Returns all finite values of the curves or bands."""
    values = np.concatenate([np.empty(0), *(item.values for item in data)])
    return values[np.isfinite(values)]


def ends_badly(values: np.ndarray) -> bool:
    """Returns whether the last value is not finite."""
    return values.size > 0 and not np.isfinite(values[-1])


def _band(run, records, name):
    measured = [record for record in records if record.get(name) is not None]
    steps = np.array([record["step"] for record in measured], dtype=np.int64)
    rows = [np.array(record[name], dtype=np.float64) for record in measured]
    return Band(run, steps, rows)
