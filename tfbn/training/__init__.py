"""Training runs: a config, and a trainer that carries it out."""

from tfbn.training.config import TrainConfig
from tfbn.training.trainer import Trainer

__all__ = ["TrainConfig", "Trainer"]
