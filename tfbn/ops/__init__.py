"""The numerics: statistics of a batch, normalisation, averages, noise.

The only package with raw TensorFlow operations or a choice by device or compiler. The
layers hold state and configuration and call the functions here. `requests` says what a
call needs, `implementations` which code serves it; docs/numerics.md explains both.

Terms. A *channel* is an index along the normalised `axis`; everything else is "the
batch". Statistics have shape `[channels]`. `mask` is boolean, broadcastable to the
input; elements where it is False are excluded from the statistics.

Precision. Statistics are taken of data shifted near its mean (where the mean is large),
sums are added up in groups, and outputs are computed by subtracting before scaling, so
results keep their digits whatever the offset and the size of the data:
`x * inv + (beta - mean * inv)`, the usual form, loses one decimal digit for each power
of ten between the mean and the standard deviation.
"""

from tfbn.ops.averages import moving_average
from tfbn.ops.averages import renorm_correction
from tfbn.ops.averages import stddev_of_variance
from tfbn.ops.averages import variance_of_stddev
from tfbn.ops.averages import warmed_up_momentum
from tfbn.ops.batch import upcast
from tfbn.ops.channels import Channels
from tfbn.ops.compiled_calls import self_compilation
from tfbn.ops.compiled_calls import set_self_compilation
from tfbn.ops.implementations import preferring
from tfbn.ops.noise import perturb
from tfbn.ops.normalization import batch_norm
from tfbn.ops.normalization import lp_batch_norm
from tfbn.ops.normalization import normalize
from tfbn.ops.normalization import serving_path
from tfbn.ops.requests import TARGETS
from tfbn.ops.requests import compiling_for
from tfbn.ops.requests import exporting
from tfbn.ops.shared_functions import no_sharing
from tfbn.ops.statistics import Statistics
from tfbn.ops.virtual_batches import ORDERS as VIRTUAL_BATCH_ORDERS

__all__ = [
    "TARGETS",
    "VIRTUAL_BATCH_ORDERS",
    "Channels",
    "Statistics",
    "batch_norm",
    "compiling_for",
    "exporting",
    "lp_batch_norm",
    "moving_average",
    "no_sharing",
    "normalize",
    "perturb",
    "preferring",
    "renorm_correction",
    "self_compilation",
    "serving_path",
    "set_self_compilation",
    "stddev_of_variance",
    "upcast",
    "variance_of_stddev",
    "warmed_up_momentum",
]
