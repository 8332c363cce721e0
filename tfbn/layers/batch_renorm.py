"""Batch Renormalization (Ioffe 2017, arXiv 1702.03275)."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfbn import ops
from tfbn import schedules
from tfbn import validation
from tfbn.layers import batch_norm
from tfbn.layers import conversion
from tfbn.layers import recomputation
from tfbn.layers import renorm_averages


@keras.saving.register_keras_serializable(package="tfbn")
class BatchRenorm(batch_norm.BatchNorm):
    """Batch Renormalization: in training, close to what inference computes.

    For small or non-i.i.d. batches, whose statistics differ from the population's, and
    for fine-tuning. Training corrects the statistics of the batch towards the moving
    averages by r and d (Algorithm 1), through which no gradient flows:

    ```
    sigma_B = sqrt(variance + epsilon)
    sigma   = max(moving_stddev, sqrt(epsilon))            before this call's update
    r = clip(sigma_B / sigma, 1 / rmax, rmax)
    d = clip((mean - moving_mean) / sigma, -dmax, dmax)
    y = gamma * ((x - mean) / sigma_B * r + d) + beta
    moving_mean   <- momentum * moving_mean   + (1 - momentum) * mean
    moving_stddev <- momentum * moving_stddev + (1 - momentum) * sigma_B
    ```

    The bounds decide what the layer does; which are right depends on the averages:

    - from scratch, long runs: the default. It is plain batch normalisation for 5,000
      training calls, in which the averages form and the largest changes pass.
    - from scratch, shorter runs: `tfbn.schedules.ioffe_2017(total_steps=...)`, with
      `momentum_warmup=True` if it opens the bounds within some hundred calls, and
      with `rmax=1.5, dmax=0.5` and `drift_correction=True` in wide networks, which 3
      and 5 can break. The default would leave a run of 5,000 steps or fewer a
      BatchNorm throughout.
    - fine-tuning from trained averages: constants, `tfbn.schedules.fine_tuning()`, or
      `rmax=3.0, dmax=5.0` for batches of 2 or so.
    - streams and reinforcement learning, which have no length to scale to:
      `tfbn.schedules.after(steps)`.

    Constant wide bounds from scratch compare the first batches with initial averages,
    which are those of no data: losses can grow to NaN, with `momentum_warmup` too. See
    docs/renorm.md.

    Inference divides by the paper's sigma: by `sqrt(moving_variance + epsilon)`, where
    `moving_variance = max(moving_stddev^2 - epsilon, 0)`. With rmax = 1 and dmax = 0,
    training equals that of `BatchNorm`. With fixed bounds, the layer equals Keras's
    `BatchNormalization(renorm=True)` with the same bounds (rmin = 1 / rmax).

    Args:
        rmax: float >= 1 or a schedule, the bound of r; `float("inf")` for none. Default
            None: the paper's schedule, 1 for 5,000 training calls, then a ramp to 3 at
            40,000. For shorter runs see `tfbn.schedules.ioffe_2017(total_steps=...)`.
        dmax: float >= 0 or a schedule, the bound of d. Default None: the paper's
            schedule, 0 for 5,000 training calls, then a ramp to 5 at 25,000.
        renorm_momentum: float in [0, 1] or None. Default None (the paper): one set of
            averages for r, d and inference. A value other than `momentum` adds a second
            set for r and d, `renorm_mean` and `renorm_stddev`, as in Keras.
        momentum_warmup: bool, whether the momentum after t training calls is
            `min(momentum, (1 + t) / (10 + t))`, so that the averages forget their
            initial values before the bounds open: the rule of
            `tf.train.ExponentialMovingAverage(num_updates=t)`. It holds for
            `renorm_momentum` too. Default False (the paper).
        drift_correction: bool, whether r and d leave out what all channels have in
            common. Kernels grow in training, as their gradient is orthogonal to them,
            and the averages lag behind: sigma_B / sigma is then above 1 in every
            channel, and these factors multiply from layer to layer. With s, the
            geometric mean of sigma_B / sigma over the channels,
            `r = clip(sigma_B / (s sigma), 1 / rmax, rmax)` and
            `d = clip((mean / s - moving_mean) / sigma, -dmax, dmax)`: within the
            bounds, `y` is what inference computes of `x / s`. Virtual batches have an s
            each. Not in the paper. Default False. See docs/renorm.md.
        **kwargs: the arguments of `BatchNorm`.

    A schedule is any `keras.optimizers.schedules.LearningRateSchedule`, evaluated in
    the graph at the number of previous training calls. Values below 1 (rmax) or 0
    (dmax) are raised to that.

    Call arguments, shapes: those of `BatchNorm`.

    State:
        moving_mean, moving_stddev, moving_variance: `[channels]`, updated by each
            training call.
        renorm_mean, renorm_stddev: likewise, if `renorm_momentum` differs.
        step: int64 scalar, incremented by each training call and by nothing else.

    `from_config` takes the config of Keras's and tf_keras's layers: with renorm, rmax
    and dmax are those of `renorm_clipping` (infinite where it has none), so that the
    layer trains as that one; without, they are the defaults. `set_weights` takes the
    weights of any batch-norm layer: those of one without renorm give
    `moving_stddev = sqrt(moving_variance + epsilon)`, and `step` keeps its value unless
    a BatchRenorm's is given. For files see `tfbn.load_weights`.

    Raises:
        ValueError: for an argument outside its range; from `set_weights` for weights
            with two different sets of averages if this layer has one; from
            `from_config` for a `renorm_clipping` whose rmin is not 1 / rmax.

    Example:

    >>> layer = tfbn.BatchRenorm(rmax=3.0, dmax=5.0)
    >>> rmax, dmax = tfbn.schedules.ioffe_2017(total_steps=10_000)
    >>> layer = tfbn.BatchRenorm(rmax=rmax, dmax=dmax)
    """

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        rmax: float | schedules.Schedule | None = None,
        dmax: float | schedules.Schedule | None = None,
        renorm_momentum: float | None = None,
        momentum_warmup: bool = False,
        drift_correction: bool = False,
        **kwargs,
    ):
        if renorm_momentum is not None:
            renorm_momentum = validation.number(
                "renorm_momentum", renorm_momentum, minimum=0.0, maximum=1.0
            )
        paper_rmax, paper_dmax = schedules.ioffe_2017()
        rmax = schedules.get("rmax", paper_rmax if rmax is None else rmax, 1.0)
        dmax = schedules.get("dmax", paper_dmax if dmax is None else dmax, 0.0)
        super().__init__(axis, momentum, epsilon, center, scale, **kwargs)
        self.rmax, self.dmax = rmax, dmax
        self.renorm_momentum = renorm_momentum
        self.momentum_warmup = validation.boolean("momentum_warmup", momentum_warmup)
        self.drift_correction = validation.boolean("drift_correction", drift_correction)

    def bounds(self, step: int | tf.Tensor | None = None) -> tuple:
        """The clipping bounds `(rmax, dmax)` after some training calls.

        Args:
            step: int >= 0 or int64 tensor, the number of training calls. Default None:
                those of this layer so far, for the bounds of its next training call.

        Returns:
            Two float32 scalars.

        Raises:
            ValueError: for an invalid step, or without one before the layer is built.
        """
        if step is None:
            step = self._checked_step()
        elif not keras.ops.is_tensor(step):
            step = validation.integer("step", step, minimum=0)
        return schedules.evaluate(self.rmax, step), schedules.evaluate(self.dmax, step)

    def renorm_correction(
        self, statistics: ops.Statistics, **options: Any
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """r and d for the statistics of a batch, by the present averages.

        Args:
            statistics: `ops.Statistics`, `[channels]` or `[virtual batches, channels]`.
            **options: `rmax`, `dmax` or `drift_correction`, in place of those of the
                next training call.

        Returns:
            `(r, d)`, of the shape of the statistics.
        """
        rmax, dmax = self.bounds()
        present = {
            "rmax": rmax,
            "dmax": dmax,
            "drift_correction": self.drift_correction,
        }
        return ops.renorm_correction(
            statistics,
            self._channels.vector(self.renorm_mean),
            self._channels.vector(self.renorm_stddev),
            stddev_floor=self.epsilon**0.5,
            **(present | options),
        )

    @classmethod
    def from_config(cls, config: dict) -> "BatchRenorm":
        return super().from_config(conversion.batch_renorm_config(config))

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "rmax": schedules.serialize(self.rmax),
            "dmax": schedules.serialize(self.dmax),
            "renorm_momentum": self.renorm_momentum,
            "momentum_warmup": self.momentum_warmup,
            "drift_correction": self.drift_correction,
        }

    def _checked_step(self):
        if not self.built:
            raise ValueError(
                f"step must be given until the layer is built. Received: step=None for "
                f"{self.name}. Call it on a batch, or give a step."
            )
        return self.step

    @property
    def _two_sets(self):
        return self.renorm_momentum not in (None, self.momentum)

    def _build_averages(self, shape):
        super()._build_averages(shape)
        self.moving_stddev = self._add_average(
            "moving_stddev", shape, self._stddev_initializer
        )
        self.renorm_mean, self.renorm_stddev = self.moving_mean, self.moving_stddev
        if self._two_sets:
            self.renorm_mean = self._add_average(
                "renorm_mean", shape, self.moving_mean_initializer
            )
            self.renorm_stddev = self._add_average(
                "renorm_stddev", shape, self._stddev_initializer
            )
        self.step = self.add_weight(
            name="step",
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            aggregation="only_first_replica",
        )

    def _stddev_initializer(self, shape, dtype=None):
        # Without epsilon, as in Keras. A clone, because a seeded initializer returns
        # its values only once; a plain function has no clone.
        variance = self.moving_variance_initializer
        variance = variance.clone() if hasattr(variance, "clone") else variance
        return keras.ops.sqrt(variance(shape, dtype=dtype))

    def _normalize_batch(self, x, gamma, beta, **options):
        recomputation.refuse(self)
        return super()._normalize_batch(
            x, gamma, beta, correction=self._correction(), **options
        )

    def _correction(self):
        """What `ops.batch_norm` takes for r and d."""
        names = ("moving_mean", "moving_stddev")
        if self._two_sets:
            names = ("renorm_mean", "renorm_stddev")
        return renorm_averages.Correction(
            *names, self.rmax, self.dmax, self.epsilon**0.5, self.drift_correction
        )

    def _average_names(self):
        second_set = ("renorm_mean", "renorm_stddev") if self._two_sets else ()
        first_set = ("moving_mean", "moving_stddev")
        return (*first_set, *second_set, "moving_variance", "step")

    def _update(self):
        return renorm_averages.Update(
            self.momentum,
            self.renorm_momentum if self._two_sets else None,
            self.momentum_warmup,
            self.epsilon,
        )
