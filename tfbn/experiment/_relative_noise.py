"""Noise in proportion to the activations as `--norm=relative_noise`."""

import keras
import tensorflow as tf

from tfbn import layers
from tfbn.experiment.norm import Norm


@keras.saving.register_keras_serializable("tfbn")
class RelativeNoise(layers.ActivationNoise):
    """The noise of `ActivationNoise`, in units of the activations' own spread.

    With the standard deviation sigma of a channel in the batch, x becomes
    `sigma * noise(x / sigma)`: its mean moves by a part of sigma, where Algorithm 1 of
    Santurkar et al. moves it by a fixed amount, which a network without normalisation
    can outgrow. Not in the paper. sigma counts as a constant in the gradient.

    Args:
        **options: of `ActivationNoise`.
    """

    def _add_noise(self, x, channels):
        others = [axis for axis in range(len(x.shape)) if axis != channels.axis]
        sigma = tf.math.reduce_std(x, others, keepdims=True)
        # A channel without spread, such as a dead one, gets no noise.
        sigma = tf.stop_gradient(sigma)
        unit = tf.math.divide_no_nan(x, sigma)
        return tf.where(sigma > 0, sigma * super()._add_noise(unit, channels), x)


RELATIVE_NOISE = Norm("relative_noise", lambda train_steps: RelativeNoise)
