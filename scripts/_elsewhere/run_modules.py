"""The modules of one run: its step, its evaluations, its measurements."""

from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from _elsewhere import plans
from _elsewhere.modules import Module
from _elsewhere.modules import Names
from _elsewhere.modules import lifted

from tfbn.diagnostics import measurement
from tfbn.diagnostics.diagnostic import TrainingStep
from tfbn.diagnostics.loss_function import snapshot
from tfbn.training import Trainer
from tfbn.training import TrainingModeEvaluation
from tfbn.training.batch_sources import ArraySource


class RunModules(NamedTuple):
    """What the other machine calls in a run.

    Attributes:
        step: `Module`, indices -> the metrics of a step, as one vector.
        batch: `Module`, indices -> the batch.
        evaluations: kind of record -> `Module`, indices -> values of a batch, and the
            structure of these. That of "eval" adds to the metrics' variables.
        meters: name of a diagnostic -> what one measurement calls: `Module` and the
            structure of its results.
        constants: name -> array.
    """

    step: Module
    batch: Module
    evaluations: dict[str, tuple[Module, Any]]
    meters: dict[str, list[tuple[Module, Any]]]
    constants: dict[str, np.ndarray]


class Parts:
    """The parts of a trainer that compute, and the variables and data they use.

    Attributes:
        variables: the state: the model's, then the optimizer's, then the metrics'.
        metric_variables: the last of them.
        data: name -> tensor.
    """

    def __init__(self, trainer: Trainer):
        # The trainer's own parts: what is exported is what it would run itself.
        self.steps, self.source = trainer._steps, trainer._source
        if not isinstance(self.source, ArraySource):
            raise ValueError(
                "A run that trains elsewhere must have its data in memory. Received: "
                f"{type(self.source).__name__}. Give tfbn.data.ArrayBatches."
            )
        self.evaluation, self.diagnostics = trainer._evaluation, trainer._diagnostics
        self.model = trainer.model
        objective = self.evaluation._objective
        objective.reset()
        self.metric_variables = objective._metrics.metrics_variables
        self.variables = [
            *self.model.variables,
            *trainer._optimizer.variables,
            *self.metric_variables,
        ]
        batches = self.source._batches
        self.batches, self.train = batches, batches.arrays
        self.test = self.evaluation._data
        splits = {"train": self.train, "test": self.test}
        self.evaluations: dict[str, TrainingModeEvaluation] = {}
        for kind, evaluation in trainer._evaluations.items():
            if not isinstance(evaluation, TrainingModeEvaluation):
                raise ValueError(
                    "A run that trains elsewhere must have evaluations that compile. "
                    f"Received: {kind}, which runs eagerly. Leave it out."
                )
            self.evaluations[kind] = evaluation
            splits[kind] = evaluation._batches.arrays
        self.data = {
            f"{split}:{i}": tensor
            for split, arrays in splits.items()
            for i, tensor in enumerate(tf.nest.flatten(arrays._arrays))
        }

    def evaluation_rows(self) -> dict[str, np.ndarray]:
        """Kind of record -> the examples of each batch of an evaluation.

        Raises:
            ValueError: if the batches are not equally large.
        """
        size, number = self.evaluation._batch_size, len(self.test)
        if number % size:
            raise ValueError(
                "eval_batch_size must divide the test examples of a run that trains "
                f"elsewhere, {number}. Received: eval_batch_size={size}."
            )
        rows = {"eval": np.arange(number).reshape(-1, size)}
        for kind, evaluation in self.evaluations.items():
            batches = range(evaluation._num_batches)
            rows[kind] = np.stack([evaluation._batches.indices(i) for i in batches])
        return rows


