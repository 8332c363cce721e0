"""Figures from the records of runs.

Every drawing function takes `runs`, a mapping from label to records (as returned by
`tfbn.recording.records.read_runs`), and returns a matplotlib `Figure`; no pyplot, no
global state, nothing is read or trained. Two take what the caller has selected:
`seed_curves` any numbers from the runs of several seeds, `heat_map` any tables. The
others are those of `FIGURES`, imported when they are first used; `figures` draws all
that there are records for.

A run has the same colour in every figure of the same `runs`, paler for training and
darker for test where both are drawn. Values that are not finite are not drawn; a run
whose loss, distance or eigenvalue ends in such values is marked "(diverged)" in the
legend, with an x at its last finite point. Zeros have no place on a logarithmic axis: a
panel that omits some has a note.
"""

from collections.abc import Callable

from matplotlib.figure import Figure

from tfbn.plots._figures import FIGURE_NAMES
from tfbn.plots._figures import FIGURES
from tfbn.plots._figures import drawing_function
from tfbn.plots._figures import figures
from tfbn.plots._heat_map import HeatTable
from tfbn.plots._heat_map import heat_map
from tfbn.plots._seed_curves import SeedPanel
from tfbn.plots._seed_curves import seed_curves
from tfbn.plots.files import FILE_FORMATS
from tfbn.plots.files import save

__all__ = [
    "FIGURES",
    "FIGURE_NAMES",
    "FILE_FORMATS",
    "HeatTable",
    "SeedPanel",
    "figures",
    "heat_map",
    "save",
    "seed_curves",
    *FIGURE_NAMES,
]


def __getattr__(name: str) -> Callable[..., Figure]:
    if name in FIGURES:
        return drawing_function(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
