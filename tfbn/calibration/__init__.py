"""Population statistics of batch-norm layers, computed anew from data."""

from tfbn.calibration.recalibrating import recalibrate

__all__ = ["recalibrate"]
