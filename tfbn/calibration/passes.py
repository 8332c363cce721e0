"""Runs data through a model and pools what its batch-norm layers receive."""

import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from tfbn import _compat
from tfbn.calibration import averages
from tfbn.calibration.batches import Batches
from tfbn.calibration.pooling import Pooled
from tfbn.diagnostics import layer_calls

Found = list[tuple[keras.layers.BatchNormalization, Pooled]]


def population_statistics(
    model: keras.Model,
    layers: Sequence[keras.layers.BatchNormalization],
    source: Batches,
    normalize_by: str,
) -> Found:
    """The statistics of the inputs of layers, over all batches.

    The averages of the layers move; the caller restores them.

    Args:
        model: a built model, which runs eagerly, in inference mode.
        layers: of the model.
        source: the batches of its inputs.
        normalize_by: "batch" or "population", see `recalibrate`.

    Raises:
        ValueError: see `recalibrate`.
    """
    if normalize_by == "batch":
        collector = _Collector(layers, normalize=True)
        _run(model, source, collector)
    else:
        collector = _one_after_the_other(model, layers, source)
    found = [(x, p) for x in layers if (p := collector.pooled.get(id(x))) is not None]
    if not found:
        raise ValueError(
            f"model must call its batch-norm layers. Received: {model.name}, which "
            f"calls none of {', '.join(layer.name for layer in layers[:5])}."
        )
    called = {id(layer) for layer, _ in found}
    left = [layer.name for layer in layers if id(layer) not in called]
    if left:
        logging.warning(
            "recalibrate: %s does not call %s in inference, or calls from a compiled "
            "function; their averages stay as they are.",
            model.name,
            ", ".join(left),
        )
    return found


def of_batch(
    model: keras.Model, layers: Sequence[keras.layers.BatchNormalization], x: Any
) -> list[Pooled | None]:
    """The statistics of the inputs of layers in one batch, in a function to be traced.

    As `population_statistics` with `normalize_by="batch"`: the averages of the layers
    move. Nothing checks that the statistics are finite. None for a layer that the model
    does not call.
    """
    collector = _Collector(layers, normalize=True)
    _call(model, x, collector)
    return [collector.pooled.get(id(layer)) for layer in layers]


def _one_after_the_other(model, layers, source):
    """Statistics of each layer in a pass of its own, in the order of the calls."""
    first = _Collector(layers, normalize=False)
    _run(model, source, first, num_batches=1)
    result = _Collector((), normalize=False)
    by_id = {id(layer): layer for layer in layers}
    for key, num_calls in first.calls.items():
        collector = _Collector([by_id[key]], normalize=False, num_calls=num_calls)
        _run(model, source, collector)
        averages.assign(by_id[key], collector.pooled[key])
        result.pooled |= collector.pooled
    return result


class _Enough(BaseException):
    """Ends the call of a model: what follows is not needed.

    No Exception, which Keras would replace by one with another message.
    """


class _Collector:
    """A handler for `layer_calls.intercepted` that pools the inputs of some layers.

    Args:
        layers: the layers.
        normalize: bool, whether the outputs of these layers are normalised by the
            statistics of the batch, or by the layers' averages.
        num_calls: int or None, the number of calls after which a pass has seen enough.

    Attributes:
        pooled: dict from the ids of layers to `Pooled`.
        calls: dict from the ids of layers to the number of their calls in a pass, in
            the order of the first ones.
        refusal: ValueError or None, why the inputs of a layer cannot be used.
    """

    def __init__(self, layers, *, normalize, num_calls=None):
        self.pooled: dict[int, Pooled] = {}
        self.calls: dict[int, int] = {}
        self.refusal: ValueError | None = None
        self._wanted = {id(layer) for layer in layers}
        self._normalize, self._num_calls = normalize, num_calls
        self._graph = tf.compat.v1.get_default_graph()

    def __call__(self, layer, call, *args, **kwargs):
        if id(layer) not in self._wanted:
            return call(*args, **kwargs)
        inputs = args[0] if args else kwargs["inputs"]
        if "training" in kwargs:
            kwargs["training"] = False
        try:
            self._check_readable(layer)
            statistics = averages.of_batch(layer, inputs, kwargs.get("mask"))
            _check_finite(layer, statistics)
        except ValueError as error:
            self.refusal = error
            raise _Enough from error
        self.calls[id(layer)] = self.calls.get(id(layer), 0) + 1
        before = self.pooled.get(id(layer))
        self.pooled[id(layer)] = before.joined(statistics) if before else statistics
        if self.calls[id(layer)] == self._num_calls:
            raise _Enough
        if self._normalize:
            averages.assign(layer, statistics)
        return call(*args, **kwargs)

    def _check_readable(self, layer):
        if tf.compat.v1.get_default_graph() is not self._graph:
            raise ValueError(
                "model must call its batch-norm layers outside of compiled loops and "
                f"functions. Received: {layer.name}, called inside one, from where its "
                "statistics cannot be read. Freeze it to leave it out."
            )


def _check_finite(layer, statistics):
    if tf.is_symbolic_tensor(statistics.mean):
        return
    if not all(np.all(np.isfinite(value)) for value in statistics):
        raise ValueError(
            "dataset must give finite activations. Received: a batch in which the "
            f"inputs of {layer.name} are not."
        )


def _run(model, source, collector, num_batches=None):
    for x in source.inputs(num_batches):
        _call(model, x, collector)


def _call(model, x, collector):
    arguments: dict[str, Any] = {}
    if _compat.call_has_training_arg(model):
        arguments["training"] = False
    collector.calls.clear()
    with layer_calls.intercepted(model, collector):
        try:
            model(x, **arguments)
        except _Enough:
            if collector.refusal is not None:
                raise collector.refusal from None
        except Exception as error:  # a model can fail in any way
            raise ValueError(
                "dataset must yield batches of the inputs of the model, or tuples "
                f"that begin with them. Received: {_described(x)}, with which "
                f"{model.name} fails: {_reason(error)}."
            ) from error


def _reason(error):
    """The line of an error's message that says why, without what Keras puts before."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].startswith("Exception encountered when calling"):
        lines = lines[1:]
    line = " ".join(lines[:1]) or type(error).__name__
    return _STYLE.sub("", line)[:200].rstrip(".")


_STYLE = re.compile(r"\x1b\[\d*m")  # of a terminal


def _described(x):
    def of(value):
        shape = getattr(value, "shape", None)
        if shape is None:
            return type(value).__name__
        return f"{value.dtype.name} of shape {tuple(shape)}"

    return str(keras.tree.map_structure(of, x)).replace("'", "")
