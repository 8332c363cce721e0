"""tfbn: batch normalisation for Keras 3 on TensorFlow, and why it works."""

import importlib
from typing import TYPE_CHECKING
from typing import Any

import keras

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "tfbn runs on Keras's TensorFlow backend. Received: backend="
        f"{keras.backend.backend()!r}. Set the environment variable "
        "KERAS_BACKEND=tensorflow."
    )

from tfbn import schedules
from tfbn.layers import ActivationNoise
from tfbn.layers import BatchNorm
from tfbn.layers import BatchRenorm
from tfbn.layers import LpBatchNorm
from tfbn.layers import NoisyBatchNorm
from tfbn.layers.synchronization import synchronize
from tfbn.version import __version__

if TYPE_CHECKING:
    from tfbn import callbacks
    from tfbn import data
    from tfbn import diagnostics
    from tfbn import experiment
    from tfbn import models
    from tfbn import plots
    from tfbn import training
    from tfbn._diagnose import diagnose
    from tfbn.calibration import recalibrate
    from tfbn.loading import load_weights
    from tfbn.surgery import freeze_batch_norm
    from tfbn.surgery import replace_batch_norm
    from tfbn.surgery import unfreeze_batch_norm

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
    "freeze_batch_norm",
    "load_weights",
    "models",
    "plots",
    "recalibrate",
    "replace_batch_norm",
    "schedules",
    "synchronize",
    "training",
    "unfreeze_batch_norm",
]

_FUNCTIONS = {
    "diagnose": "tfbn._diagnose",
    "freeze_batch_norm": "tfbn.surgery",
    "load_weights": "tfbn.loading",
    "recalibrate": "tfbn.calibration",
    "replace_batch_norm": "tfbn.surgery",
    "unfreeze_batch_norm": "tfbn.surgery",
}


def __getattr__(name: str) -> Any:
    """Imports what a single layer does not need on first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted(globals().keys() | set(__all__))
