"""Batch-norm layers of a finished model: replaced by others, frozen."""

from tfbn.surgery.freezing import freeze_batch_norm
from tfbn.surgery.freezing import unfreeze_batch_norm
from tfbn.surgery.replacing import replace_batch_norm

__all__ = ["freeze_batch_norm", "replace_batch_norm", "unfreeze_batch_norm"]
