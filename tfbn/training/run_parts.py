"""The parts of a run that compute, made from a trainer's arguments and checked."""

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import keras
import tensorflow as tf

from tfbn.diagnostics.arguments import check_model
from tfbn.recording.watching import Watch
from tfbn.training import arguments
from tfbn.training import batch_sources
from tfbn.training import memory
from tfbn.training import processes
from tfbn.training import renorm_bounds
from tfbn.training import replicas
from tfbn.training import run_directory
from tfbn.training.evaluation import Evaluation
from tfbn.training.objective import Objective
from tfbn.training.replicated_step import ReplicatedSteps
from tfbn.training.resumption import Resumption
from tfbn.training.run_diagnostics import RunDiagnostics
from tfbn.training.step import Steps

Evaluations = Mapping[str, Callable[[], Mapping[str, float]]]


class RunParts(NamedTuple):
    """What a run consists of, apart from its results.

    `is_chief` says whether this process writes those; `settings` are for `flags.cfg`.
    """

    model: keras.Model
    optimizer: keras.Optimizer
    strategy: tf.distribute.Strategy | None
    options: arguments.TrainerOptions
    settings: Sequence[run_directory.Setting]
    run_dir: str
    is_chief: bool
    source: batch_sources.Source
    objective: Objective
    steps: Steps | ReplicatedSteps
    evaluation: Evaluation
    evaluations: Evaluations
    diagnostics: RunDiagnostics
    resumption: Resumption


def assembled(
    model: keras.Model,
    optimizer: Any,
    loss: Any,
    batches: Any,
    *,
    run_dir: str,
    options: arguments.TrainerOptions,
    metrics: Any,
    loss_weights: Any,
    validation_data: Any,
    evaluations: Evaluations | None,
    diagnostics: Mapping[str, int] | Sequence[Watch],
    settings: Sequence[run_directory.Setting],
    strategy: tf.distribute.Strategy | None,
) -> RunParts:
    """Makes the parts of a run; writes nothing.

    Args:
        options: the plain options of a `Trainer`; the others are as it documents them.

    Raises:
        ValueError, MemoryError: as `Trainer`.
    """
    check_model(model)
    replicas.check_strategy(strategy)
    replicas.check_model(model, strategy)
    replicas.check_jit_compile(options.jit_compile, strategy)
    source = batch_sources.source_of(batches)
    objective = Objective(model, loss, metrics, *source.spec, loss_weights=loss_weights)
    replicas.check_batch_size(source.batch_size, strategy)
    measured = RunDiagnostics(
        diagnostics,
        model,
        objective.loss,
        source,
        jit_compile=arguments.uses_xla(options.jit_compile),
    )
    replicas.check_diagnostics(list(measured.every()), model, strategy)
    settings = settings or options.settings(measured.every())
    is_chief = processes.is_chief(strategy)
    if is_chief:
        run_directory.check(run_dir, settings)
    _check_steps(model, source.batch_size, options.train_steps, strategy)
    optimizer = arguments.made_optimizer(optimizer, model, strategy)
    steps = _steps(model, optimizer, objective, source, options, strategy=strategy)
    size = options.validation_batch_size
    return RunParts(
        model=model,
        optimizer=optimizer,
        strategy=strategy,
        options=options,
        settings=settings,
        run_dir=run_dir,
        is_chief=is_chief,
        source=source,
        objective=objective,
        steps=steps,
        evaluation=Evaluation(model, objective, validation_data, size),
        evaluations=dict(evaluations or {}),
        diagnostics=measured,
        resumption=Resumption(
            run_dir,
            options,
            model,
            optimizer,
            measured.watches,
            writes=is_chief,
            **source.trackables,
        ),
    )


def _check_steps(model, batch_size, train_steps, strategy):
    """Says what can be told of the steps before the first one."""
    renorm_bounds.warn_if_plain(model, train_steps)
    if batch_size is not None:
        memory.check_step(model, replicas.local_share(batch_size, strategy))


def _steps(model, optimizer, objective, source, options, *, strategy):
    """The compiled inner loop, on one device or on the replicas of a strategy."""
    parts = model, optimizer, objective, source
    if strategy is not None:
        return ReplicatedSteps(
            *parts, strategy=strategy, on_nonfinite=options.on_nonfinite
        )
    return Steps(
        *parts,
        jit_compile=arguments.uses_xla(options.jit_compile),
        on_nonfinite=options.on_nonfinite,
    )
