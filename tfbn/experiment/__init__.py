"""Runs by name: `TrainConfig`, the list of options, and what it builds."""

from tfbn.experiment._trainer import build_trainer
from tfbn.experiment.config import TrainConfig

__all__ = ["TrainConfig", "build_trainer"]
