"""Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167)."""

import functools
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfbn import ops
from tfbn import validation
from tfbn.layers import axes
from tfbn.layers import conversion
from tfbn.layers import masks
from tfbn.layers import modes
from tfbn.layers import moving_averages
from tfbn.layers import ragged
from tfbn.layers import recomputation


@keras.saving.register_keras_serializable(package="tfbn")
class BatchNorm(keras.layers.BatchNormalization):
    """Batch normalisation, a drop-in for `keras.layers.BatchNormalization`.

    Training normalises each channel with the statistics of the batch, inference with
    their moving averages:

    ```
    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta
    moving_mean     <- momentum * moving_mean     + (1 - momentum) * mean
    moving_variance <- momentum * moving_variance + (1 - momentum) * variance
    ```

    `variance` is the biased variance (divided by the number of elements), as in Keras.
    The layer is a subclass of Keras's, with the same weights in the same order. It
    differs in two ways: results stay exact on data whose mean is large compared to its
    standard deviation, and a batch that is empty or contains a non-finite activation
    does not change the moving averages. For small or non-i.i.d. batches, use
    `BatchRenorm`.

    Args:
        axis: int, the channel axis. Default -1. Or a tuple of ints: each element along
            these axes is a channel, and the weights have the rank of the inputs, with a
            1 along the other axes (as in tf_keras).
        momentum: float in [0, 1], of the moving averages. Default 0.99 (Keras).
        epsilon: float > 0, added to the variance. Default 1e-3 (Keras).
        center: bool, whether to add beta. Default True.
        scale: bool, whether to multiply by gamma. Default True.
        synchronized: bool, whether to take the statistics over the global batch of a
            `tf.distribute` strategy instead of each replica's batch. Default False.
        virtual_batch_size: int > 0 or None. If given, a training call normalises each
            group of this many consecutive samples with its own statistics ("ghost"
            batches, Hoffer et al. 2017, arXiv 1705.08741); the moving averages are
            updated with their mean over the groups. If it does not divide the number
            of samples, the remainder is a group of its own. It cannot be combined with
            `synchronized`. Default None: one group.
        virtual_batch_order: "consecutive" or "interleaved": in the second, sample i is
            in group i mod the number of groups, as in tf_keras. Default "consecutive".
        **kwargs: the initializers (`beta_initializer`, `gamma_initializer`,
            `moving_mean_initializer`, `moving_variance_initializer`), regularizers
            (`beta_regularizer`, `gamma_regularizer`) and constraints
            (`beta_constraint`, `gamma_constraint`) of Keras's layer, and `name`,
            `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of rank 2 or more, or `tf.RaggedTensor`.
        training: bool, whether to use the statistics of the batch and update the moving
            averages. Treated as False if `layer.trainable` is False, as in Keras. In a
            graph it may be a tensor. In a functional model, `bn(x, training=False)`
            does not keep `fit` from moving the averages, as in Keras: to freeze them,
            set `bn.trainable = False`.
        mask: bool tensor of the shape of `inputs` without its *last* axis (whatever
            `axis` is, as in Keras), or None. Sizes may be 1. Elements where it is False
            are excluded from the statistics.

    Input shape: any, with a known number of channels.
    Output shape: same as the input, in the layer's compute dtype. If that is a half
    precision, statistics and weights are float32.

    State:
        moving_mean, moving_variance: `[channels]`, updated by each training call. A
            channel whose elements the mask excludes keeps its own.

    `from_config` takes the config of Keras's and tf_keras's layers, and `set_weights`
    the weights of any batch-norm layer; for files see `tfbn.load_weights`.

    Raises:
        ValueError: for an argument outside its range, an axis that the input lacks, or
            a mask of another shape.

    Example:

    >>> layer = tfbn.BatchNorm(momentum=0.0)
    >>> y = layer(keras.ops.array([[1.0], [3.0]]), training=True)
    >>> layer.moving_mean.numpy(), layer.moving_variance.numpy()
    (array([2.], dtype=float32), array([1.], dtype=float32))
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        synchronized: bool = False,
        virtual_batch_size: int | None = None,
        virtual_batch_order: str = "consecutive",
        **kwargs,
    ):
        conversion.drop_renorm(type(self).__name__, kwargs)
        if virtual_batch_size is not None:
            virtual_batch_size = validation.integer(
                "virtual_batch_size", virtual_batch_size, minimum=1
            )
            if synchronized:
                raise ValueError(
                    "virtual_batch_size must be None with synchronized=True: one "
                    "splits a batch, the other joins batches. Received: "
                    f"virtual_batch_size={virtual_batch_size}, synchronized="
                    f"{synchronized}. Give one of them."
                )
        for name, module in _KERAS_OBJECTS.items():
            if name in kwargs:
                kwargs[name] = validation.keras_object(name, kwargs[name], module)
        axis = axes.checked_axis(axis)
        super().__init__(
            axis=-1,  # Keras's layer takes one only
            momentum=validation.number("momentum", momentum, minimum=0.0, maximum=1.0),
            epsilon=validation.number("epsilon", epsilon, above=0.0),
            center=validation.boolean("center", center),
            scale=validation.boolean("scale", scale),
            synchronized=validation.boolean("synchronized", synchronized),
            **kwargs,
        )
        self.axis = axis
        self.virtual_batch_size = virtual_batch_size
        self.virtual_batch_order = validation.choice(
            "virtual_batch_order", virtual_batch_order, ops.VIRTUAL_BATCH_ORDERS
        )

    def build(self, input_shape):
        channel_axes = axes.channel_axes(self.axis, input_shape)
        if self.virtual_batch_size is not None and 0 in channel_axes:
            raise ValueError(
                "virtual_batch_size must be None where axis 0 holds the channels, for "
                "it splits axis 0. Received: virtual_batch_size="
                f"{self.virtual_batch_size}, axis={self.axis}, input shape "
                f"{tuple(input_shape)}."
            )
        self._channels = ops.Channels(channel_axes, input_shape)
        shape = self._channels.weight_shape
        if self.scale:
            self.gamma = self._add_affine_weight("gamma", shape)
        if self.center:
            self.beta = self._add_affine_weight("beta", shape)
        self.moving_mean = self._add_average(
            "moving_mean", shape, self.moving_mean_initializer
        )
        self._build_averages(shape)
        self.input_spec = keras.layers.InputSpec(
            ndim=len(input_shape), axes={i: input_shape[i] for i in channel_axes}
        )

    def call(self, inputs, training=None, mask=None):
        if isinstance(inputs, tf.RaggedTensor):
            ragged.refuse_options(inputs, mask, self.virtual_batch_size)
            call = functools.partial(self._call_dense, training=training)
            return ragged.map_elements(call, inputs, self._channels)
        x = keras.ops.convert_to_tensor(inputs)
        if mask is not None:
            mask = self._channels.mask(masks.checked_mask(mask, x), x)
        return self._call_dense(x, self._channels, training, mask)

    def _call_dense(self, x, channels, training, mask=None):
        if not x.dtype.is_floating:
            _check_dtype(x)
            x = keras.ops.cast(x, self.compute_dtype)
        merged = channels.merge(x)
        y = modes.in_mode(
            self._trains(training),
            lambda: self._normalize_in_training(merged, mask, channels),
            lambda: self._normalize_in_inference(merged, channels),
        )
        return keras.ops.cast(channels.split(y, x), self.compute_dtype)

    def _trains(self, training):
        return training if self.trainable else False

    def _normalize_in_training(self, x, mask, channels):
        again = recomputation.is_second_run()
        return self._normalize_batch(
            x,
            channels.vector(self.gamma),
            channels.vector(self.beta),
            axis=channels.axis,
            epsilon=self.epsilon,
            mask=mask,
            synchronized=self.synchronized,
            virtual_batch_size=self.virtual_batch_size,
            virtual_batch_order=self.virtual_batch_order,
            averages=self._averages(),
            update=None if again else self._update(),
        )

    def _normalize_in_inference(self, x, channels):
        weights = (self.moving_mean, self._inference_scale(), self.gamma, self.beta)
        return ops.normalize(x, *map(channels.vector, weights), axis=channels.axis)

    def compute_output_shape(self, input_shape):
        axes.channel_axes(self.axis, input_shape)
        return input_shape

    def set_weights(self, weights: list[np.ndarray]) -> None:
        super().set_weights(conversion.layer_weights(self, weights))

    def load_own_variables(self, store):
        super().load_own_variables(conversion.stored_weights(self, store))

    @classmethod
    def from_config(cls, config: dict) -> "BatchNorm":
        return super().from_config(conversion.batch_norm_config(cls.__name__, config))

    def get_config(self) -> dict:
        config = super().get_config()
        for name in _KERAS_RENORM:
            del config[name]
        return {
            **config,
            "axis": axes.axis_config(self.axis),
            "virtual_batch_size": self.virtual_batch_size,
            "virtual_batch_order": self.virtual_batch_order,
        }

    # Subclasses override these: their statistics, their averages and how they are used.

    def _build_averages(self, shape):
        """Creates the averages other than `moving_mean`, of this shape."""
        self.moving_variance = self._add_average(
            "moving_variance", shape, self.moving_variance_initializer
        )

    def _normalize_batch(self, x, gamma, beta, **options):
        """Normalises with the statistics of the batch, and updates the averages."""
        y, _ = ops.batch_norm(x, gamma, beta, **options)
        return y

    def _average_names(self):
        """The names of the weights that a training call updates."""
        return ("moving_mean", "moving_variance")

    def _update(self):
        """What a training call makes of the averages: see `ops.batch_norm`."""
        return moving_averages.MeanAndSpread(self.momentum, "moving_variance")

    def _inference_scale(self):
        """The divisor in inference, of the shape of the averages."""
        return ops.stddev_of_variance(self.moving_variance, self.epsilon)

    def _averages(self):
        names = self._average_names()
        return moving_averages.HeldAverages(self, names, self._channels)

    def _add_affine_weight(self, name, shape):
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=self._statistics_dtype(),
            initializer=getattr(self, f"{name}_initializer"),
            regularizer=getattr(self, f"{name}_regularizer"),
            constraint=getattr(self, f"{name}_constraint"),
            autocast=False,
        )

    def _add_average(self, name, shape, initializer):
        return self.add_weight(
            name=name,
            shape=shape,
            dtype=self._statistics_dtype(),
            initializer=initializer,
            trainable=False,
            autocast=False,
            aggregation="mean",
        )

    def _statistics_dtype(self):
        """At least float32: an average in half precision stops moving."""
        return keras.backend.result_type(self.variable_dtype, "float32")


_KERAS_RENORM = ("renorm", "renorm_clipping", "renorm_momentum")
_KERAS_OBJECTS = {
    "beta_initializer": keras.initializers,
    "gamma_initializer": keras.initializers,
    "moving_mean_initializer": keras.initializers,
    "moving_variance_initializer": keras.initializers,
    "beta_regularizer": keras.regularizers,
    "gamma_regularizer": keras.regularizers,
    "beta_constraint": keras.constraints,
    "gamma_constraint": keras.constraints,
}


def _check_dtype(x):
    if not (x.dtype.is_integer or x.dtype.is_bool):
        raise ValueError(
            f"inputs must be real numbers. Received: inputs of dtype {x.dtype.name}."
        )
