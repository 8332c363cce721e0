"""The callback that measures a model while `fit` trains it."""

import functools
import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras

from tfbn import _compat
from tfbn import validation
from tfbn.callbacks import checks
from tfbn.callbacks.due_steps import DueSteps
from tfbn.callbacks.due_steps import number_of_step
from tfbn.callbacks.measurements import Measurements
from tfbn.callbacks.single_steps import SingleSteps
from tfbn.callbacks.watch_list import WatchList
from tfbn.diagnostics import Diagnostic
from tfbn.diagnostics import Meter
from tfbn.diagnostics import arguments
from tfbn.diagnostics import batches
from tfbn.diagnostics import measurement
from tfbn.diagnostics import registry
from tfbn.diagnostics.loss_function import Loss
from tfbn.recording import announcements
from tfbn.recording.cadence import Cadence

_NOTHING: Mapping = {}


class Diagnostics(keras.callbacks.Callback):
    """Measures a model while `fit` trains it. Measuring changes nothing.

    `fit` does not pass its batches to callbacks, so everything is measured on one probe
    batch `(x, y)`, the same at all steps, ideally one of the training data. The updates
    are those that the optimizer makes, on its own batches: internal covariate shift
    compares gradients of the probe batch before and after the update of the step,
    whereas in the paper (Santurkar et al. 2018, Definition 2.1) gradients and update
    share a batch. A `tf.data.Dataset` of batches may take its place, for less noise at
    the cost of as many passes: see `tfbn.diagnostics.LossFunction`. Sample and class
    weights given to `fit` are ignored.

    On several replicas of a `tf.distribute` strategy, too, everything is measured on
    one device, with the statistics of the whole probe batch: that is what is trained
    where layers have `synchronized=True`. `docs/distributed.md` says what it is
    otherwise. With `steps_per_execution` > 1, the steps of an execution in which one is
    due are made in single calls of the same compiled function.

    A step is an update of the weights, numbered by `optimizer.iterations` before it, so
    that another `fit` of the model continues the numbers. With
    `gradient_accumulation_steps`, or where a loss scale skips updates, a measurement
    spans the first batch of a step to the update. At steps with a learning rate of 0,
    as at the start of a warm-up, there is no record of "landscape", which would have no
    step sizes. A diagnostic that finds nothing to measure, such as "theory" in a model
    without batch normalisation, makes no record; `left_out` says why.

    Unless `fit` has `verbose=0`, lines on stdout say what the first measurement of each
    diagnostic costs and how long it took, how far a long one is, what was left out, and
    when `fit` ends how often and how long was measured.

    Diagnostics given by name run in the mode that `fit` trains in: training mode, but
    inference mode for a subclassed model whose `call` takes no `training` argument, to
    which Keras passes no mode (its batch norm trains with moving averages, its dropout
    is inactive). A diagnostic that needs training mode uses it in any case.

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
        diagnostics: list of names among `tfbn.callbacks.NAMES`; or a function from the
            model to a list of `tfbn.diagnostics.Meter`, for meters of your own. It is
            called when the first `fit` begins, and again when a later `fit` begins
            after the model was compiled anew.
        x: the probe batch, as the model takes it; or a `tf.data.Dataset` of batches
            `(x, y)`, finite and the same each time it is read, which all names but
            "theory" take. A model that is not built when `fit` begins is built for its
            shapes, with any batch size.
        y: the targets of the probe batch, as the loss takes them; None for a dataset.
        options: name of a diagnostic -> values of its options, such as
            `{"curvature": {"iterations": 50}}`. Only with names.
        loss: function `loss(y_true, y_pred)` -> scalar, to which the penalties of
            regularizers are added. Default: the loss, with its weights, that the model
            was compiled with. Only with names.
        every: int >= 1, steps from one measurement to the next. Default 100.
        spacing: "linear", or "log" for steps further and further apart, as in
            `tfbn.recording.cadence.Cadence`.
        log_dir: str or None, a folder for `records.jsonl` and TensorBoard events; an
            existing `records.jsonl` is continued.
        jit_compile: bool, whether XLA compiles the measurements, however the model was
            compiled. Default False. Only with names, and without a dataset.

    Raises:
        ValueError: at once for an argument outside its range; when `fit` begins, if the
            probe batch does not fit, there is no loss, or the model has nothing to
            train.

    State: weights, optimizer, metrics and seeds of the model stay as they are. A
    callback belongs to one model, and may be used for several calls of its `fit`.

    Cost: a copy of the model's variables during a measured step, and `meter.cost` for
    each diagnostic; with `steps_per_execution` > 1, some milliseconds for each step of
    an execution in which one is due.
    """

    def __init__(
        self,
        diagnostics: Sequence[str] | Callable[[keras.Model], Sequence[Meter]],
        x: Any,
        y: Any = None,
        *,
        options: Mapping[str, Mapping[str, Any]] = _NOTHING,
        loss: Loss | None = None,
        every: int = 100,
        spacing: str = "linear",
        log_dir: str | os.PathLike | None = None,
        jit_compile: bool = False,
    ):
        super().__init__()
        diagnostics = checks.checked_diagnostics(diagnostics)
        self._probe = measurement.as_batch(x, y, many=True)
        if loss is not None:
            arguments.check_loss(loss)
        every = validation.integer("every", every, minimum=1)
        cadence = Cadence(every, spacing)
        self._list = WatchList(
            diagnostics,
            self._probe,
            cadence,
            options=checks.checked_options(options),
            loss=loss,
            jit_compile=validation.boolean("jit_compile", jit_compile),
        )
        self._due = DueSteps(cadence, self._measure)
        log_dir = checks.checked_folder(log_dir)
        per = ""
        if batches.is_dataset(x):
            per = " over each batch"
            names = [] if callable(diagnostics) else diagnostics
            Diagnostic.check_many_batches(
                [registry[name] for name in names], registry.values(), jit_compile
            )
        self._announcer = announcements.Announcer(self._say, per)
        self._measured = Measurements(log_dir, self._announcer)
        self._first_step: int = 0
        self._num_before = 0  # measurements, when the fit began
        self._bar_is_open = False

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records, in the order in which they were measured.

        Each holds `step`, `kind` and values, as `tfbn.recording.records` describes
        them. If a step was measured again, after the model was compiled anew, only the
        later record is kept.
        """
        return self._measured.records()

    @property
    def history(self) -> dict[str, list[dict[str, Any]]]:
        """A dict from kind to the list of its records."""
        history = {}
        for record in self.records:
            history.setdefault(record["kind"], []).append(record)
        return history

    @property
    def left_out(self) -> dict[str, str]:
        """Name of a diagnostic -> why there was nothing to measure."""
        return dict(self._measured.left_out)

    def set_model(self, model: keras.Model) -> None:
        """Called by Keras; see `keras.callbacks.Callback`."""
        if self.model not in (None, model):
            raise ValueError(
                f"a Diagnostics callback belongs to one model. Received: {model.name} "
                f"after {self.model.name}. Make another callback for it."
            )
        super().set_model(model)

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Makes the meters and checks that the probe batch fits."""
        del logs
        model = self.model
        with _compat.outside_strategy():
            if self._list.prepare(model):
                self._measured.left_out.clear()
        self._due.start(model)
        self._first_step, self._bar_is_open = number_of_step(model), False
        self._num_before = sum(len(w.seconds) for w in self._used_watches())
        self._measured.open()

    def on_train_batch_begin(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        """Copies the state before a step that is measured."""
        del logs
        self._bar_is_open = batch > 0
        number = self.model.steps_per_execution
        if number == 1:
            self._due.begin()
        elif self._due.within(number):
            SingleSteps.of(self.model).watch(self._due.begin, self._due.end)

    def on_train_batch_end(
        self, batch: int, logs: Mapping[str, Any] | None = None
    ) -> None:
        """Measures, once a step that is due has updated the weights."""
        del batch, logs
        if self.model.steps_per_execution == 1:
            self._due.end()

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Closes the files, and sums up."""
        del logs
        self._measured.close()
        self._bar_is_open = False
        steps = range(self._first_step, number_of_step(self.model))
        watches = self._used_watches()
        for line in announcements.summary(watches, self._num_before, steps):
            self._say(line)

    def _measure(self, begin):
        step = begin.completed(self.model, *[self._probe] * 3)
        for watch in self._used_watches():
            with self._announcer.measuring(watch, step.step):
                write = functools.partial(self._measured.write, watch.name)
                watch.measure(step, write)

    def _used_watches(self):
        left_out = self._measured.left_out
        return [w for w in self._list.watches if w.name not in left_out]

    def _say(self, line):
        verbose = (self.params or {}).get("verbose", 0)
        if verbose == 0:
            return
        # On a line of its own, below a bar that is still growing.
        begin = "\n" if self._bar_is_open and verbose != 2 else ""
        self._bar_is_open = False
        print(f"{begin}{line}", flush=True)
