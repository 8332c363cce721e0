"""The moving averages of a layer, and what a training call makes of them."""

import dataclasses
from collections.abc import Iterator
from collections.abc import MutableMapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfbn import ops
from tfbn.layers import synchronization


class HeldAverages(MutableMapping[str, tf.Tensor]):
    """Weights of a layer by name: read as tensors, set on all replicas.

    Averages are `[channels]`, whatever the shape of the weight; a counter is a scalar.
    Several replicas come to the same counter, and average the rest unless they share
    their statistics.

    Args:
        layer: that holds them, as attributes.
        names: of the attributes.
        channels: `ops.Channels` of the layer.
    """

    def __init__(
        self, layer: keras.layers.Layer, names: Sequence[str], channels: ops.Channels
    ):
        self._layer: Any = layer
        self._names, self._channels = names, channels

    def __getitem__(self, name: str) -> tf.Tensor:
        variable = self._variable(name)
        value = tf.convert_to_tensor(variable)
        return value if _is_counter(variable) else self._channels.vector(value)

    def __setitem__(self, name: str, value: tf.Tensor) -> None:
        variable, same = self._variable(name), True
        if not _is_counter(variable):
            value, same = self._channels.weight(value), self._layer.synchronized
        synchronization.assign(variable, value, same=same)

    def __delitem__(self, name: str) -> None:
        raise TypeError("The averages of a layer cannot be deleted.")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _variable(self, name):
        if name not in self._names:
            raise KeyError(name)
        return getattr(self._layer, name)


def _is_counter(variable):
    return variable.ndim == 0


@dataclasses.dataclass(frozen=True)
class MeanAndSpread:
    """An update of `moving_mean` and of an average of the spread.

    A function of tensors alone: layers with equal ones are traced once.

    Attributes:
        momentum: float.
        spread: str, the name of the second average.
    """

    momentum: float
    spread: str

    def __call__(
        self, averages: MutableMapping[str, tf.Tensor], statistics: ops.Statistics
    ) -> None:
        """Updates the averages with the statistics of a batch."""
        values = {"moving_mean": statistics.mean, self.spread: statistics.spread}
        for name, value in values.items():
            averages[name] = ops.moving_average(
                averages[name], value, self.momentum, statistics.valid
            )
