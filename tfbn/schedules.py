"""Schedules over training steps, for the clipping bounds of Batch Renormalization.

A schedule is a `keras.optimizers.schedules.LearningRateSchedule`: a serializable
object that maps a step to a scalar *in the graph*, so that its value changes in a
`tf.function` traced once. Keras's own schedules work wherever tfbn takes one, and
tfbn's work as learning-rate schedules of a Keras optimizer.
"""

import keras
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule as Schedule

from tfbn import validation

# The i.i.d. experiments of Ioffe 2017 (sec. 4.1) report their accuracy at 130k steps.
IOFFE_2017_STEPS = 130_000


@keras.saving.register_keras_serializable(package="tfbn")
class LinearRamp(Schedule):
    """A linear ramp from one constant to another.

    ```
    value(step) = initial_value                                 step <= begin_step
                = initial_value + (final_value - initial_value)
                  * (step - begin_step) / (end_step - begin_step)      in between
                = final_value                                   step >= end_step
    ```

    Args:
        initial_value: float, the value up to and at `begin_step`.
        final_value: float, the value from `end_step` on.
        begin_step: int >= 0, in training steps.
        end_step: int > `begin_step`; `begin_step + 1` makes a switch.

    Raises:
        ValueError: if a value is not finite, a step is not an integer, or the ramp
            ends before it begins.

    Example:

    >>> ramp = tfbn.schedules.LinearRamp(1.0, 3.0, begin_step=10, end_step=20)
    >>> [float(ramp(step)) for step in (0, 10, 15, 20, 1000)]
    [1.0, 1.0, 2.0, 3.0, 3.0]
    """

    def __init__(
        self,
        initial_value: float,
        final_value: float,
        begin_step: int,
        end_step: int,
    ):
        self.initial_value = validation.number("initial_value", initial_value)
        self.final_value = validation.number("final_value", final_value)
        self.begin_step = validation.integer("begin_step", begin_step, minimum=0)
        self.end_step = validation.integer("end_step", end_step, minimum=0)
        if self.end_step <= self.begin_step:
            raise ValueError(
                "end_step must be greater than begin_step. Received: "
                f"begin_step={begin_step}, end_step={end_step}. For a switch from one "
                "value to the other, set end_step to begin_step + 1."
            )

    def __call__(self, step: int | tf.Tensor) -> tf.Tensor:
        """The value at `step`, a float32 scalar; `step` is an integer or a tensor."""
        # Subtracted as integers: float32 cannot tell steps apart beyond 2**24.
        elapsed = ops.cast(step, "int64") - self.begin_step
        duration = self.end_step - self.begin_step
        progress = ops.clip(ops.cast(elapsed, "float32") / float(duration), 0.0, 1.0)
        return self.initial_value * (1.0 - progress) + self.final_value * progress

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LinearRamp):
            return NotImplemented
        return self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash(tuple(self.get_config().values()))

    def get_config(self) -> dict:
        return {
            "initial_value": self.initial_value,
            "final_value": self.final_value,
            "begin_step": self.begin_step,
            "end_step": self.end_step,
        }


def ioffe_2017(
    total_steps: int | None = None,
    *,
    rmax: float = 3.0,
    dmax: float = 5.0,
    reference_steps: int = IOFFE_2017_STEPS,
) -> tuple[LinearRamp, LinearRamp]:
    """The schedules of Batch Renormalization's paper (arXiv 1702.03275, sec. 4).

    rmax stays 1 and dmax stays 0 (plain batch normalisation) for 5,000 steps; rmax
    then grows to 3 at 40,000 steps and dmax to 5 at 25,000. The paper says "gradually
    relaxed"; that the ramp is linear is inferred.

    In a run of a few thousand steps the bounds open while moving averages of momentum
    0.99 still hold much of their initial values: then use a smaller momentum, or
    `BatchRenorm(momentum_warmup=True)`. In wide networks that does not suffice, and
    final bounds of 1.5 and 0.5 do: see docs/renorm.md.

    Args:
        total_steps: int, the length of your run in steps, to which the ramps are
            scaled. Default None: the steps of the paper, not scaled.
        rmax, dmax: floats, at least 1 and 0, the final bounds. Default: the paper's, 3
            and 5.
        reference_steps: int, the length of the paper's run that corresponds to
            `total_steps`. The default of 130,000 is inferred: the step at which
            sec. 4.1 reports its accuracies. With 40,000 the ramp of rmax ends with the
            run.

    Returns:
        A pair `(rmax, dmax)` of `LinearRamp`, as `BatchRenorm` takes them.

    Raises:
        ValueError: if `total_steps` or `reference_steps` is not a positive integer, or
            a bound is out of range.

    Example:

    >>> rmax, dmax = tfbn.schedules.ioffe_2017(total_steps=1300)
    >>> rmax.begin_step, rmax.end_step, dmax.end_step
    (50, 400, 250)
    """
    scale = 1.0
    rmax = validation.number("rmax", rmax, minimum=1.0)
    dmax = validation.number("dmax", dmax, minimum=0.0)
    reference_steps = validation.integer("reference_steps", reference_steps, minimum=1)
    if total_steps is not None:
        total_steps = validation.integer("total_steps", total_steps, minimum=1)
        scale = total_steps / reference_steps
    begin = round(5_000 * scale)

    def ramp(initial_value, final_value, end_step):
        end = max(round(end_step * scale), begin + 1)  # a ramp of at least one step
        return LinearRamp(initial_value, final_value, begin, end)

    return ramp(1.0, rmax, 40_000), ramp(0.0, dmax, 25_000)


