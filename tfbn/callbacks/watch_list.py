"""What a `Diagnostics` callback measures: meters, made for the model that is fitted."""

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfbn import _compat
from tfbn.callbacks import checks
from tfbn.diagnostics import Need
from tfbn.diagnostics import batches
from tfbn.diagnostics import compiled_loss
from tfbn.diagnostics import registry
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import snapshot
from tfbn.recording.cadence import Cadence
from tfbn.recording.watching import Watch
from tfbn.recording.watching import watches


class WatchList:
    """The watches of a callback, made anew for a model that was compiled anew.

    Args:
        diagnostics: list of names, or a function from the model to a list of `Meter`.
        probe: `(x, y)`, the batch to measure on, or a dataset and None.
        cadence: when to measure.
        options: name of a diagnostic -> values of its options.
        loss: function, or None for the loss that the model was compiled with.
        jit_compile: bool, whether XLA compiles the measurements.
    """

    def __init__(
        self,
        diagnostics: list[str] | Callable,
        probe: tuple[Any, Any],
        cadence: Cadence,
        *,
        options: Mapping[str, Mapping[str, Any]],
        loss: Loss | None,
        jit_compile: bool,
    ):
        self._diagnostics = diagnostics
        self._probe = probe
        self._cadence = cadence
        self._options = options
        self._loss = loss
        self._jit_compile = jit_compile
        self._made_for: tuple | None = None
        self.watches: list[Watch] = []

    def prepare(self, model: keras.Model) -> bool:
        """Makes the watches, if not made for this model; returns whether it did so.

        Raises:
            ValueError: if the model cannot be measured, or the probe batch does not
                fit.
        """
        if not model.built:
            _build(model, self._one_batch()[0])
        # What meters are tied to: the variables that are trained, and the loss.
        made_for = (_compat.compile_loss(model), *map(id, model.trainable_variables))
        if made_for == self._made_for:
            return False
        if callable(self._diagnostics):
            meters = checks.checked_meters(self._diagnostics(model))
            self.watches = [
                Watch(type(meter).__name__, meter, self._cadence, [])
                for meter in meters
            ]
        else:
            self.watches = self._of_names(self._diagnostics, model)
        self._made_for = made_for
        return True

    def _of_names(self, names, model):
        training = _compat.call_has_training_arg(model)
        loss = self._loss
        if any(Need.LOSS in registry[name].needs for name in names):
            loss = compiled_loss.compiled_loss(model) if loss is None else loss
            # Eagerly, so that a batch that does not fit is reported before any step.
            check = LossFunction(model, loss, training=training)
            check(*snapshot(model), *self._one_batch())
        return watches(
            dict.fromkeys(names, self._cadence.every),
            model,
            loss,
            options=self._options,
            spacing=self._cadence.spacing,
            training=training,
            jit_compile=self._jit_compile,
        )

    def _one_batch(self):
        dataset = self._probe[0]
        return next(iter(dataset)) if batches.is_dataset(dataset) else self._probe


def _build(model, x):
    """Creates the variables of a model, as the first batch of `fit` would."""

    def free(tensor):
        return keras.KerasTensor((None, *tensor.shape[1:]), tensor.dtype.name)

    # Symbolically, so that no layer advances its seeds.
    model(tf.nest.map_structure(free, x), training=False)
