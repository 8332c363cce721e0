"""The arguments of a trainer: their rules, and their form in a run directory."""

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tfbn import validation
from tfbn.training import replicas
from tfbn.training.run_directory import Setting

ON_NONFINITE = ("stop", "skip", "ignore")

_LEAST = {
    "train_steps": 1,
    "validation_batch_size": 1,
    "validation_freq": 0,
    "steps_per_execution": 1,
    "log_freq": 1,
    "checkpoint_freq": 0,
    "max_to_keep": 1,
}
_AFFECT_RESULTS = ("train_steps", "validation_freq", "log_freq", "on_nonfinite")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainerOptions:
    """The plain options of `tfbn.training.Trainer`, which documents them.

    Raises:
        ValueError: if an option breaks its rule.
    """

    train_steps: int
    validation_batch_size: int
    validation_freq: int
    steps_per_execution: int
    jit_compile: bool | str
    on_nonfinite: str
    log_freq: int
    checkpoint_freq: int
    checkpoint_minutes: float
    max_to_keep: int
    progress: bool

    def __post_init__(self):
        for name, minimum in _LEAST.items():
            validation.integer(name, getattr(self, name), minimum=minimum)
        validation.number("checkpoint_minutes", self.checkpoint_minutes, minimum=0.0)
        validation.choice("on_nonfinite", self.on_nonfinite, ON_NONFINITE)
        validation.boolean("progress", self.progress)
        if not isinstance(self.jit_compile, bool):
            validation.choice("jit_compile", self.jit_compile, ("auto",))

    def settings(self, every: Mapping[str, int]) -> list[Setting]:
        """The options as settings, with the steps between diagnostics (`every`)."""
        options = [
            Setting(name, str(value), "", name in _AFFECT_RESULTS)
            for name, value in dataclasses.asdict(self).items()
        ]
        return options + [Setting(f"{n}_every", str(e), "0") for n, e in every.items()]


def uses_xla(jit_compile: bool | str) -> bool:
    """Whether XLA compiles the steps: `jit_compile`, "auto" resolved."""
    if jit_compile == "auto":
        return any(tf.config.list_physical_devices(kind) for kind in ("GPU", "TPU"))
    return bool(jit_compile)


def made_optimizer(
    optimizer: Any, model: keras.Model, strategy: tf.distribute.Strategy | None = None
) -> keras.Optimizer:
    """The optimizer as `compile` resolves it, with loss scaling for mixed_float16."""
    with strategy.scope() if strategy else contextlib.nullcontext():
        optimizer = validation.keras_object("optimizer", optimizer, keras.optimizers)
        is_half = model.dtype_policy.name == "mixed_float16"
        scales = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if is_half and not scales:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    replicas.check_optimizer(optimizer, strategy)
    return optimizer
