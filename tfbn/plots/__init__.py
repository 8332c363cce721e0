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

from tfbn.plots._activation_ridges import activation_ridges
from tfbn.plots._covariate_shift import covariate_shift
from tfbn.plots._curvature import curvature
from tfbn.plots._figures import FIGURE_NAMES
from tfbn.plots._figures import figures
from tfbn.plots._heat_map import HeatTable
from tfbn.plots._heat_map import heat_map
from tfbn.plots._hessian_spectrum import hessian_spectrum
from tfbn.plots._landscape import landscape
from tfbn.plots._landscape import landscape_random
from tfbn.plots._learning_curves import learning_curves
from tfbn.plots._renorm_bounds import renorm_bounds
from tfbn.plots._replication import replication
from tfbn.plots._seed_curves import SeedPanel
from tfbn.plots._seed_curves import seed_curves
from tfbn.plots._surface import surface
from tfbn.plots._theory import theory
from tfbn.plots.activations import activation_moments
from tfbn.plots.activations import activation_percentiles
from tfbn.plots.files import FILE_FORMATS
from tfbn.plots.files import save

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
