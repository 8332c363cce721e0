"""Instruments that show why normalisation helps. Watching changes nothing."""

from tfbn.diagnostics.covariate_shift import CovariateShift
from tfbn.diagnostics.covariate_shift import CovariateShiftMeter
from tfbn.diagnostics.covariate_shift import internal_covariate_shift
from tfbn.diagnostics.covariate_shift import total_shift
from tfbn.diagnostics.layer_groups import LayerGroup
from tfbn.diagnostics.layer_groups import layer_groups
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot

__all__ = [
    "CovariateShift",
    "CovariateShiftMeter",
    "LayerGroup",
    "LossFunction",
    "State",
    "internal_covariate_shift",
    "layer_groups",
    "snapshot",
    "total_shift",
]
