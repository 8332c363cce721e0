"""Data sets in memory, and batches as functions of (seed, step)."""

from tfbn.data._gaussian import gaussian
from tfbn.data._shapes import shapes
from tfbn.data.array_batches import ArrayBatches
from tfbn.data.array_batches import Arrays
from tfbn.data.batches import ClassBiasedBatches
from tfbn.data.batches import DomainBiasedBatches
from tfbn.data.batches import IIDBatches
from tfbn.data.dataset import DataError
from tfbn.data.dataset import Dataset
from tfbn.data.dataset import Split
from tfbn.data.loading import DATASETS
from tfbn.data.loading import load
from tfbn.data.npz import load_npz
from tfbn.data.samplers import KINDS
from tfbn.data.samplers import make_batches

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
    "load_npz",
    "make_batches",
    "shapes",
]
