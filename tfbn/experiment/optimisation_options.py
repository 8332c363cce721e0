"""Options of the optimizer and of its learning rate, and what they name."""

import dataclasses
from collections.abc import Callable

import keras

from tfbn.experiment.section import Section
from tfbn.experiment.section import choice_of
from tfbn.options import Option
from tfbn.registry import Registry


@dataclasses.dataclass(frozen=True)
class Entry:
    """An optimizer or a schedule of the learning rate.

    Attributes:
        name: str.
        build: function `(learning_rate, **options)` -> optimizer; of a schedule,
            `(learning_rate, train_steps, **options)` -> float or Keras schedule.
        options: the options that it takes.
    """

    name: str
    build: Callable
    options: tuple[Option, ...] = ()


def _momentum(learning_rate, *, optimizer_momentum):
    return keras.optimizers.SGD(learning_rate, momentum=optimizer_momentum)


OPTIMIZERS = Registry(
    "optimizer",
    Entry("sgd", keras.optimizers.SGD),
    Entry(
        "momentum",
        _momentum,
        (
            Option(
                "optimizer_momentum",
                0.9,
                "Momentum of --optimizer=momentum.",
                minimum=0.0,
                below=1.0,
            ),
        ),
    ),
    Entry("adam", keras.optimizers.Adam),
    Entry("rmsprop", keras.optimizers.RMSprop),
)


def _step(learning_rate, train_steps, *, learning_rate_boundaries):
    boundaries = sorted(learning_rate_boundaries)
    rates = [learning_rate * 0.1**i for i in range(len(boundaries) + 1)]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, rates)


LEARNING_RATE_SCHEDULES = Registry(
    "learning_rate_schedule",
    Entry("constant", lambda learning_rate, train_steps: learning_rate),
    Entry("cosine", keras.optimizers.schedules.CosineDecay),
    Entry(
        "step",
        _step,
        (
            Option(
                "learning_rate_boundaries",
                (),
                "Steps at which --learning_rate_schedule=step divides by 10.",
                minimum=1,
            ),
        ),
    ),
)


def _check(config):
    if config.learning_rate_schedule == "step" and not config.learning_rate_boundaries:
        raise ValueError(
            "learning_rate_schedule=step needs learning_rate_boundaries. Received: "
            "learning_rate_schedule=step, learning_rate_boundaries=()."
        )


SECTION = Section(
    "Optimisation",
    (
        Option("train_steps", 15_000, "Optimizer steps.", minimum=1),
        Option("optimizer", "sgd", "Optimizer.", choices=OPTIMIZERS.names),
        *OPTIMIZERS.options,
        Option("learning_rate", 0.1, "Initial learning rate.", above=0.0),
        Option(
            "learning_rate_schedule",
            "constant",
            "Learning rate over the run: constant, to 0 along a cosine, or divided by "
            "10 at each of --learning_rate_boundaries.",
            choices=LEARNING_RATE_SCHEDULES.names,
        ),
        *LEARNING_RATE_SCHEDULES.options,
    ),
    _check,
    (choice_of(OPTIMIZERS), choice_of(LEARNING_RATE_SCHEDULES)),
)
