"""Measures a model on one batch: `tfbn.diagnose`."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import keras

from tfbn import tables
from tfbn import validation
from tfbn.diagnostics import Diagnostic
from tfbn.diagnostics import LossFunction
from tfbn.diagnostics import Need
from tfbn.diagnostics import RecordKind
from tfbn.diagnostics import State
from tfbn.diagnostics import TrainingStep
from tfbn.diagnostics import batches
from tfbn.diagnostics import compiled_loss
from tfbn.diagnostics import measurement
from tfbn.diagnostics import registry
from tfbn.diagnostics import snapshot
from tfbn.diagnostics.loss_function import Loss
from tfbn.recording import records as records_lib

# Diagnostics that need no more than a model and one batch.
NAMES = tuple(name for name, d in registry.items() if d.on_one_batch)
DEFAULT_NAMES = tuple(name for name in NAMES if registry[name].during_training)

_NOTHING: Mapping = {}


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What `tfbn.diagnose` measured. `str` of it is two tables in Markdown.

    Attributes:
        records: list of dicts, each with `step`, `kind` and the values of that kind;
            `tfbn.plots.figures({"name": diagnosis.records})` draws them.
        left_out: name of a diagnostic -> why there was nothing to measure.
    """

    records: list[dict[str, Any]]
    left_out: dict[str, str]

    def __str__(self) -> str:
        parts = [self.layer_table(), self.total_table()]
        return "\n\n".join(part for part in parts if part)

    def layer_table(self) -> str:
        """Returns a table with a row per layer, or "" if none was measured."""
        headings, layers = [], {}
        for kind, record in self._measured():
            for heading, name in kind.layer_columns.items():
                entries = [e for e in record.get("layers", ()) if name in e]
                headings += [heading] if entries else []
                for entry in entries:
                    layers.setdefault(entry["name"], {})[heading] = entry[name]
        rows = [
            [name, *(_cell(row.get(heading)) for heading in headings)]
            for name, row in layers.items()
        ]
        return tables.table(["layer", *headings], rows) if rows else ""

    def total_table(self) -> str:
        """Returns a table of values of the whole network, or "" if there are none."""
        rows = []
        for kind, record in self._measured():
            for heading, value in kind.totals.items():
                number = value(record) if callable(value) else record[value]
                rows.append([heading, _cell(number)])
        return tables.table(["of the whole network", "value"], rows) if rows else ""

    def _measured(self) -> Iterable[tuple[RecordKind, dict[str, Any]]]:
        """Yields the kinds that were measured, in the registry's order."""
        found = {record["kind"]: record for record in self.records}
        for diagnostic in registry.values():
            for kind in diagnostic.kinds:
                if kind.name in found:
                    yield kind, found[kind.name]


