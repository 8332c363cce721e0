"""The modules of one run: its step, its evaluations, its measurements."""

import functools
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from _elsewhere import plans
from _elsewhere.modules import Module
from _elsewhere.modules import Names
from _elsewhere.modules import lifted
from _elsewhere.parts import Parts

from tfbn.diagnostics import measurement
from tfbn.diagnostics.diagnostic import TrainingStep
from tfbn.diagnostics.loss_function import snapshot
from tfbn.training import recalibrated


class RunModules(NamedTuple):
    """What the other machine calls in a run.

    Attributes:
        steps: `Module`, indices of all batches, begin, end -> the metrics of these
            steps in their rows.
        batch: `Module`, indices -> the batch.
        evaluations: kind of record -> `Module`, indices -> values of a batch, and the
            structure of these. Those in inference mode add to the metrics' variables.
        recalibrations: kind of record -> `Module`, what comes before its evaluation:
            indices of several batches -> new averages.
        meters: name of a diagnostic -> what one measurement calls: `Module` and the
            structure of its results.
        constants: name -> array.
    """

    steps: Module
    batch: Module
    evaluations: dict[str, tuple[Module, Any]]
    recalibrations: dict[str, Module]
    meters: dict[str, list[tuple[Module, Any]]]
    constants: dict[str, np.ndarray]


def export(parts: Parts, *, train_steps: int, target: str) -> RunModules:
    """Makes the modules of a run; the trainer's state stays as it is."""
    names = Names(parts.variables, parts.data)
    size = parts.source.batch_size
    indices = {"indices": tf.TensorSpec([size], tf.int32)}
    own = range(len(parts.variables) - len(parts.metric_variables))
    metrics = range(own.stop, len(parts.variables))
    steps, of_steps = _steps(parts, train_steps)
    return RunModules(
        steps=lifted(
            steps,
            of_steps,
            names,
            writes=_used(steps, of_steps, names, own),
            target=target,
        ),
        batch=lifted(parts.train.gather, indices, names, target=target),
        evaluations=_evaluations(parts, names, metrics, target),
        recalibrations=_recalibrations(parts, names, target),
        meters=_meters(parts, names, target),
        constants=names.constants,
    )


def _steps(parts, train_steps):
    """The loop over steps, a function, and the specs of its arguments."""
    size, number = parts.source.batch_size, len(parts.steps._names)
    arguments = {
        "indices": tf.TensorSpec([train_steps, size], tf.int32),
        "begin": tf.TensorSpec([], tf.int32),
        "end": tf.TensorSpec([], tf.int32),
    }

    def steps(indices, begin, end):
        def step(i, rows):
            results = parts.steps._step(*parts.train.gather(indices[i]))
            row = tf.stack([results[name] for name in parts.steps._names])
            return i + 1, tf.tensor_scatter_nd_update(rows, [[i]], [row])

        rows = tf.zeros([train_steps, number])
        return tf.while_loop(lambda i, rows: i < end, step, [begin, rows])[1]

    return steps, arguments


def _evaluations(parts, names, metrics, target):
    def evaluate(indices):
        return parts.evaluation._of_batch(*parts.test.gather(indices))

    functions = {"eval": (evaluate, metrics)}
    functions |= dict.fromkeys(parts.recalibrated, functions["eval"])
    for kind, evaluation in parts.in_training_mode.items():
        functions[kind] = (evaluation._of_batch, ())
    rows = parts.evaluation_rows()
    modules = {}
    for kind, (function, writes) in functions.items():
        spec = {"indices": tf.TensorSpec([rows[kind].shape[1]], tf.int32)}
        returning = _Structure(function)
        module = lifted(returning, spec, names, writes=writes, target=target)
        modules[kind] = module, returning.structure
    return modules


def _recalibrations(parts, names, target):
    rows = parts.recalibration_rows()
    modules = {}
    for kind, evaluation in parts.recalibrated.items():
        spec = {"indices": tf.TensorSpec(rows[kind].shape, tf.int32)}
        function = functools.partial(_recalibrate, parts, evaluation)
        averages = {id(v) for x in evaluation._layers for v in x.non_trainable_weights}
        writes = [i for i, v in enumerate(parts.variables) if id(v) in averages]
        modules[kind] = lifted(
            function,
            spec,
            names,
            writes=_used(function, spec, names, writes),
            target=target,
        )
    return modules


def _recalibrate(parts, evaluation, indices):
    """As the evaluation does it batch by batch, in one piece."""

    def found(i):
        return evaluation._of_batch(parts.train.gather(indices[i])[0])

    def join(i, before):
        return i + 1, recalibrated.joined(before, found(i))

    number = indices.shape[0]
    loop = (lambda i, _: i < number), join, [tf.constant(1), found(0)]
    evaluation._assign(tf.while_loop(*loop)[1])
    return []


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
