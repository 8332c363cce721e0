"""Noise on activations (Santurkar et al. 2018, arXiv 1805.11604, Algorithm 1)."""

import functools
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfbn import ops
from tfbn import validation
from tfbn.layers import axes
from tfbn.layers import batch_norm
from tfbn.layers import modes
from tfbn.layers import ragged
from tfbn.layers import recomputation


class _Noise:
    """The parameters and the seed generator of the noise, shared by both layers."""

    def _set_noise(self, mean_range, stddev_max, mean_jitter, stddev_jitter, seed):
        self.mean_range = validation.number("mean_range", mean_range, minimum=0.0)
        self.stddev_max = validation.number("stddev_max", stddev_max, minimum=1.0)
        self.mean_jitter = validation.number("mean_jitter", mean_jitter, minimum=0.0)
        self.stddev_jitter = validation.number(
            "stddev_jitter", stddev_jitter, minimum=0.0
        )
        if seed is not None:
            seed = validation.integer("seed", seed, minimum=0)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        # The distribution of the noise is the same on all; `ops.perturb` does the rest.
        self.seed_generator.same_on_replicas = True

    def _noise_config(self):
        return {**self._noise_parameters(), "seed": self.seed}

    def _noise_parameters(self):
        return {
            "mean_range": self.mean_range,
            "stddev_max": self.stddev_max,
            "mean_jitter": self.mean_jitter,
            "stddev_jitter": self.stddev_jitter,
        }

    def _add_noise(self, x, channels):
        seed = self.seed_generator.next()
        return ops.perturb(x, seed, axis=channels.axis, **self._noise_parameters())


@keras.saving.register_keras_serializable(package="tfbn")
class NoisyBatchNorm(_Noise, batch_norm.BatchNorm):
    """Batch normalisation followed by noise of changing mean and variance.

    The noise destroys the stable distributions that batch normalisation gives its
    outputs: if training is as fast as with `BatchNorm`, that stability is not why batch
    normalisation works. In training, with y the output of `BatchNorm`, for each channel
    j and each of its elements i (batch and spatial positions):

    ```
    mean_j ~ U(-mean_range, mean_range)       stddev_j ~ U(1, stddev_max)
    m_ij   ~ U(mean_j - mean_jitter, mean_j + mean_jitter)
    s_ij   ~ N(stddev_j, stddev_jitter^2)
    out_ij = s_ij * y_ij + m_ij
    ```

    all drawn anew in each training call. Inference adds no noise (not stated in the
    paper). That noise comes after gamma and beta is inferred; for noise before them,
    use `center=False, scale=False` and a scaling layer of your own after it.

    Args:
        mean_range: float >= 0, n_mu. Default 0.5 (the paper).
        stddev_max: float >= 1, n_sigma. Default 1.25 (the paper).
        mean_jitter: float >= 0, r_mu. Default 0.1 (the paper).
        stddev_jitter: float >= 0, r_sigma, the standard deviation of the elements'
            scales. Default 0.1 (the paper, which does not say whether it is a standard
            deviation or a variance).
        seed: int or None, the seed of the noise. Default None: a random seed.
        **kwargs: the arguments of `BatchNorm`.

    State:
        moving_mean, moving_variance: as in `BatchNorm`, without the noise.
        seed_generator: its state advances by one in each training call.

    Raises:
        ValueError: for an argument outside its range.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        mean_range: float = 0.5,
        stddev_max: float = 1.25,
        mean_jitter: float = 0.1,
        stddev_jitter: float = 0.1,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(axis, momentum, epsilon, center, scale, **kwargs)
        self._set_noise(mean_range, stddev_max, mean_jitter, stddev_jitter, seed)

    def _normalize_in_training(self, x, mask, channels):
        recomputation.refuse(self)  # before any state moves
        y = super()._normalize_in_training(x, mask, channels)
        return self._add_noise(y, channels)

    def get_config(self) -> dict:
        return {**super().get_config(), **self._noise_config()}


@keras.saving.register_keras_serializable(package="tfbn")
class ActivationNoise(_Noise, keras.layers.Layer):
    """The noise of `NoisyBatchNorm` without normalization.

    The control of the experiment: a network that batch normalisation would help stops
    training under this noise.

    Args:
        axis: int or tuple of ints, as in `BatchNorm`. Default -1.
        mean_range, stddev_max, mean_jitter, stddev_jitter, seed: as in
            `NoisyBatchNorm`.
        **kwargs: `name`, `dtype`.

    Call arguments:
        inputs: float tensor of rank 2 or more.
        training: bool, whether to add noise.

    Input shape: any. Output shape: same as the input.

    State:
        seed_generator: its state advances by one in each training call.

    Raises:
        ValueError: for an argument outside its range, or an axis that the input lacks.
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        mean_range: float = 0.5,
        stddev_max: float = 1.25,
        mean_jitter: float = 0.1,
        stddev_jitter: float = 0.1,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.axis = axes.checked_axis(axis)
        self.supports_masking = True
        self._set_noise(mean_range, stddev_max, mean_jitter, stddev_jitter, seed)

    def build(self, input_shape):
        channel_axes = axes.channel_axes(self.axis, input_shape)
        self._channels = ops.Channels(channel_axes, input_shape)

    def call(self, inputs, training=None):
        if isinstance(inputs, tf.RaggedTensor):
            call = functools.partial(self._call_dense, training=training)
            return ragged.map_elements(call, inputs, self._channels)
        return self._call_dense(inputs, self._channels, training)

    def _call_dense(self, x, channels, training):
        def noisy():
            recomputation.refuse(self)
            return channels.split(self._add_noise(channels.merge(x), channels), x)

        return modes.in_mode(training, noisy, lambda: x)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self) -> dict:
        axis = axes.axis_config(self.axis)
        return {**super().get_config(), "axis": axis, **self._noise_config()}