def diagnose(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    loss: Loss | None = None,
    diagnostics: Iterable[str] = DEFAULT_NAMES,
    learning_rate: float | None = None,
    options: Mapping[str, Mapping[str, Any]] = _NOTHING,
    step: int = 0,
    run_dir: str | os.PathLike | None = None,
    training: bool = True,
    jit_compile: bool = False,
    verbose: bool = False,
) -> Diagnosis:
    """Measures a model on a batch with any of the diagnostics.

    Diagnostics of an update measure a step of plain SGD on the batch. No state of the
    model changes.

    Example:
        >>> x, y = keras.random.normal((32, 4)), keras.random.normal((32, 1))
        >>> model = keras.Sequential([keras.layers.Dense(8), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> _ = model(x)
        >>> found = tfbn.diagnose(model, x, y, diagnostics=["ics", "curvature"])
        >>> [record["kind"] for record in found.records]
        ['ics', 'curvature']
        >>> print(found)  # doctest: +ELLIPSIS
        | layer   ...

    Args:
        model: a built Keras model.
        x, y: a batch: arrays, tensors, or structures of them; or a `tf.data.Dataset`
            of batches, and None, as in `tfbn.diagnostics.LossFunction`. All diagnostics
            but "theory" take a dataset, without XLA.
        loss: function `loss(y_true, y_pred)` -> scalar, to which the penalties of
            regularizers are added. Default: the loss that the model was compiled with.
        diagnostics: names of diagnostics in `tfbn.diagnostics.registry`. Default: all
            that need no more than a batch, or take a dataset if `x` is one, except the
            surfaces.
        learning_rate: float > 0, of the step of SGD. Default: that of the optimizer
            that the model was compiled with. Not read where nothing that is measured
            depends on the step: of the diagnostics, "ics", "landscape" and
            "activations" do.
        options: name of a diagnostic -> values of its options, such as
            `{"curvature": {"iterations": 50}}`.
        step: int >= 0, the step that the records name.
        run_dir: a folder to write `records.jsonl` to, as a training run does; it must
            not hold one already. Default: nothing is written.
        training: bool, whether the model runs in training mode, where there is a
            choice. Default True.
        jit_compile: bool, whether XLA compiles the measurements. Default False.
        verbose: bool, whether to print how long each measurement took.

    Returns:
        A `Diagnosis`. Cost: that of the diagnostics, each of which is traced anew with
        every call.

    Raises:
        ValueError: for an unknown diagnostic or option, a batch that does not fit, or a
            loss that is neither given nor compiled, or such a learning rate where one
            is needed.
        OSError: if `run_dir` cannot be written.
    """
    chosen = _chosen(diagnostics, options)
    x, y = measurement.as_batch(x, y, many=True)
    if batches.is_dataset(x):
        if diagnostics is DEFAULT_NAMES:
            chosen = [diagnostic for diagnostic in chosen if diagnostic.many_batches]
        Diagnostic.check_many_batches(chosen, registry.values(), jit_compile)
    loss = compiled_loss.compiled_loss(model) if loss is None else loss
    rate = _learning_rate(model, learning_rate) if _updates(chosen) else None
    step = validation.integer("step", step, minimum=0)
    if run_dir is not None:
        _check_no_records(run_dir)
    sgd = _sgd_step(LossFunction(model, loss, training=training), x, y, rate, step)
    result = Diagnosis([], {})
    with contextlib.ExitStack() as stack:
        writer = None
        if run_dir is not None:
            writer = stack.enter_context(records_lib.RecordWriter(run_dir))
        for diagnostic in chosen:
            begin = time.perf_counter()
            arguments = {**diagnostic.single, **options.get(diagnostic.name, _NOTHING)}
            meter = diagnostic.meter(
                model, loss, training=training, jit_compile=jit_compile, **arguments
            )
            _keep(result, diagnostic, meter.measure(sgd), step, writer)
            if verbose:
                reason = result.left_out.get(diagnostic.name)
                seconds = f"{time.perf_counter() - begin:.1f} s"
                said = seconds if reason is None else f"{reason}; left out"
                print(f"{diagnostic.name}: {said}", flush=True)
    return result


def _keep(result, diagnostic, measured, step, writer):
    for kind, values in measured.items():
        if not any(values.values()):  # no layers, and nothing else
            result.left_out[diagnostic.name] = diagnostic.if_empty
            continue
        result.records.append({"step": step, "kind": kind, **values})
        if writer is not None:
            writer.write(kind, step, **values)


def _chosen(names: Iterable[str], options: Mapping) -> list[Diagnostic]:
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise ValueError(
            "diagnostics must be a list of names. Received: "
            f"diagnostics={validation.shown(names)}. Put a single name in brackets."
        )
    chosen = [validation.choice("diagnostics", name, NAMES) for name in names]
    for name in options:
        validation.choice("options", name, NAMES)
    return [registry[name] for name in dict.fromkeys(chosen)]


def _updates(chosen):
    """Whether one of the diagnostics depends on the step of SGD."""
    needs = {Need.LEARNING_RATE, Need.UPDATE}
    return any(diagnostic.needs & needs for diagnostic in chosen)


def _learning_rate(model, learning_rate):
    if learning_rate is None:
        optimizer = getattr(model, "optimizer", None)
        if optimizer is None:
            raise ValueError(
                "learning_rate must be given where a model is not compiled with an "
                "optimizer. Received: learning_rate=None. Pass a number, or leave out "
                "diagnostics of the update."
            )
        learning_rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    return validation.number("learning_rate", learning_rate, above=0.0)


def _check_no_records(run_dir):
    if os.path.exists(os.path.join(run_dir, records_lib.FILE_NAME)):
        raise ValueError(
            "run_dir must not hold records already. Received: run_dir="
            f"{os.fspath(run_dir)}. Choose another folder."
        )


def _sgd_step(loss_function, x, y, learning_rate, step):
    """A step of SGD, or with None for the learning rate one that changes nothing."""
    state = after = snapshot(loss_function.model)
    if learning_rate is not None:
        gradients = loss_function.gradients(*state, x, y)
        updated = measurement.plus(state.parameters, -learning_rate, gradients)
        after = State(updated, state.buffers)
    return TrainingStep(
        step=step,
        before=state,
        after=after,
        batch=(x, y),
        next_batch=None,
        probe=(x, y),
        learning_rate=learning_rate or 0.0,
    )


def _cell(value):
    return tables.MISSING if value is None else f"{value:.3g}"
