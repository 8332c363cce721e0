"""Figures from the records of runs.

Every drawing function takes `runs`, a mapping from label to records (as
`tfbn.diagnostics.records.read_runs` returns it), and returns a matplotlib `Figure`; no
pyplot, no global state, nothing is read or trained. Two take what somebody else has
chosen: `seed_curves` any number of several seeds' records, `heat_map` any tables. A run
has the same colour in every figure of the same `runs`. Values that are not finite are
not drawn; a run whose loss, distance or eigenvalue ends in such values is called
"(diverged)" in the legend, with an x at its last finite point. Zeros have no place on a
logarithmic axis: a panel that leaves some out says so.
"""

from tfbn.plots.activation_ridges import activation_ridges
from tfbn.plots.activations import activation_moments
from tfbn.plots.activations import activation_percentiles
from tfbn.plots.covariate_shift import covariate_shift
from tfbn.plots.curvature import curvature
from tfbn.plots.figures import FIGURE_NAMES
from tfbn.plots.figures import figures
from tfbn.plots.files import FILE_FORMATS
from tfbn.plots.files import save
from tfbn.plots.heat_map import HeatTable
from tfbn.plots.heat_map import heat_map
from tfbn.plots.hessian_spectrum import hessian_spectrum
from tfbn.plots.landscape import landscape
from tfbn.plots.landscape import landscape_random
from tfbn.plots.learning_curves import learning_curves
from tfbn.plots.renorm_bounds import renorm_bounds
from tfbn.plots.replication import replication
from tfbn.plots.seed_curves import SeedPanel
from tfbn.plots.seed_curves import seed_curves
from tfbn.plots.surface import surface
from tfbn.plots.theory import theory

__all__ = [
    "FIGURE_NAMES",
    "FILE_FORMATS",
    "HeatTable",
    "SeedPanel",
    "activation_moments",
    "activation_percentiles",
    "activation_ridges",
    "covariate_shift",
    "curvature",
    "figures",
    "heat_map",
    "hessian_spectrum",
    "landscape",
    "landscape_random",
    "learning_curves",
    "renorm_bounds",
    "replication",
    "save",
    "seed_curves",
    "surface",
    "theory",
]
