"""Group normalisation as `--norm=group_norm`."""

import functools

import keras

from tfbn.experiment.norm import EPSILON
from tfbn.experiment.norm import Norm
from tfbn.options import Option


@keras.saving.register_keras_serializable("tfbn")
class GroupNorm(keras.layers.GroupNormalization):
    """Keras's `GroupNormalization` for any number of channels.

    Reference: Wu & He 2018, arXiv 1803.08494.

    Args:
        groups: int > 0, the most groups. The layer uses the largest number that divides
            the channels and leaves at least two of them to a group: one channel of a
            dense layer is a single value, and normalised it would be zero.
        **options: of `keras.layers.GroupNormalization`.
    """

    groups: int

    def build(self, input_shape):
        channels = input_shape[self.axis]
        most = max(1, min(self.groups, channels // 2))
        self.groups = next(n for n in range(most, 0, -1) if channels % n == 0)
        super().build(input_shape)


def _build(train_steps, *, norm_groups, norm_epsilon):
    return functools.partial(GroupNorm, norm_groups, epsilon=norm_epsilon)


GROUP_NORM = Norm(
    "group_norm",
    _build,
    (
        Option(
            "norm_groups",
            32,
            "Group normalisation: the most groups; fewer if they do not divide the "
            "channels or would have one channel.",
            minimum=1,
        ),
        EPSILON,
    ),
)
