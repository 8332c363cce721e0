"""What the averages of each batch-norm layer are of."""

import keras
import tensorflow as tf

from tfbn.calibration import pooling
from tfbn.calibration.pooling import Pooled
from tfbn.layers import LpBatchNorm
from tfbn.layers import conversion


def has(layer: keras.layers.BatchNormalization) -> bool:
    """Whether a layer has averages of a known meaning."""
    return conversion.converts(layer) or (
        isinstance(layer, LpBatchNorm) and layer.built
    )


def of_batch(
    layer: keras.layers.BatchNormalization,
    inputs: tf.Tensor | tf.RaggedTensor,
    mask: tf.Tensor | None,
) -> Pooled:
    """The statistics of a batch, of the shape of the averages of the layer."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    rank = len(inputs.shape)
    channels = {axis - rank if axis >= 0 else axis for axis in axes}  # from the end
    x = tf.cast(getattr(inputs, "flat_values", inputs), tf.float64)
    others = [axis for axis in range(-len(x.shape), 0) if axis not in channels]
    kept = pooling.kept_elements(x, mask)
    count, mean, squares = pooling.moments(x, kept, others)
    norm = tf.zeros_like(mean)
    if isinstance(layer, LpBatchNorm):
        norm = _norm(layer, x, kept, count, mean, others)
    shape = tuple(layer.moving_mean.shape)
    values = (count, mean, squares, norm)
    return Pooled(*(tf.reshape(value, shape) for value in values))


def _norm(layer, x, kept, count, mean, axes):
    """The norm by which `LpBatchNorm` divides a batch."""
    size = tf.abs(x - mean if layer.centered else x)
    if kept is not None:
        size = tf.where(kept > 0, size, 0.0)
    count = tf.maximum(count, 1.0)
    if layer.order == "inf":
        norm = tf.reduce_max(size, axes, keepdims=True)
    else:
        total = tf.reduce_sum(size**layer.order, axes, keepdims=True)
        norm = (total / count) ** (1.0 / layer.order)
    if layer.literal:
        norm *= count ** {1: 0.0, 2: -0.5, "inf": -1.0}[layer.order]
    return norm


def assign(layer: keras.layers.BatchNormalization, statistics: Pooled) -> None:
    """Sets the averages of a layer; a channel without elements keeps its own."""
    values = {"moving_mean": statistics.mean}
    if isinstance(layer, LpBatchNorm):
        values["moving_norm"] = statistics.norm
    else:
        stddev = tf.sqrt(statistics.variance + layer.epsilon)
        values["moving_variance"] = statistics.variance
        values |= {"moving_stddev": stddev, "renorm_stddev": stddev}
        values["renorm_mean"] = statistics.mean
    for variable in layer.non_trainable_weights:
        if variable.name in values:
            value = tf.cast(values[variable.name], variable.dtype)
            kept = tf.convert_to_tensor(variable)
            variable.assign(tf.where(statistics.count > 0, value, kept))
