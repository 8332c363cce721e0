"""The measurements in one form: of a moment of a run, records."""

from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics._landscape import LandscapeMeter
from tfbn.diagnostics._landscape import relative_step_sizes
from tfbn.diagnostics.activations import ActivationMeter
from tfbn.diagnostics.covariate_shift import CovariateShiftMeter
from tfbn.diagnostics.covariate_shift import total_shift
from tfbn.diagnostics.curvature import CurvatureMeter
from tfbn.diagnostics.first_activations import FirstActivations
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.measurement import Cost
from tfbn.diagnostics.replication import ReplicationMeter
from tfbn.diagnostics.surface import SurfaceMeter
from tfbn.diagnostics.surface import filter_normalized_directions
from tfbn.diagnostics.theory import GradientIdentityMeter

UPDATES = ("optimizer", "sgd")
DIRECTIONS = ("gradient", "random", "both")


class Moment(NamedTuple):
    """One training step, as far as measurements need it.

    Attributes:
        step: int, optimizer steps made before it.
        before: `State` before the step.
        after: `State` after it.
        batch: `(x, y)` of the step.
        next_batch: `(x, y)` of the step after it.
        probe: `(x, y)`, the same batch at all moments.
        learning_rate: float, of the step.
    """

    step: int
    before: State
    after: State
    batch: tuple
    next_batch: tuple
    probe: tuple
    learning_rate: float


class Instrument(NamedTuple):
    """A measurement that can be made at any moment of a run.

    Attributes:
        name: str.
        cost: `measurement.Cost` of one measurement.
        measure: function `Moment` -> dict from kind of record to its values.
        memory: what it remembers from one moment to the next, for
            `tf.train.Checkpoint`, or None.
        needs: what it needs beside the batch of the step: "next_batch" or nothing.
    """

    name: str
    cost: Cost
    measure: Callable[[Moment], dict[str, dict[str, Any]]]
    memory: tf.train.experimental.PythonState | None = None
    needs: tuple[str, ...] = ()


def covariate_shift(model, loss, *, update="optimizer", **options):
    """`Instrument` of internal covariate shift, records "ics".

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        update: "optimizer", from `before` to `after`, or "sgd", a step of plain
            gradient descent on the batch, whatever the optimizer is.
        **options: of `CovariateShiftMeter`.
    """
    validation.choice("update", update, UPDATES)
    meter = CovariateShiftMeter(model, loss, **options)

    def measure(moment):
        if update == "sgd":
            shifts = meter.simulated(
                moment.before, *moment.batch, learning_rate=moment.learning_rate
            )
        else:
            shifts = meter(moment.before, moment.after.parameters, *moment.batch)
        total = total_shift(shifts)._asdict()
        total.pop("name")
        return {"ics": {"layers": [s._asdict() for s in shifts], "total": total}}

    return Instrument("ics", meter.cost, measure)


def landscape(
    model, loss, *, low=0.5, high=4.0, num=8, directions="gradient", **options
):
    """`Instrument` of the landscape, records "landscape" and "landscape_random".

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        low, high, num: of `relative_step_sizes`: the range in learning rates.
        directions: "gradient", "random" or "both". A random direction is another one
            at each step.
        **options: of `LandscapeMeter`.
    """
    validation.choice("directions", directions, DIRECTIONS)
    relative_step_sizes(1.0, low, high, num)  # raises what is wrong with them
    kinds = {"gradient": "landscape", "random": "landscape_random"}
    chosen = list(kinds) if directions == "both" else [directions]
    meters = {d: LandscapeMeter(model, loss, direction=d, **options) for d in chosen}
    copies = max(meter.cost.copies for meter in meters.values())
    passes = sum((num + 1) * meter.cost.passes for meter in meters.values())

    def measure(moment):
        rate = moment.learning_rate
        probes = {
            "step_sizes": relative_step_sizes(rate, low, high, num),
            "seed": moment.step,
        }
        return {
            kinds[direction]: {
                "learning_rate": rate,
                **meter(moment.before, *moment.batch, **probes).record(),
            }
            for direction, meter in meters.items()
        }

    return Instrument("landscape", Cost(passes, copies), measure)


def activations(model, *, drift=True, **options):
    """`Instrument` of the activations on the probe batch, records "activations".

    Args:
        model: a built Keras model.
        drift: bool, whether to tell drifts, from the first moment that it measures:
            what it remembers.
        **options: of `ActivationMeter`.
    """
    meter = ActivationMeter(model, **options)
    first = FirstActivations()

    def measure(moment):
        inputs, _ = moment.probe
        before, after = meter(moment.before, inputs), meter(moment.after, inputs)
        if drift and first.activations is None:
            first.activations = before
        record = before.record(after=after, initial=first.activations)
        return {"activations": record}

    cost = Cost(2.0 * meter.cost.passes, 0)
    return Instrument("activations", cost, measure, first)


def curvature(model, loss, **options):
    """`Instrument` of the Hessian's spectrum, records "curvature".

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        **options: of `CurvatureMeter`.
    """
    meter = CurvatureMeter(model, loss, **options)

    def measure(moment):
        return {"curvature": meter(moment.before, *moment.batch).record()}

    return Instrument("curvature", meter.cost, measure)


def theory(model, loss, **options):
    """`Instrument` of theorem 4.1 on the model's layers, records "theory".

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        **options: of `GradientIdentityMeter`.
    """
    meter = GradientIdentityMeter(model, loss, **options)

    def measure(moment):
        results = meter(moment.before, *moment.batch)
        return {"theory": {"layers": [result.record() for result in results]}}

    return Instrument("theory", meter.cost, measure)


def replication(model, loss, other_parameters, **options):
    """`Instrument` of a public replication's estimators, records "replication".

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        other_parameters: as in `ReplicationMeter`.
        **options: of `ReplicationMeter`.
    """
    meter = ReplicationMeter(model, loss, other_parameters, **options)

    def measure(moment):
        shifts = meter(moment.before, moment.after, moment.batch, moment.next_batch)
        return {"replication": {"layers": [s._asdict() for s in shifts]}}

    return Instrument("replication", meter.cost, measure, needs=("next_batch",))


def surface(model, loss, *, radii, dimensions=1, seed=0, **options):
    """`Instrument` of the loss around the parameters, "surface" or "surface_2d".

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        radii: floats, the places along each direction.
        dimensions: 1 or 2.
        seed: int >= 0, of the filter-normalised directions.
        **options: of `SurfaceMeter`.
    """
    meter = SurfaceMeter(model, loss, **options)
    kind = "surface" if dimensions == 1 else "surface_2d"
    points = len(radii) ** dimensions
    cost = Cost(points * meter.cost.passes, meter.cost.copies)

    def measure(moment):
        directions = filter_normalized_directions(
            moment.before.parameters, dimensions=dimensions, seed=seed
        )
        result = meter(moment.before, *moment.batch, radii=radii, directions=directions)
        return {kind: result.record()}

    return Instrument(kind, cost, measure)