def export(parts: Parts, *, target: str) -> RunModules:
    """Makes the modules of a run; the trainer's state stays as it is."""
    names = Names(parts.variables, parts.data)
    size = parts.source.batch_size
    indices = {"indices": tf.TensorSpec([size], tf.int32)}
    own = range(len(parts.variables) - len(parts.metric_variables))
    metrics = range(own.stop, len(parts.variables))

    def step(indices):
        x, y = parts.train.gather(indices)
        results = parts.steps._step(x, y)
        return tf.stack([results[name] for name in parts.steps._names])

    return RunModules(
        step=lifted(
            step, indices, names, writes=_used(step, indices, names, own), target=target
        ),
        batch=lifted(parts.train.gather, indices, names, target=target),
        evaluations=_evaluations(parts, names, metrics, target),
        meters=_meters(parts, names, target),
        constants=names.constants,
    )


def _evaluations(parts, names, metrics, target):
    def evaluate(indices):
        return parts.evaluation._of_batch(*parts.test.gather(indices))

    functions = {"eval": (evaluate, metrics)}
    for kind, evaluation in parts.evaluations.items():
        functions[kind] = (evaluation._of_batch, ())
    rows = parts.evaluation_rows()
    modules = {}
    for kind, (function, writes) in functions.items():
        spec = {"indices": tf.TensorSpec([rows[kind].shape[1]], tf.int32)}
        returning = _Structure(function)
        module = lifted(returning, spec, names, writes=writes, target=target)
        modules[kind] = module, returning.structure
    return modules


class _Structure:
    """A function that remembers the structure of its results, and zeros like them."""

    def __init__(self, function):
        self._function = function
        self.structure: Any = None
        self.zeros: Any = None

    def __call__(self, *args):
        results = self._function(*args)
        self.structure = plans.structure_of(results)
        specs = tf.nest.map_structure(tf.TensorSpec.from_tensor, results)
        self.zeros = lambda: tf.nest.map_structure(
            lambda spec: tf.zeros(spec.shape, spec.dtype), specs
        )
        return results


def _used(function, arguments, names, candidates):
    """The variables among `candidates` that a function captures."""
    graph = tf.function(function, autograph=False).get_concrete_function(
        *arguments.values()
    )
    captured = set(map(names.of, graph.captured_inputs))
    return [i for i in candidates if f"state:{i}" in captured]


def _meters(parts, names, target):
    """The calls of compiled functions in one measurement of each diagnostic."""
    before, after = snapshot(parts.model), snapshot(parts.model)
    x, y = parts.source.at(0)
    probe = tf.nest.map_structure(tf.identity, parts.source.probe())
    places = _places(parts)
    for when, state in (("before", before), ("after", after)):
        for place, tensor in zip(places, [*state[0], *state[1]], strict=True):
            names.add(f"{when}:{place}", tensor)
    batches = {"batch": [x, y], "probe": list(probe)}
    for name, tensors in batches.items():
        names.add(name, tf.nest.flatten(tensors))
    step = TrainingStep(
        step=0, before=before, after=after, batch=(x, y), next_batch=None, probe=probe,
        learning_rate=float(tf.convert_to_tensor(parts.steps._optimizer.learning_rate)),
    )  # fmt: skip
    modules = {}
    for watch in parts.diagnostics.watches:
        modules[watch.name] = calls = []
        with measurement.calls_go_to(_recorder(calls, names, target)):
            watch.meter.measure(step)
    return modules


def _places(parts):
    """Where the variables of a snapshot are in the state."""
    index = {id(v): i for i, v in enumerate(parts.variables)}
    model = parts.model
    variables = [*model.trainable_variables, *model.non_trainable_variables]
    return [index[id(v)] for v in variables]


def _recorder(calls, names, target):
    """A handler of calls that makes a module of each, and returns zeros."""

    def handle(function, args):
        args = list(args)
        leaves = tf.nest.flatten(args, expand_composites=True)
        leaves = [tf.convert_to_tensor(leaf) for leaf in leaves]
        specs = {str(i): tf.TensorSpec.from_tensor(t) for i, t in enumerate(leaves)}

        def call(*tensors):
            return function(
                *tf.nest.pack_sequence_as(args, tensors, expand_composites=True)
            )

        returning = _Structure(call)
        module = lifted(returning, specs, names, target=target)
        inputs = [*map(names.of, leaves), *module.inputs[len(leaves) :]]
        calls.append((module._replace(inputs=inputs), returning.structure))
        return returning.zeros()

    return handle
