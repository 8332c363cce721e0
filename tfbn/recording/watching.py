"""The measurements of a run: which, when, and what they cost."""

import functools
import time
from typing import NamedTuple

import numpy as np

from tfbn.diagnostics import instruments
from tfbn.experiment import builders
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


def watches(config, model, loss, dataset, *, jit_compile):
    """A `Watch` for each measurement that a `TrainConfig` asks for.

    Args:
        config: `TrainConfig`.
        model: the run's built model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        dataset: `tfbn.data.Dataset`, for the second network of the replication.
        jit_compile: bool, whether XLA compiles the measurements.
    """
    made_by = makers(config, model, loss) | {
        "replication": functools.partial(_replication, config, model, loss, dataset)
    }
    every = {name: getattr(config, f"{name}_every") for name in made_by}
    return [
        Watch(
            make(jit_compile=jit_compile),
            Cadence(every[name], config.diagnostics_spacing),
            [],
        )
        for name, make in made_by.items()
        if every[name]
    ]


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


def _replication(config, model, loss, dataset, **options):
    # Another one of the same kind: its weights are drawn after those of the run.
    second = builders.build_model(config, dataset)
    layers = [f"conv{i}" for i in config.replication_convolutions]
    return instruments.replication(
        model, loss, second.trainable_variables, layers=layers, **options
    )
