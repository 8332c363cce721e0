"""The measurements of a run: which, when, and what they cost."""

import functools
import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np

from tfbn import validation
from tfbn.diagnostics import instruments
from tfbn.recording.cadence import Cadence


class Watch(NamedTuple):
    """A measurement and its steps.

    Attributes:
        instrument: `Instrument`.
        cadence: `Cadence`.
        seconds: list of float, how long each one took so far.
    """

    instrument: instruments.Instrument
    cadence: Cadence
    seconds: list

    def measure(self, moment, write):
        """Measures, and calls `write(kind, step, values)` for each record."""
        begin = time.perf_counter()
        for kind, values in self.instrument.measure(moment).items():
            write(kind, moment.step, values)
        self.seconds.append(time.perf_counter() - begin)


def watches(
    every: Mapping[str, int],
    model: keras.Model,
    loss: Callable,
    *,
    options: Mapping[str, Mapping] = {},
    spacing: str = "linear",
    jit_compile: bool = False,
    second_model: Callable[[], keras.Model] | None = None,
) -> list[Watch]:
    """A `Watch` for each diagnostic that is to be measured.

    Args:
        every: steps between the measurements of each diagnostic, by name; 0: never.
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        options: options of the diagnostics, by name.
        spacing: as in `Cadence`.
        jit_compile: whether XLA compiles the measurements.
        second_model: makes the second network of the replication.
    """
    made = []
    for name, steps in every.items():
        maker = _MAKERS[validation.choice("diagnostics", name, tuple(_MAKERS))]
        make = getattr(instruments, maker)
        cadence = Cadence(steps, spacing)
        if not steps:
            continue
        chosen = {**options.get(name, {}), "jit_compile": jit_compile}
        if name == "activations":
            instrument = make(model, **chosen)
        elif name == "replication":
            second = second_model().trainable_variables
            instrument = make(model, loss, second, **chosen)
        else:
            instrument = make(model, loss, **chosen)
        made.append(Watch(instrument, cadence, []))
    return made


_MAKERS = {
    "ics": "covariate_shift",
    "landscape": "landscape",
    "activations": "activations",
    "curvature": "curvature",
    "theory": "theory",
    "replication": "replication",
}


def makers(config, model, loss):
    """What makes the measurements of one model, with the options of a `TrainConfig`.

    Args:
        config: `TrainConfig`.
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.

    Returns:
        A dict from name to a function that makes the `Instrument`. It takes, by
        keyword, further options of that instrument, which go before the config's.
    """
    return {
        "ics": functools.partial(
            instruments.covariate_shift, model, loss, update=config.ics_update
        ),
        "landscape": functools.partial(
            instruments.landscape,
            model,
            loss,
            low=config.landscape_low,
            high=config.landscape_high,
            num=config.landscape_points,
            directions=config.landscape_directions,
        ),
        "activations": functools.partial(
            instruments.activations, model, unit=config.activations_unit
        ),
        "curvature": functools.partial(
            instruments.curvature,
            model,
            loss,
            iterations=config.curvature_iterations,
            per_layer=config.curvature_per_layer,
        ),
        "theory": functools.partial(instruments.theory, model, loss),
    }


def announced(watch, num_bytes):
    """A line that says when a measurement is made and what one costs.

    Args:
        watch: `Watch`.
        num_bytes: int, of all parameters of the model.
    """
    every, cost = watch.cadence.every, watch.instrument.cost
    spacing = "" if watch.cadence.spacing == "linear" else " and later less often"
    mebibytes = cost.copies * num_bytes / 2**20
    return (
        f"Measuring {watch.instrument.name} every {every} steps{spacing}; each about "
        f"{cost.passes:.1f} forward and backward passes, {mebibytes:.0f} MiB."
    )


def summed_up(watch):
    """A line that says how often it was measured and how long that took, or None."""
    # The first one traces.
    later = watch.seconds[1:] or watch.seconds
    if not later:
        return None
    return (
        f"Measured {watch.instrument.name} {len(watch.seconds)} times, "
        f"{np.median(later):.2f} s each (the first {watch.seconds[0]:.1f} s)."
    )
