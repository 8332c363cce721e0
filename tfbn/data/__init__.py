"""Data sets in memory, and batches as functions of (seed, step)."""

from tfbn.data._gaussian import gaussian
from tfbn.data._shapes import shapes
from tfbn.data.array_batches import ArrayBatches
from tfbn.data.array_batches import Arrays
from tfbn.data.batches import KINDS
from tfbn.data.batches import ClassBiasedBatches
from tfbn.data.batches import DomainBiasedBatches
from tfbn.data.batches import IIDBatches
from tfbn.data.batches import make_batches
from tfbn.data.dataset import Dataset
from tfbn.data.dataset import Split
from tfbn.data.loading import DATASETS
from tfbn.data.loading import load
from tfbn.data.tfds_images import DataError

__all__ = [
    "DATASETS",
    "KINDS",
    "ArrayBatches",
    "Arrays",
    "ClassBiasedBatches",
    "DataError",
    "Dataset",
    "DomainBiasedBatches",
    "IIDBatches",
    "Split",
    "gaussian",
    "load",
    "make_batches",
    "shapes",
]
