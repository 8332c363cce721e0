"""Runs by name: `TrainConfig`, the list of options, and what is built from it."""

from tfbn.experiment._trainer import build_trainer
from tfbn.experiment.config import TrainConfig
from tfbn.experiment.model_files import load_model

__all__ = ["TrainConfig", "build_trainer", "load_model"]
