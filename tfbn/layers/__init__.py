"""Normalisation layers, and layers that add noise."""

from tfbn.layers.batch_norm import BatchNorm
from tfbn.layers.batch_renorm import BatchRenorm
from tfbn.layers.lp_batch_norm import LpBatchNorm
from tfbn.layers.noise import ActivationNoise
from tfbn.layers.noise import NoisyBatchNorm

__all__ = [
    "ActivationNoise",
    "BatchNorm",
    "BatchRenorm",
    "LpBatchNorm",
    "NoisyBatchNorm",
]