def after(
    steps: int, *, rmax: float = 3.0, dmax: float = 5.0
) -> tuple[LinearRamp, LinearRamp]:
    """A switch from plain batch normalisation to constant bounds.

    For runs without a length to scale to, such as streams and reinforcement learning:
    CrossQ (arXiv 1902.05605) in Stable-Baselines3 switches to rmax = 3 and dmax = 5
    after 100,000 training calls, torchrl's `BatchRenorm1d` after 10,000. `steps`
    must let the averages forget their initial values: with momentum 0.99, 500 calls
    leave 1 % of them, and with `BatchRenorm(momentum_warmup=True)` 50 nothing.

    Args:
        steps: int >= 1, the number of training calls with rmax = 1 and dmax = 0.
        rmax: float >= 1. Default 3 (the paper's last value).
        dmax: float >= 0. Default 5 (the paper's last value).

    Returns:
        A pair `(rmax, dmax)` of `LinearRamp`, as `BatchRenorm` takes them.

    Raises:
        ValueError: for an argument outside its range.

    Example:

    >>> rmax, dmax = tfbn.schedules.after(10_000)
    >>> [float(rmax(step)) for step in (9_999, 10_000)]
    [1.0, 3.0]
    """
    steps = validation.integer("steps", steps, minimum=1)
    rmax = validation.number("rmax", rmax, minimum=1.0)
    dmax = validation.number("dmax", dmax, minimum=0.0)
    return (
        LinearRamp(1.0, rmax, steps - 1, steps),
        LinearRamp(0.0, dmax, steps - 1, steps),
    )


def fine_tuning() -> tuple[float, float]:
    """Constant bounds for training on from trained averages: rmax = 1.5, dmax = 0.5.

    They hold from the first training call, which is right only where the averages are
    those of the data: after loading the weights of a trained model, not from scratch.
    The paper (arXiv 1702.03275) does not fine-tune. These values are from public code
    with constant bounds, and were stable where 3 and 5 were not; in batches of 2 they
    clip much of what is to be corrected, and 3 and 5 were better (docs/renorm.md has
    both).

    Returns:
        The pair `(rmax, dmax)`.

    Example:

    >>> rmax, dmax = tfbn.schedules.fine_tuning()
    >>> layer = tfbn.BatchRenorm(rmax=rmax, dmax=dmax)
    """
    return 1.5, 0.5


def get(name: str, value: float | dict | Schedule, minimum: float) -> float | Schedule:
    """Returns the float or the schedule that a layer's argument stands for.

    Args:
        name: str, the argument's name, for the error message.
        value: a number, a schedule, or the config of a serialized schedule.
        minimum: float, the smallest allowed number.

    Returns:
        A float, possibly infinite, or a `LearningRateSchedule`.

    Raises:
        ValueError: if `value` is none of these, NaN, or below `minimum`.
    """
    if isinstance(value, dict):
        value = _deserialized(name, value)
    if isinstance(value, LinearRamp):
        for field in ("initial_value", "final_value"):
            validation.number(f"{name}.{field}", getattr(value, field), minimum=minimum)
    if isinstance(value, Schedule):
        return value
    return validation.number(
        name,
        value,
        minimum=minimum,
        finite=False,
        alternative="a LearningRateSchedule such as tfbn.schedules.LinearRamp",
    )


def _deserialized(name, config):
    refusal = ValueError(
        f"{name} must be a number, a LearningRateSchedule or the config of one. "
        f"Received: {name}={validation.shown(config)}."
    )
    try:
        # Only Keras's schedules and registered classes: a config from a file must not
        # create any other object, not even to reject it.
        schedule = keras.optimizers.schedules.deserialize(config)
    except Exception as error:  # a config can be wrong in any way
        raise refusal from error
    if not isinstance(schedule, Schedule):
        raise refusal
    return schedule


def serialize(value: float | Schedule) -> float | dict:
    """The inverse of `get`: floats stay as they are, schedules become configs."""
    if isinstance(value, float):
        return value
    return keras.saving.serialize_keras_object(value)


def evaluate(value: float | Schedule, step: int | tf.Tensor) -> tf.Tensor:
    """The value of a float or a schedule at `step`, a float32 scalar."""
    return ops.cast(value(step) if isinstance(value, Schedule) else value, "float32")
