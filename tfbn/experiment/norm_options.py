"""Options of the normalisation layers."""

from tfbn.experiment import norms
from tfbn.experiment.section import Section
from tfbn.experiment.section import choice_of
from tfbn.options import Option

NORM = Option(
    "norm",
    "batch_renorm",
    "Layer between each layer with a kernel and its nonlinearity.",
    choices=norms.NORMS.names,
)

SECTION = Section(
    "Normalisation",
    (NORM, *norms.NORMS.options),
    choices=(choice_of(norms.NORMS),),
)
