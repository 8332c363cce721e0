"""Batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167)."""

import keras
import numpy as np

from tfbn import ops
from tfbn import validation
from tfbn.layers import conversion


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
        axis: int, the channel axis. Default -1.
        momentum: float in [0, 1], of the moving averages. Default 0.99 (Keras).
        epsilon: float > 0, added to the variance. Default 1e-3 (Keras).
        center: bool, whether to add beta. Default True.
        scale: bool, whether to multiply by gamma. Default True.
        synchronized: bool, whether to take the statistics over the global batch of a
            `tf.distribute` strategy instead of each replica's batch. Default False.
        virtual_batch_size: int > 0 or None. If given, a training call normalises each
            group of this many consecutive samples with its own statistics ("ghost"
            batches, Hoffer et al. 2017, arXiv 1705.08741); the moving averages are
            updated with their mean over the groups. It must divide the number of
            samples, and cannot be combined with `synchronized`. Default None: one
            group.
        **kwargs: the initializers (`beta_initializer`, `gamma_initializer`,
            `moving_mean_initializer`, `moving_variance_initializer`), regularizers
            (`beta_regularizer`, `gamma_regularizer`) and constraints
            (`beta_constraint`, `gamma_constraint`) of Keras's layer, and `name`,
            `dtype`, `trainable`.

    Call arguments:
        inputs: float tensor of rank 2 or more.
        training: bool, whether to use the statistics of the batch and update the moving
            averages. Treated as False if `layer.trainable` is False, as in Keras. In a
            functional model, `bn(x, training=False)` does not keep `fit` from moving
            the averages, as in Keras: to freeze them, set `bn.trainable = False`.
        mask: bool tensor or None. It covers the leading axes of `inputs`, without
            `axis`; elements where it is False are excluded from the statistics.

    Input shape: any, with a known number of channels.
    Output shape: same as the input, in the layer's compute dtype. If that is a half
    precision, statistics and weights are float32.

    State:
        moving_mean, moving_variance: `[channels]`, updated by each training call.

    `from_config` takes the config of Keras's and tf_keras's layers, and `set_weights`
    the weights of any batch-norm layer; for files see `tfbn.load_weights`.

    Raises:
        ValueError: for an argument outside its range, an axis that the input lacks, or
            a training batch that `virtual_batch_size` does not divide
            (`tf.errors.InvalidArgumentError` if its size is known only at run time).

    Example:

    >>> layer = tfbn.BatchNorm(momentum=0.0)
    >>> y = layer(keras.ops.array([[1.0], [3.0]]), training=True)
    >>> layer.moving_mean.numpy(), layer.moving_variance.numpy()
    (array([2.], dtype=float32), array([1.], dtype=float32))
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        synchronized: bool = False,
        virtual_batch_size: int | None = None,
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
        super().__init__(
            axis=checked_axis(axis),
            momentum=validation.number("momentum", momentum, minimum=0.0, maximum=1.0),
            epsilon=validation.number("epsilon", epsilon, above=0.0),
            center=validation.boolean("center", center),
            scale=validation.boolean("scale", scale),
            synchronized=validation.boolean("synchronized", synchronized),
            **kwargs,
        )
        self.virtual_batch_size = virtual_batch_size

    def build(self, input_shape):
        self._channel_axis = channel_axis(self.axis, input_shape)
        if self.virtual_batch_size is not None and self._channel_axis == 0:
            raise ValueError(
                "virtual_batch_size must be None where axis 0 holds the channels, for "
                "it splits axis 0. Received: virtual_batch_size="
                f"{self.virtual_batch_size}, axis={self.axis}, input shape "
                f"{tuple(input_shape)}."
            )
        channels = (input_shape[self._channel_axis],)
        if self.scale:
            self.gamma = self._add_affine_weight("gamma", channels)
        if self.center:
            self.beta = self._add_affine_weight("beta", channels)
        self.moving_mean = self._add_average(
            "moving_mean", channels, self.moving_mean_initializer
        )
        self._build_averages(channels)
        self.input_spec = keras.layers.InputSpec(
            ndim=len(input_shape), axes={self._channel_axis: channels[0]}
        )

    def call(self, inputs, training=None, mask=None):
        x = keras.ops.convert_to_tensor(inputs)
        if not x.dtype.is_floating:
            _check_dtype(x)
            x = keras.ops.cast(x, self.compute_dtype)
        if training and self.trainable:
            y, statistics = self._normalize_batch(
                x,
                self.gamma,
                self.beta,
                axis=self._channel_axis,
                epsilon=self.epsilon,
                mask=None if mask is None else self._checked_mask(mask, x),
                synchronized=self.synchronized,
                virtual_batch_size=self.virtual_batch_size,
            )
            self._update_averages(statistics)
        else:
            y = ops.normalize(
                x,
                self.moving_mean,
                self._inference_scale(),
                self.gamma,
                self.beta,
                axis=self._channel_axis,
            )
        return keras.ops.cast(y, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        channel_axis(self.axis, input_shape)
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
        return {**config, "virtual_batch_size": self.virtual_batch_size}

    # Subclasses override these: their statistics, their averages and how they are used.

    def _build_averages(self, channels):
        """Creates the averages other than `moving_mean`."""
        self.moving_variance = self._add_average(
            "moving_variance", channels, self.moving_variance_initializer
        )

    def _normalize_batch(self, x, gamma, beta, **options):
        """Normalises with the statistics of the batch: `(y, ops.Statistics)`."""
        return ops.batch_norm(x, gamma, beta, **options)

    def _update_averages(self, statistics):
        """Updates the moving averages with the statistics of the batch."""
        self._average(self.moving_mean, statistics.mean, statistics)
        self._average(self.moving_variance, statistics.spread, statistics)

    def _inference_scale(self):
        """The divisor in inference, `[channels]`."""
        return ops.stddev_of_variance(self.moving_variance, self.epsilon)

    def _average(self, variable, value, statistics, momentum=None):
        momentum = self.momentum if momentum is None else momentum
        variable.assign(ops.moving_average(variable, value, momentum, statistics.valid))

    def _add_affine_weight(self, name, channels):
        return self.add_weight(
            name=name,
            shape=channels,
            dtype=self._statistics_dtype(),
            initializer=getattr(self, f"{name}_initializer"),
            regularizer=getattr(self, f"{name}_regularizer"),
            constraint=getattr(self, f"{name}_constraint"),
            autocast=False,
        )

    def _add_average(self, name, channels, initializer):
        return self.add_weight(
            name=name,
            shape=channels,
            dtype=self._statistics_dtype(),
            initializer=initializer,
            trainable=False,
            autocast=False,
            aggregation="mean",
        )

    def _statistics_dtype(self):
        """At least float32: an average in half precision stops moving."""
        return keras.backend.result_type(self.variable_dtype, "float32")

    def _checked_mask(self, mask, x):
        mask = keras.ops.convert_to_tensor(mask)
        sizes = [n for i, n in enumerate(x.shape) if i != self._channel_axis]
        fits = 1 <= len(mask.shape) <= len(sizes) and all(
            n in (1, size) or None in (n, size)
            for n, size in zip(mask.shape, sizes, strict=False)
        )
        if not fits:
            raise ValueError(
                "mask must have the shape of the inputs without their channel axis, or "
                f"the first of its dimensions. Received: mask.shape={mask.shape}, "
                f"inputs.shape={x.shape}, axis={self.axis}."
            )
        return ops.channel_mask(mask, x, self._channel_axis)


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


def checked_axis(axis: int | list[int]) -> int:
    """Returns `axis` as an int; ValueError if it is none."""
    if isinstance(axis, (list, tuple)) and len(axis) == 1:
        axis = axis[0]  # tf_keras's config holds a list
    if isinstance(axis, bool) or not hasattr(axis, "__index__"):
        raise ValueError(
            f"axis must be one integer. Received: axis={validation.shown(axis)} of "
            f"type {type(axis).__name__}."
        )
    return int(axis)


def channel_axis(axis: int, input_shape: tuple[int | None, ...]) -> int:
    """Returns `axis` counted from the front, checked against the input's shape."""
    rank = len(input_shape)
    if rank < 2:
        raise ValueError(
            "inputs must have a batch axis and a channel axis. "
            f"Received: input shape {tuple(input_shape)}."
        )
    if not -rank <= axis < rank:
        raise ValueError(
            f"axis must be in [{-rank}, {rank}) for inputs of rank {rank}. "
            f"Received: axis={axis}, input shape {tuple(input_shape)}."
        )
    if input_shape[axis] is None:
        raise ValueError(
            "inputs must have a known number of channels. Received: input shape "
            f"{tuple(input_shape)} with axis={axis}. Give the input a fixed size there."
        )
    return axis % rank
