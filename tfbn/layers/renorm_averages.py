"""What Batch Renormalization makes of its averages: r and d, and new averages.

Functions of tensors alone: layers with equal ones are traced once.
"""

import dataclasses
from collections.abc import Mapping
from collections.abc import MutableMapping

import tensorflow as tf

from tfbn import ops
from tfbn import schedules


@dataclasses.dataclass(frozen=True)
class Correction:
    """r and d by the averages before a training call.

    Attributes:
        mean, stddev: str, the names of the averages.
        rmax, dmax: floats or schedules, the bounds.
        stddev_floor, drift_correction: as in `ops.renorm_correction`.
    """

    mean: str
    stddev: str
    rmax: float | schedules.Schedule
    dmax: float | schedules.Schedule
    stddev_floor: float
    drift_correction: bool

    def __call__(
        self, statistics: ops.Statistics, averages: Mapping[str, tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`(r, d)` for the statistics of a batch; `averages` has a "step"."""
        step = averages["step"]
        return ops.renorm_correction(
            statistics,
            averages[self.mean],
            averages[self.stddev],
            rmax=schedules.evaluate(self.rmax, step),
            dmax=schedules.evaluate(self.dmax, step),
            stddev_floor=self.stddev_floor,
            drift_correction=self.drift_correction,
        )


@dataclasses.dataclass(frozen=True)
class Update:
    """The averages and the step after a training call.

    Attributes:
        momentum: float.
        renorm_momentum: float, that of the second set of averages, or None without one.
        momentum_warmup: bool.
        epsilon: float.
    """

    momentum: float
    renorm_momentum: float | None
    momentum_warmup: bool
    epsilon: float

    def __call__(
        self, averages: MutableMapping[str, tf.Tensor], statistics: ops.Statistics
    ) -> None:
        """Updates the averages with the statistics of a batch."""

        def move(name, value, momentum):
            averages[name] = ops.moving_average(
                averages[name], value, momentum, statistics.valid
            )

        momentum = self._now(self.momentum, averages)
        move("moving_mean", statistics.mean, momentum)
        move("moving_stddev", statistics.scale, momentum)
        if self.renorm_momentum is not None:
            momentum = self._now(self.renorm_momentum, averages)
            move("renorm_mean", statistics.mean, momentum)
            move("renorm_stddev", statistics.scale, momentum)
        # Read anew: replicas have averaged what each has set.
        stddev = averages["moving_stddev"]
        variance = ops.variance_of_stddev(stddev, self.epsilon)
        move("moving_variance", variance, momentum=0.0)
        averages["step"] += 1

    def _now(self, momentum, averages):
        if not self.momentum_warmup:
            return momentum
        dtype = averages["moving_mean"].dtype
        return ops.warmed_up_momentum(momentum, averages["step"], dtype)
