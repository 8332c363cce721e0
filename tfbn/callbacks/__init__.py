"""Diagnostics during `model.fit`, for your own models."""

from tfbn.callbacks.checks import NAMES
from tfbn.callbacks.fit_diagnostics import Diagnostics

__all__ = ["NAMES", "Diagnostics"]
