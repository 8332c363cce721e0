"""tfbn: batch normalisation for Keras 3 on TensorFlow, and why it works."""

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "tfbn runs on Keras's TensorFlow backend. Received: backend="
        f"{keras.backend.backend()!r}. Set the environment variable "
        "KERAS_BACKEND=tensorflow."
    )

from tfbn import callbacks
from tfbn import data
from tfbn import diagnostics
from tfbn import experiment
from tfbn import models
from tfbn import schedules
from tfbn import training
from tfbn._diagnose import diagnose
from tfbn.layers import ActivationNoise
from tfbn.layers import BatchNorm
from tfbn.layers import BatchRenorm
from tfbn.layers import LpBatchNorm
from tfbn.layers import NoisyBatchNorm
from tfbn.version import __version__

__all__ = [
    "ActivationNoise",
    "BatchNorm",
    "BatchRenorm",
    "LpBatchNorm",
    "NoisyBatchNorm",
    "__version__",
    "callbacks",
    "data",
    "diagnose",
    "diagnostics",
    "experiment",
    "models",
    "schedules",
    "training",
]
