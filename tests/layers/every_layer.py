"""All layers, and variants of them, for the tests of what they have in common."""

from absl.testing import parameterized

import tfbn

RAMPS = {
    "rmax": tfbn.schedules.LinearRamp(1.0, 3.0, 0, 4),
    "dmax": tfbn.schedules.LinearRamp(0.0, 5.0, 0, 4),
}
SILENT = {
    "mean_range": 0.0,
    "stddev_max": 1.0,
    "mean_jitter": 0.0,
    "stddev_jitter": 0.0,
}

# A factory of each layer, under the name of its class, and of variants of it.
LAYERS = {
    "BatchNorm": tfbn.BatchNorm,
    "BatchNorm/plain": lambda **kw: tfbn.BatchNorm(center=False, scale=False, **kw),
    "BatchRenorm": lambda **kw: tfbn.BatchRenorm(**RAMPS, **kw),
    "BatchRenorm/fixed": lambda **kw: tfbn.BatchRenorm(rmax=1.125, dmax=0.25, **kw),
    "BatchRenorm/two_sets": lambda **kw: tfbn.BatchRenorm(
        rmax=3.0, dmax=5.0, renorm_momentum=0.5, **kw
    ),
    "BatchRenorm/corrected": lambda **kw: tfbn.BatchRenorm(
        rmax=1.5, dmax=0.5, momentum_warmup=True, drift_correction=True, **kw
    ),
    "LpBatchNorm": tfbn.LpBatchNorm,
    "LpBatchNorm/2": lambda **kw: tfbn.LpBatchNorm(order=2, centered=True, **kw),
    "LpBatchNorm/inf": lambda **kw: tfbn.LpBatchNorm(order="inf", literal=True, **kw),
    "NoisyBatchNorm": lambda **kw: tfbn.NoisyBatchNorm(seed=7, **kw),
    "ActivationNoise": lambda **kw: tfbn.ActivationNoise(seed=7, **kw),
}
NORMALIZERS = {k: v for k, v in LAYERS.items() if not k.startswith("ActivationNoise")}
AFFINE = {k: v for k, v in NORMALIZERS.items() if not k.endswith("plain")}
QUIET = {k: v for k, v in NORMALIZERS.items() if not k.startswith("Noisy")}
# One of each class.
CLASSES = {k: v for k, v in LAYERS.items() if "/" not in k}


def each(layers):
    """A decorator: a test for each, which gets the factory."""
    return parameterized.named_parameters(*layers.items())
