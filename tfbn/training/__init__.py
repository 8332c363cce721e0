"""Training runs: `Trainer`, for any Keras model."""

from tfbn.training.nonfinite import NonFiniteError
from tfbn.training.recalibrated import RecalibratedEvaluation
from tfbn.training.run_directory import Setting
from tfbn.training.trainer import Trainer
from tfbn.training.training_mode import TrainingModeEvaluation

__all__ = [
    "NonFiniteError",
    "RecalibratedEvaluation",
    "Setting",
    "Trainer",
    "TrainingModeEvaluation",
]
