"""The training loop."""

from tfbn.training.trainer import Trainer

__all__ = ["Trainer"]
