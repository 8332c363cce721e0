"""What a call asks of the numerics: all that decides which code serves it."""

import contextvars
import dataclasses
import math
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import cast

import tensorflow as tf

from tfbn import _compat
from tfbn import _scopes
from tfbn import validation

TARGETS = ("cpu", "gpu", "tpu")


@dataclasses.dataclass(frozen=True)
class Request:
    """One call, as the choice of an implementation sees it.

    Attributes:
        operation: str, "batch_norm", "normalize" (with given statistics) or
            "lp_batch_norm".
        dtype: that of the input.
        shape: the sizes of the input, None where only the running graph knows them.
        axis: int >= 0, the channel axis.
        target: one of `TARGETS`, the kind of device that computes the call.
        compiled: bool, whether XLA compiles it.
        onednn: bool, whether TensorFlow's CPU kernels are oneDNN's.
        masked: bool, whether a mask excludes elements from the statistics.
        replicated: bool, whether several replicas share the statistics.
        virtual_batch_size: int or None.
        virtual_batch_order: str, one of `virtual_batches.ORDERS`.
        exported: bool, whether the graph is made for a converter, which has to fold or
            to know its operations.
        derivative: str, what TensorFlow itself differentiates: "none", "forward" (a
            `tf.autodiff.ForwardAccumulator` watches the input or a weight) or
            "recorded" (a tape records the gradient, for a second derivative).
    """

    operation: str
    dtype: tf.DType
    shape: tuple[int | None, ...]
    axis: int
    target: str
    compiled: bool
    onednn: bool = False
    masked: bool = False
    replicated: bool = False
    virtual_batch_size: int | None = None
    virtual_batch_order: str = "consecutive"
    exported: bool = False
    derivative: str = "none"

    @property
    def channels(self) -> int:
        return cast(int, self.shape[self.axis])  # layers refuse an unknown number

    @property
    def on_accelerator(self) -> bool:
        """Whether XLA compiles it for something other than a CPU."""
        return self.compiled and self.target != "cpu"

    @property
    def num_rows(self) -> int | None:
        """The number of elements of a channel, if known."""
        sizes = [*self.shape[: self.axis], *self.shape[self.axis + 1 :]]
        known = [size for size in sizes if size is not None]
        return math.prod(known) if len(known) == len(sizes) else None

    def of_gradient(self, tensors: list[tf.Tensor]) -> "Request":
        """The request of the gradient that is computed from the tensors."""
        kind = "recorded" if _compat.is_recorded(tensors) else "none"
        return dataclasses.replace(self, derivative=kind)


def request(
    operation: str,
    x: tf.Tensor,
    axis: int,
    weights: Iterable[tf.Tensor | None] = (),
    *,
    mask: tf.Tensor | None = None,
    synchronized: bool = False,
    virtual_batch_size: int | None = None,
    virtual_batch_order: str = "consecutive",
) -> Request:
    """The request of a call that is being made or traced."""
    inputs = [x, *(weight for weight in weights if weight is not None)]
    return Request(
        operation=operation,
        dtype=x.dtype,
        shape=tuple(x.shape),
        axis=axis,
        target=_compiled_target.get() or _target(),
        compiled=is_compiled(),
        onednn=_compat.onednn_enabled(),
        masked=mask is not None,
        replicated=synchronized and replica_context() is not None,
        virtual_batch_size=virtual_batch_size,
        virtual_batch_order=virtual_batch_order,
        exported=is_exporting(),
        derivative="forward" if _compat.has_tangent(inputs) else "none",
    )


def is_compiled() -> bool:
    """Whether XLA compiles what is traced now."""
    return _compiled_target.get() is not None or _compat.in_xla_context()


def is_exporting() -> bool:
    """Whether the graph that is traced now is made for a converter."""
    return _exporting.get() or _compat.is_exporting()


def compiling_for(target: str) -> AbstractContextManager[None]:
    """Calls traced while open are for XLA on `target`, whatever this machine has.

    For ahead-of-time compilation, such as an export of StableHLO for a TPU:

    ```
    with tfbn.ops.compiling_for("tpu"):
        text = function.experimental_get_compiler_ir(*specs)(stage="stablehlo")
    ```

    Args:
        target: "cpu", "gpu" or "tpu".

    Raises:
        ValueError: for another target.
    """
    target = validation.choice("target", target, TARGETS)
    return _scopes.holding(_compiled_target, target)


_compiled_target: contextvars.ContextVar[str | None] = contextvars.ContextVar(
    "compiled_target", default=None
)


def exporting() -> AbstractContextManager[None]:
    """Graphs traced while open are made for converters.

    In inference they are `x * a + b`, which converters fold into the layer before, as
    they do with Keras's graphs. Eagerly and in a `tf.function`, tfbn computes
    `(x - mean) * a + b`, which keeps its digits where the mean is large. In training
    they consist of operations that TensorFlow Lite has. `Model.export`,
    `keras.export.ExportArchive` and `TFLiteConverter.from_keras_model` need no such
    scope; `TFLiteConverter.from_concrete_functions` and `tf.saved_model.save` do:

    ```
    with tfbn.ops.exporting():
        function = tf.function(model).get_concrete_function(spec)
    ```
    """
    return _scopes.holding(_exporting, True)


_exporting = contextvars.ContextVar("exporting", default=False)


def replica_context() -> tf.distribute.ReplicaContext | None:
    """The replica context to reduce across, or None if there is a single replica."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def _target():
    """Where TensorFlow computes operations created now.

    That is the device they are pinned to. TensorFlow puts others on the first GPU.
    """
    scope = _compat.device_scope()
    if scope:
        kind = (tf.DeviceSpec.from_string(scope).device_type or "").lower()
        for target in TARGETS:
            if target in kind:  # also in "xla_gpu", "tpu_replicated_core"
                return target
    return "gpu" if tf.config.list_logical_devices("GPU") else "cpu"
