"""What a data set is: two splits of NumPy arrays and the moments to standardize by."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfbn import validation


class DataError(ValueError):
    """A data set is unknown, missing, damaged, or of another kind."""


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """The examples of one split, in memory.

    Args:
        inputs: array of at least two axes, examples first. Images: uint8
            `[n, height, width, channels]`. Regression: float32 `[n, units]`.
        targets: array, examples first. Labels: int64 `[n]`. Regression: float32
            `[n, units]`.
        domains: int64 `[n]`, the group that an example comes from (e.g. its palette),
            or None (default) if the data have no such groups.

    Raises:
        ValueError: if a dtype or shape is another, the lengths differ, or there is no
            example.
    """

    inputs: np.ndarray
    targets: np.ndarray
    domains: np.ndarray | None = None

    def __post_init__(self):
        _check_array("inputs", self.inputs, (np.uint8, np.float32), range(2, 6))
        _check_array("targets", self.targets, (np.int64, np.float32), range(1, 6))
        _check_length("targets", self.targets, len(self.inputs))
        if self.domains is not None:
            _check_array("domains", self.domains, (np.int64,), range(1, 2))
            _check_length("domains", self.domains, len(self.inputs))

    def __len__(self) -> int:
        return len(self.inputs)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, and how to standardize their inputs.

    Args:
        name: str, as `load` takes it.
        train: `Split`.
        test: `Split` with inputs of the same shape, or None.
        num_classes: int, the number of labels, or None for regression.
        mean: float32 `[channels]`, of the *training* inputs, in stored units (0 to 255
            for images); 0 where inputs are not standardised.
        stddev: float32 `[channels]`, likewise, greater than 0; 1 where inputs are not
            standardised.

    Raises:
        ValueError: if shapes do not match, or a label is not in
            `range(num_classes)`.
    """

    name: str
    train: Split
    test: Split | None
    num_classes: int | None
    mean: np.ndarray
    stddev: np.ndarray

    def __post_init__(self):
        check_split("train", self.train)
        splits = [self.train]
        if self.test is not None:
            check_split("test", self.test)
            splits.append(self.test)
        shape = splits[-1].inputs.shape[1:]
        if shape != self.input_shape:
            raise ValueError(
                "test must have inputs of the training inputs' shape, "
                f"{self.input_shape}. Received: {shape}."
            )
        for name in ("mean", "stddev"):
            _check_moment(name, getattr(self, name), self.input_shape[-1])
        if self.num_classes is not None:
            validation.integer("num_classes", self.num_classes, minimum=1)
            for split in splits:
                _check_labels(split.targets, self.num_classes)
        if not np.all(self.stddev > 0):
            raise ValueError(
                "stddev must be greater than 0 in every channel. "
                f"Received: stddev={self.stddev}. Give a constant channel 1."
            )

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one input, without the examples' axis."""
        return self.train.inputs.shape[1:]

    @property
    def num_outputs(self) -> int:
        """The number of classes, or of a regression's targets."""
        return self.num_classes or self.train.targets.shape[-1]

    def standardize(self, inputs: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Inputs of mean 0 and standard deviation 1 over the training split.

        Args:
            inputs: array or `tf.Tensor` `[..., channels]` in stored units, any dtype.

        Returns:
            A float32 `tf.Tensor` of the same shape. Works inside a `tf.function`.
        """
        return (tf.cast(inputs, tf.float32) - self.mean) / self.stddev


def check_split(name, split):
    """Refuses anything but a `Split`."""
    if not isinstance(split, Split):
        raise ValueError(
            f"{name} must be a Split. Received: {name} of type "
            f"{type(split).__name__}. Make one by tfbn.data.Split(inputs, targets)."
        )


def channel_moments(inputs):
    """The mean and the standard deviation of each channel (the last axis).

    Args:
        inputs: uint8 array `[n, ..., channels]`.

    Returns:
        Two float32 arrays `[channels]`, from exact sums. The standard deviation of a
        constant channel is reported as 1, so that one can divide by it.
    """
    channels = inputs.shape[-1]
    count = inputs[..., 0].size
    sums = np.zeros((2, *inputs.shape[1:]))  # of the values and of their squares
    # float64 adds integers below 2**53 exactly. Blocks fit into a cache, and pixels are
    # summed first: long rows add several times faster than rows of 3 channels.
    for start in range(0, len(inputs), 100):
        block = inputs[start : start + 100].astype(np.float64)
        sums += block.sum(axis=0), np.square(block).sum(axis=0)
    mean, mean_square = sums.reshape(2, -1, channels).sum(axis=1) / count
    variance = mean_square - mean**2
    stddev = np.where(variance > 0, np.sqrt(np.maximum(variance, 0)), 1.0)
    return mean.astype(np.float32), stddev.astype(np.float32)


def _check_array(name, array, dtypes, ranks):
    """Refuses anything but a non-empty NumPy array of one of the dtypes and ranks."""
    if not isinstance(array, np.ndarray):
        raise ValueError(
            f"{name} must be a NumPy array. Received: {name} of type "
            f"{type(array).__name__}. Convert it by np.asarray."
        )
    if array.dtype not in dtypes:
        allowed = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise ValueError(
            f"{name} must be of dtype {allowed}. Received: {name} of dtype "
            f"{array.dtype}. Convert it by astype."
        )
    if array.ndim not in ranks or len(array) == 0:
        raise ValueError(
            f"{name} must have from {ranks[0]} to {ranks[-1]} axes and at least one "
            f"example. Received: {name} of shape {array.shape}."
        )


def _check_length(name, array, num_examples):
    """Refuses an array that is not one entry an example."""
    if len(array) != num_examples:
        raise ValueError(
            f"{name} must have one entry an example, so {num_examples}. "
            f"Received: {name} of shape {array.shape}."
        )


def _check_moment(name, moment, num_channels):
    """Refuses a moment that is not one float32 a channel."""
    _check_array(name, moment, (np.float32,), range(1, 2))
    if moment.shape != (num_channels,):
        raise ValueError(
            f"{name} must have one value a channel, so {num_channels}. "
            f"Received: {name} of shape {moment.shape}."
        )
    if not np.all(np.isfinite(moment)):
        raise ValueError(f"{name} must be finite. Received: {name}={moment}.")


def _check_labels(labels, num_classes):
    """Refuses labels that are none of `range(num_classes)`."""
    _check_array("targets", labels, (np.int64,), range(1, 2))
    low, high = labels.min(), labels.max()
    if low < 0 or high >= num_classes:
        raise ValueError(
            "targets must be labels from 0 to num_classes - 1. Received: labels from "
            f"{low} to {high}, num_classes={num_classes}."
        )
