"""The diagnostics in `model.fit`, for debugging a model of one's own."""

import os
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn import _compat
from tfbn import validation
from tfbn.diagnostics import compiled_loss
from tfbn.diagnostics import instruments as instruments_lib
from tfbn.diagnostics import measurement
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import check_loss
from tfbn.diagnostics.loss_function import snapshot
from tfbn.recording.cadence import Cadence
from tfbn.recording.records import RecordWriter
from tfbn.recording.summaries import SummaryWriter
from tfbn.recording.watching import Watch

_MAKERS = {
    "ics": instruments_lib.covariate_shift,
    "landscape": instruments_lib.landscape,
    "activations": instruments_lib.activations,
    "curvature": instruments_lib.curvature,
    "theory": instruments_lib.theory,
}
_WITHOUT_LOSS = ("activations",)
_TRAINING_ONLY = ("theory",)  # of the batch's statistics

INSTRUMENTS = tuple(_MAKERS)


class _Pending(NamedTuple):
    """What is known of a step that is being made."""

    step: int
    before: State
    learning_rate: float


class Diagnostics(keras.callbacks.Callback):
    """Measures a model while `fit` trains it. Watching changes nothing.

    `fit` does not hand its batches to callbacks, so everything is measured on one probe
    batch `(x, y)`, the same at all steps and best one of the training data. The updates
    are those that the optimizer really makes, on its own batches: internal covariate
    shift is that of the probe batch's gradients, by the update of the step, where the
    paper (Santurkar et al. 2018, Definition 2.1) has gradient and update of the same
    batch. Sample and class weights given to `fit` do not count.

    A step is an update of the weights, numbered by `optimizer.iterations` before it, so
    that another `fit` of the model counts on. With `gradient_accumulation_steps`, or
    where a loss scale skips updates, what is measured lies between the first batch of a
    step and the update. Where the learning rate of a step is 0, as at the start of a
    warm-up, "landscape" has no range of steps to look at and is left out.

    Names measure in the mode that `fit` trains in: training mode, but inference mode
    for a subclassed model whose `call` takes no argument `training`, which Keras tells
    no mode (its batch norm trains with moving averages, its dropout is silent).
    "theory", which is of the batch's statistics, is in training mode anyway.

    Example:
        >>> keras.utils.set_random_seed(0)
        >>> x, y = keras.random.normal((64, 4)), keras.random.normal((64, 1))
        >>> model = keras.Sequential(
        ...     [keras.layers.Dense(8), tfbn.BatchNorm(), keras.layers.Dense(1)]
        ... )
        >>> model.compile("sgd", "mse")
        >>> watch = tfbn.callbacks.Diagnostics(["ics"], x[:32], y[:32], every=2)
        >>> history = model.fit(x, y, batch_size=16, verbose=0, callbacks=[watch])
        >>> [record["step"] for record in watch.history["ics"]]
        [0, 2]
        >>> sorted(watch.records[0]["layers"][0])
        ['cosine', 'distance', 'name', 'norm', 'norm_after']

        With `from tfbn import plots`, `plots.figures({"mine": watch.records})` draws
        all of it.

    Args:
        instruments: list of names among "ics", "landscape", "activations", "curvature"
            and "theory", each with its defaults; or a function from the model to a list
            of `tfbn.diagnostics.instruments.Instrument`, for other options. It is
            called when the first `fit` begins, and again where a later one finds the
            model compiled anew.
        x: the probe batch: what the model takes. A model that is not built yet when
            `fit` begins is built for its shapes, with a free batch size.
        y: the targets of the probe batch: what the loss takes.
        loss: function `loss(y_true, y_pred)` -> scalar, without the penalties of
            regularizers, which are added to it. Default: the loss, with its weights,
            that the model was compiled with. Only for names; a function of instruments
            sees to its loss itself.
        every: int >= 1, steps from one measurement to the next. Default 100.
        spacing: "linear", or "log" for steps further and further apart, as in
            `tfbn.recording.cadence.Cadence`.
        log_dir: str or None, a folder for `records.jsonl` and TensorBoard events; a
            `records.jsonl` in it is continued.
        jit_compile: bool, whether XLA compiles the measurements. Only for names.
            Default False, whatever the model was compiled with.

    Raises:
        ValueError: at once for an argument outside its range; when `fit` begins, if the
            probe batch does not fit, there is no loss, the model has nothing to train
            or belongs to a strategy of several replicas, or it was compiled with
            `steps_per_execution` > 1, between whose steps no callback can look.

    State: weights, optimizer, metrics and seeds of the model stay as they are. The
    callback is of one model, and may be used for several `fit`s of it.

    Cost: a copy of the model's variables during a measured step, and what
    `instrument.cost` says for each instrument.
    """

    def __init__(
        self,
        instruments,
        x,
        y,
        *,
        loss=None,
        every=100,
        spacing="linear",
        log_dir=None,
        jit_compile=False,
    ):
        super().__init__()
        self._instruments = _checked_instruments(instruments)
        self._probe = measurement.as_batch(x, y)
        if loss is not None:
            check_loss(loss)
        self._loss = loss
        every = validation.integer("every", every, minimum=1)
        self._cadence = Cadence(every, spacing)
        self._log_dir = _checked_folder(log_dir)
        self._jit_compile = validation.boolean("jit_compile", jit_compile)
        self._watches = []
        self._made_for = None
        self._pending = None
        self._writers = None
        self._records = {}

    @property
    def records(self):
        """All records, a list of dicts, in the order in which they were measured.

        Each holds `step`, `kind` and values, as `tfbn.diagnostics.records` has them. Of
        a step that was measured again, after the model was compiled anew, only the
        later one is here.
        """
        return list(self._records.values())

    @property
    def history(self):
        """Dict from kind to the list of its records."""
        history = {}
        for record in self._records.values():
            history.setdefault(record["kind"], []).append(record)
        return history

    def set_model(self, model):
        """Keras calls it; see `keras.callbacks.Callback`."""
        if self.model not in (None, model):
            raise ValueError(
                f"a Diagnostics callback is of one model. Received: {model.name} after "
                f"{self.model.name}. Make another callback for it."
            )
        super().set_model(model)

    def on_train_begin(self, logs=None):
        """Makes the instruments and sees that the probe batch fits."""
        del logs
        model = self.model
        _check_model(model)
        if not model.built:
            _build(model, self._probe[0])
        # What instruments hold fast: which variables are trained, and the loss.
        made_for = (
            _compat.compile_loss(model),
            *map(id, model.trainable_variables),
        )
        if made_for != self._made_for:
            made = self._made_instruments()
            self._watches = [Watch(i, self._cadence, []) for i in made]
            self._made_for = made_for
        self._pending = None
        self._close()
        if self._log_dir is not None:
            self._writers = RecordWriter(self._log_dir), SummaryWriter(self._log_dir)

    def on_train_batch_begin(self, batch, logs=None):
        """Keeps the state before a step that is measured."""
        del batch, logs
        step = _step(self.model)
        is_new = self._pending is None or self._pending.step != step
        if is_new and self._cadence.due(step):
            rate = self.model.optimizer.learning_rate
            rate = float(keras.ops.convert_to_numpy(rate))
            self._pending = _Pending(step, snapshot(self.model), rate)

    def on_train_batch_end(self, batch, logs=None):
        """Measures, where the step before was made."""
        del batch, logs
        pending = self._pending
        if pending is None or _step(self.model) == pending.step:
            return
        self._pending = None
        moment = instruments_lib.Moment(
            step=pending.step,
            before=pending.before,
            after=snapshot(self.model),
            batch=self._probe,
            next_batch=self._probe,
            probe=self._probe,
            learning_rate=pending.learning_rate,
        )
        for watch in self._watches:
            if watch.instrument.name != "landscape" or pending.learning_rate > 0.0:
                watch.measure(moment, self._write)

    def on_train_end(self, logs=None):
        """Closes the files."""
        del logs
        self._pending = None
        self._close()

    def _made_instruments(self):
        model = self.model
        if callable(self._instruments):
            return _checked_made(self._instruments(model))
        training = _compat.call_has_training_arg(model)
        loss = None
        if set(self._instruments) - set(_WITHOUT_LOSS):
            loss = (
                compiled_loss.compiled_loss(model) if self._loss is None else self._loss
            )
            # Eagerly, so that a batch that does not fit is told of before any step.
            check = LossFunction(model, loss, training=training)
            check(*snapshot(model), *self._probe)
        made = []
        for name in self._instruments:
            arguments = [model] if name in _WITHOUT_LOSS else [model, loss]
            options = {} if name in _TRAINING_ONLY else {"training": training}
            options["jit_compile"] = self._jit_compile
            made.append(_MAKERS[name](*arguments, **options))
        return made

    def _write(self, kind, step, values):
        self._records.pop((kind, step), None)
        self._records[kind, step] = {"step": step, "kind": kind, **values}
        if self._writers is not None:
            records, summaries = self._writers
            records.write(kind, step, **values)
            summaries.measurement(kind, step, values)

    def _close(self):
        for writer in self._writers or ():
            writer.close()
        self._writers = None


