"""What a run measures, at which steps, and at what cost."""

import time
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfbn import diagnostics
from tfbn import validation
from tfbn.diagnostics.diagnostic import Batch
from tfbn.diagnostics.diagnostic import Meter
from tfbn.diagnostics.diagnostic import TrainingStep
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.recording.cadence import Cadence

_NOTHING: Mapping = {}


class StepBegin(NamedTuple):
    """A step that is about to be made: its number, and what it starts from."""

    step: int
    state: State
    learning_rate: float

    @classmethod
    def of(
        cls, step: int, model: keras.Model, optimizer: keras.Optimizer
    ) -> "StepBegin":
        """Notes the present state of the model."""
        return cls(
            step, snapshot(model), float(tf.convert_to_tensor(optimizer.learning_rate))
        )

    def completed(
        self, model: keras.Model, batch: Batch, next_batch: Batch | None, probe: Batch
    ) -> TrainingStep:
        """The `TrainingStep`, once it was made."""
        return TrainingStep(
            step=self.step,
            before=self.state,
            after=snapshot(model),
            batch=batch,
            next_batch=next_batch,
            probe=probe,
            learning_rate=self.learning_rate,
        )


class Watch(NamedTuple):
    """A meter and the steps at which it measures.

    Attributes:
        name: str, of the diagnostic.
        meter: `tfbn.diagnostics.Meter`.
        cadence: `Cadence`.
        seconds: list of float, how long each measurement took so far.
    """

    name: str
    meter: Meter
    cadence: Cadence
    seconds: list[float]

    def measure(
        self,
        step: TrainingStep,
        write: Callable[[str, int, dict[str, Any]], None],
    ) -> None:
        """Measures, and calls `write(kind, step, values)` for each record."""
        begin = time.perf_counter()
        for kind, values in self.meter.measure(step).items():
            write(kind, step.step, values)
        self.seconds.append(time.perf_counter() - begin)


def watches(
    every: Mapping[str, int],
    model: keras.Model,
    loss: Loss | None,
    *,
    options: Mapping[str, Mapping[str, Any]] = _NOTHING,
    spacing: str = "linear",
    training: bool = True,
    jit_compile: bool = False,
    second_model: Callable[[], keras.Model] | None = None,
) -> list[Watch]:
    """Makes a `Watch` for each diagnostic that a run measures.

    Args:
        every: name of a diagnostic -> steps between its measurements; 0: never.
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        options: name of a diagnostic -> values of its options, where these are not the
            defaults.
        spacing: "linear" or "log", as in `Cadence`.
        training: bool, the mode that the model runs in, where there is a choice.
        jit_compile: bool, whether XLA compiles the measurements.
        second_model: function that returns a model of the same architecture,
            initialised independently, for "replication".

    Returns:
        A list of `Watch`, in the order of `tfbn.diagnostics.registry`.

    Raises:
        ValueError: for an unknown name, a wrong cadence or option, or a model that
            cannot be measured.
    """
    names = tuple(diagnostics.registry)
    for name in [*every, *options]:
        validation.choice("diagnostics", name, names)
    cadences = {name: Cadence(steps, spacing) for name, steps in every.items()}
    return [
        Watch(
            name,
            diagnostic.meter(
                model,
                loss,
                training=training,
                jit_compile=jit_compile,
                second_model=second_model,
                **options.get(name, _NOTHING),
            ),
            cadences[name],
            [],
        )
        for name, diagnostic in diagnostics.registry.items()
        if name in cadences and cadences[name].every
    ]


def announced(watch: Watch, num_bytes: int) -> str:
    """Returns a line that says when a diagnostic is measured and at what cost.

    Args:
        watch: the `Watch`.
        num_bytes: int, size of all parameters of the model.
    """
    every, cost = watch.cadence.every, watch.meter.cost
    spacing = "" if watch.cadence.spacing == "linear" else " and later less often"
    mebibytes = cost.copies * num_bytes / 2**20
    return (
        f"Measuring {watch.name} every {every} steps{spacing}; each about "
        f"{cost.passes:.1f} forward and backward passes, {mebibytes:.0f} MiB."
    )


def summed_up(watch: Watch) -> str | None:
    """Returns a line that says how often and how long it measured; None for never."""
    # Without the first measurement, which traces.
    later = watch.seconds[1:] or watch.seconds
    if not later:
        return None
    return (
        f"Measured {watch.name} {len(watch.seconds)} times, "
        f"{np.median(later):.2f} s each (the first {watch.seconds[0]:.1f} s)."
    )
