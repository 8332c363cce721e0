"""The bounds of a model's BatchRenorm layers in the course of a run."""

import keras
from absl import logging

from tfbn import schedules
from tfbn.diagnostics.layer_calls import all_layers
from tfbn.layers import BatchRenorm

_NEVER = 10**9  # training calls; a schedule that is plain there stays so


def at_present(model: keras.Model) -> dict[str, float]:
    """Returns the rmax and dmax of the model's first BatchRenorm, if it has one."""
    for layer in all_layers(model):
        if isinstance(layer, BatchRenorm):
            rmax, dmax = layer.bounds()
            return {"rmax": float(rmax), "dmax": float(dmax)}
    return {}


def warn_if_plain(model: keras.Model, train_steps: int) -> None:
    """Logs a warning if layers stay plain batch normalisation for all of a run.

    Args:
        model: a built model.
        train_steps: int, the steps of the run.
    """
    layers = [i for i in all_layers(model) if isinstance(i, BatchRenorm)]
    plain = [layer for layer in layers if _stays_plain(layer, train_steps)]
    if plain:
        logging.warning(
            "BatchRenorm: rmax stays 1 and dmax 0 in all of the %d training steps, so "
            "that the layer is a BatchNorm (%d of %d layers, such as %s). Scale the "
            "schedules to the run: tfbn.schedules.ioffe_2017(total_steps=%d), or "
            "--renorm_schedule=scaled.",
            train_steps,
            len(plain),
            len(layers),
            plain[0].name,
            train_steps,
        )


def _stays_plain(layer, train_steps):
    if not any(isinstance(b, schedules.Schedule) for b in (layer.rmax, layer.dmax)):
        return False  # chosen so
    last = int(layer.step.numpy()) + train_steps - 1
    at_the_end, ever = (
        tuple(map(float, layer.bounds(step))) for step in (last, _NEVER)
    )
    return _is_plain(at_the_end) and not _is_plain(ever)


def _is_plain(bounds):
    rmax, dmax = bounds
    return rmax <= 1.0 and dmax <= 0.0
