"""What a diagnostic is: its declaration, its meter, and the records that it makes.

Each diagnostic is declared once, in its own module, as a `Diagnostic`, and listed in
`tfbn.diagnostics.registry`. Everything else derives from the declaration: options of
training runs and their flags, the names that callbacks and `tfbn.diagnose` accept,
tables, figures and documentation.
"""

import abc
import dataclasses
import enum
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.measurement import Cost
from tfbn.options import Option

Batch = tuple[Any, Any]  # (x, y)


class TrainingStep(NamedTuple):
    """One optimizer step, as far as diagnostics need it.

    Attributes:
        step: int, optimizer steps completed before this one.
        before: `State` before the update.
        after: `State` after it.
        batch: `(x, y)` of this step.
        next_batch: `(x, y)` of the next step, or None.
        probe: `(x, y)`, a batch that is the same at all steps.
        learning_rate: float, of this step.
    """

    step: int
    before: State
    after: State
    batch: Batch
    next_batch: Batch | None
    probe: Batch
    learning_rate: float


class Meter(abc.ABC):
    """A diagnostic bound to one model. The first measurement traces, others reuse it.

    Measuring changes no state of the model.

    Attributes:
        cost: the `Cost` of one measurement.
        memory: what the meter remembers between measurements, an object that
            `tf.train.Checkpoint` saves, or None.
    """

    cost: Cost
    memory: tf.train.experimental.PythonState | None = None

    @abc.abstractmethod
    def measure(self, step: TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns a dict from kind of record to values; empty if there are none."""


class MeterGroup(Meter):
    """Several meters that measure one after the other, as one meter.

    The cost is the passes of all of them and the memory of the largest.

    Args:
        meters: the meters; none of them may have a memory.
    """

    def __init__(self, meters: Iterable[Meter]):
        self._meters = tuple(meters)
        passes, copies = zip(*(meter.cost for meter in self._meters), strict=True)
        self.cost = Cost(sum(passes), max(copies))

    def measure(self, step: TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the records of all meters."""
        return {k: v for meter in self._meters for k, v in meter.measure(step).items()}


class Need(enum.Enum):
    """What a diagnostic needs besides a built model and a batch."""

    LOSS = "a loss"
    LEARNING_RATE = "a positive learning rate"
    UPDATE = "the update of a training step"
    NEXT_BATCH = "the batch of the next step"
    PROBE_BATCH = "a probe batch that stays the same"
    TRAINING_MODE = "training mode"
    BATCH_STATISTICS = "layers that normalise with the statistics of the batch"
    RENORMALISATION = "layers that renormalise"
    SECOND_MODEL = "a second model, initialised independently"


@dataclasses.dataclass(frozen=True)
class RecordKind:
    """One kind of record.

    Attributes:
        name: str, its `kind`.
        values: name -> meaning, of the record's values except `layers`.
        layer_values: name -> meaning, of the values that each object in `layers` has
            besides its `name`; empty if the record has no layers.
        optional: names of values, of the record or its layers, that may be missing.
        figures: name of a figure -> what it shows. `tfbn.plots._NAME.NAME` draws it.
        layer_columns: heading -> layer value, in the table of layers of
            `tfbn.diagnose`.
        totals: heading -> value, or function of the record that returns a number, in
            its table of the whole network.
        divergence: the value, of the record or of each layer, that is not finite at
            the end of a run that diverged, or None.
        without_bands: names of lists whose extremes mean nothing; of other lists
            TensorBoard shows the least and the largest number.
    """

    name: str
    values: Mapping[str, str] = dataclasses.field(default_factory=dict)
    layer_values: Mapping[str, str] = dataclasses.field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    figures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    layer_columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    totals: Mapping[str, str | Callable[[Mapping], float]] = dataclasses.field(
        default_factory=dict
    )
    divergence: str | None = None
    without_bands: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """The declaration of a diagnostic.

    Attributes:
        name: str, by which callbacks, `tfbn.diagnose` and the flag `--NAME_every` know
            it.
        title: str, a noun phrase: what is measured.
        details: str, what the records hold, in a few words.
        cost: str, what one measurement costs, completing "one costs ...".
        make: returns the `Meter`. Called with the model, the loss if `needs` has it,
            `second_model` if `needs` has it, `training` unless `needs` has
            TRAINING_MODE, `jit_compile`, and the options.
        kinds: the kinds of record that it can make.
        options: what a user may set, by flags too.
        rising: pairs of options of which the first must be less than the second.
        arguments: other keyword arguments of `make` that can be set, but not by flags.
        prefix: str, of the flags of its options. Default: its name.
        needs: what it needs besides a built model and a batch.
        during_training: bool, whether training runs and callbacks measure it. If not,
            `tfbn.diagnose` alone does, and only when asked to.
        many_batches: bool, whether a `tf.data.Dataset` may take the place of a batch.
        single: arguments of `make` for a single measurement outside a run.
        if_empty: str, why a record may have no layers.

    The registry is in `tfbn.diagnostics`; a new diagnostic is a module with a
    declaration, a line there, and a module for each of its figures.
    """

    name: str
    title: str
    details: str
    cost: str
    make: Callable[..., Meter]
    kinds: tuple[RecordKind, ...]
    options: tuple[Option, ...] = ()
    rising: tuple[tuple[str, str], ...] = ()
    arguments: tuple[str, ...] = ()
    prefix: str = ""
    needs: frozenset[Need] = frozenset({Need.LOSS})
    during_training: bool = True
    many_batches: bool = False
    single: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    if_empty: str = ""

    @property
    def on_one_batch(self) -> bool:
        """Whether a model and one batch are enough to measure it."""
        return not self.needs & {Need.NEXT_BATCH, Need.SECOND_MODEL}

    @property
    def every(self) -> Option:
        """The option of a run that says how often this is measured."""
        text = (
            f"Steps between measurements of {self.title} ({self.details}; one costs "
            f"{self.cost}); 0: never."
        )
        return Option(f"{self.name}_every", 0, text, minimum=0)

    @property
    def flags(self) -> dict[str, Option]:
        """The name of the flag of each option -> the option."""
        return {f"{self.prefix or self.name}_{o.name}": o for o in self.options}

    def meter(
        self,
        model: keras.Model,
        loss: Loss | None = None,
        *,
        training: bool = True,
        jit_compile: bool = False,
        second_model: Callable[[], keras.Model] | None = None,
        **options: Any,
    ) -> Meter:
        """Makes a meter of a model.

        Args:
            model: a built Keras model.
            loss: function `loss(y_true, y_pred)` -> scalar, if `needs` has it.
            training: bool, whether the model runs in training mode, with the statistics
                of the batch and noise. Default True. Without effect for a diagnostic
                that needs training mode.
            jit_compile: bool, whether XLA compiles the measurement. Default False.
            second_model: function that returns the second model, if `needs` has it.
            **options: values of options, in place of their defaults, and of
                `arguments`.

        Raises:
            ValueError: for an unknown option or a wrong value of one, a missing second
                model, or a model that cannot be measured.
        """
        arguments: dict[str, Any] = {o.name: o.default for o in self.options}
        arguments |= self._checked(options)
        if Need.LOSS in self.needs:
            arguments["loss"] = loss
        if Need.TRAINING_MODE not in self.needs:
            arguments["training"] = training
        if Need.SECOND_MODEL in self.needs:
            if second_model is None:
                raise ValueError(
                    f"second_model must be given for {self.name}, which compares with "
                    "a second model. Received: second_model=None. Pass a function "
                    "that returns one."
                )
            arguments["second_model"] = second_model
        return self.make(model=model, jit_compile=jit_compile, **arguments)

    @staticmethod
    def check_many_batches(
        chosen: Iterable["Diagnostic"],
        known: Iterable["Diagnostic"],
        jit_compile: bool,
    ) -> None:
        """Raises a ValueError unless all chosen ones can measure on a dataset.

        Args:
            chosen: the diagnostics to measure.
            known: all of them.
            jit_compile: bool, whether XLA compiles the measurements.
        """
        if jit_compile:
            raise ValueError(
                "jit_compile must be False where x is a dataset, which XLA cannot "
                "read. Received: jit_compile=True. Give one batch, or leave it out."
            )
        for diagnostic in chosen:
            if not diagnostic.many_batches:
                names = ", ".join(d.name for d in known if d.many_batches)
                raise ValueError(
                    f"diagnostics must be among {names} where x is a dataset. "
                    f"Received: {diagnostic.name!r}. Give it one batch."
                )

    def _checked(self, options):
        declared = {option.name: option for option in self.options}
        known = [*declared, *self.arguments]
        for name in options:
            if name not in known:
                raise ValueError(
                    f"options of {self.name} must be among {', '.join(known)}. "
                    f"Received: {name}={validation.shown(options[name])}."
                    f"{validation.suggestion(name, known)}"
                )
        return {
            name: declared[name].checked(value) if name in declared else value
            for name, value in options.items()
        }