def _checked_folder(log_dir):
    if log_dir is not None and not isinstance(log_dir, (str, os.PathLike)):
        raise ValueError(
            "log_dir must be a path or None. Received: "
            f"log_dir={validation.shown(log_dir)}."
        )
    return None if log_dir is None else os.fspath(log_dir)


def _checked_instruments(instruments):
    """The function, or a list of names without repetitions."""
    if callable(instruments):
        return instruments
    is_list = isinstance(instruments, (list, tuple))
    if not is_list or not instruments:
        raise ValueError(
            "instruments must be a list of names, one or more, or a function from a "
            "model to a list of Instrument. Received: instruments="
            f"{validation.shown(instruments)}. "
            'Such as instruments=["ics", "landscape"].'
        )
    return [
        validation.choice("instruments", name, INSTRUMENTS)
        for name in dict.fromkeys(instruments)
    ]


def _checked_made(made):
    """What a function of instruments returned, as a list."""
    kind = instruments_lib.Instrument
    is_list = isinstance(made, (list, tuple)) and not isinstance(made, kind)
    if not is_list or not all(isinstance(m, kind) for m in made):
        raise ValueError(
            "instruments(model) must return a list of Instrument. Received: "
            f"{made!r}. Make them with tfbn.diagnostics.instruments."
        )
    return list(made)


def _check_model(model):
    if model.steps_per_execution != 1:
        raise ValueError(
            "steps_per_execution must be 1, or single steps cannot be measured. "
            f"Received: steps_per_execution={model.steps_per_execution}. Compile the "
            "model without it while it is watched."
        )
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        raise ValueError(
            f"the model must be on one replica. Received: {model.name} on {replicas}. "
            "Watch it without a distribution strategy."
        )


def _build(model, x):
    """Makes the variables of a model, as the first batch of `fit` would."""

    def free(tensor):
        return keras.KerasTensor((None, *tensor.shape[1:]), tensor.dtype.name)

    # Symbolically: no layer draws from its seeds.
    model(tf.nest.map_structure(free, x), training=False)


def _step(model):
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))
