"""Diagnostics that show why normalisation helps; `registry` lists them by name.

Measuring changes no state of a model.
"""

import types
from collections.abc import Mapping

from tfbn.diagnostics import _landscape
from tfbn.diagnostics import activations
from tfbn.diagnostics import covariate_shift
from tfbn.diagnostics import curvature
from tfbn.diagnostics import noise_scale
from tfbn.diagnostics import renorm
from tfbn.diagnostics import replication
from tfbn.diagnostics import surface
from tfbn.diagnostics import theory
from tfbn.diagnostics._landscape import LandscapeMeter
from tfbn.diagnostics._landscape import landscape
from tfbn.diagnostics._layer_groups import LayerGroup
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics._trace import HessianTrace
from tfbn.diagnostics._trace import hessian_trace
from tfbn.diagnostics.activations import ActivationMeter
from tfbn.diagnostics.activations import Activations
from tfbn.diagnostics.activations import LayerActivations
from tfbn.diagnostics.activations import activation_moments
from tfbn.diagnostics.covariate_shift import CovariateShiftMeter
from tfbn.diagnostics.covariate_shift import internal_covariate_shift
from tfbn.diagnostics.curvature import Curvature
from tfbn.diagnostics.curvature import CurvatureMeter
from tfbn.diagnostics.curvature import hessian_top_eigenvalue
from tfbn.diagnostics.diagnostic import Diagnostic
from tfbn.diagnostics.diagnostic import Meter
from tfbn.diagnostics.diagnostic import Need
from tfbn.diagnostics.diagnostic import RecordKind
from tfbn.diagnostics.diagnostic import TrainingStep
from tfbn.diagnostics.directions import filter_normalized_directions
from tfbn.diagnostics.landscape_results import Landscape
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.diagnostics.measurement import Cost
from tfbn.diagnostics.noise_estimates import NoiseScale
from tfbn.diagnostics.noise_scale import NoiseScaleMeter
from tfbn.diagnostics.noise_scale import gradient_noise_scale
from tfbn.diagnostics.nonfinite import NonFinite
from tfbn.diagnostics.nonfinite import first_nonfinite
from tfbn.diagnostics.renorm import RenormCorrection
from tfbn.diagnostics.renorm import RenormMeter
from tfbn.diagnostics.renorm import renorm_corrections
from tfbn.diagnostics.replication import ReplicationMeter
from tfbn.diagnostics.replication import ReplicationShift
from tfbn.diagnostics.shift_results import CovariateShift
from tfbn.diagnostics.shift_results import total_shift
from tfbn.diagnostics.step_sizes import relative_step_sizes
from tfbn.diagnostics.surface import LossSurface
from tfbn.diagnostics.surface import SurfaceMeter
from tfbn.diagnostics.surface import loss_surface
from tfbn.diagnostics.theory import GradientIdentities
from tfbn.diagnostics.theory import GradientIdentityMeter
from tfbn.diagnostics.theory import gradient_identities

registry: Mapping[str, Diagnostic] = types.MappingProxyType(
    {
        diagnostic.name: diagnostic
        for diagnostic in (
            covariate_shift.DIAGNOSTIC,
            _landscape.DIAGNOSTIC,
            activations.DIAGNOSTIC,
            curvature.DIAGNOSTIC,
            theory.DIAGNOSTIC,
            noise_scale.DIAGNOSTIC,
            renorm.DIAGNOSTIC,
            replication.DIAGNOSTIC,
            surface.SURFACE,
            surface.SURFACE_2D,
        )
    }
)

__all__ = [
    "ActivationMeter",
    "Activations",
    "CovariateShift",
    "CovariateShiftMeter",
    "Cost",
    "Curvature",
    "CurvatureMeter",
    "Diagnostic",
    "GradientIdentities",
    "GradientIdentityMeter",
    "HessianTrace",
    "Landscape",
    "LandscapeMeter",
    "LayerActivations",
    "LayerGroup",
    "LossFunction",
    "LossSurface",
    "Meter",
    "Need",
    "NoiseScale",
    "NoiseScaleMeter",
    "NonFinite",
    "RecordKind",
    "RenormCorrection",
    "RenormMeter",
    "ReplicationMeter",
    "ReplicationShift",
    "State",
    "SurfaceMeter",
    "TrainingStep",
    "activation_moments",
    "filter_normalized_directions",
    "first_nonfinite",
    "gradient_identities",
    "gradient_noise_scale",
    "hessian_top_eigenvalue",
    "hessian_trace",
    "internal_covariate_shift",
    "landscape",
    "layer_groups",
    "loss_surface",
    "registry",
    "relative_step_sizes",
    "renorm_corrections",
    "snapshot",
    "total_shift",
]
