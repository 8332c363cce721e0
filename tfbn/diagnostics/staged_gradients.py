"""Gradients at points that differ group by group, from one trace of the model.

The graph of all gradients at one point is traced once. The gradient of group k, with
the groups before it updated, is a part of that graph: TensorFlow prunes what it does
not need. What depends on the updated groups alone is computed once.
"""

import itertools
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn import ops
from tfbn.diagnostics import batches
from tfbn.diagnostics import measurement
from tfbn.diagnostics._layer_groups import LayerGroup
from tfbn.diagnostics.graph_parts import GraphParts
from tfbn.diagnostics.graph_parts import Need
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State


class StagedGradients:
    """Gradients of one loss, where groups of parameters are updated one by one.

    For CPUs: values pass between the parts through the host's memory.

    Args:
        loss: `LossFunction`.
        groups: the groups, in forward order.
    """

    def __init__(self, loss: LossFunction, groups: Sequence[LayerGroup]):
        self._groups = groups
        self._traced = measurement.traced(
            loss.gradients, autograph=False, reduce_retracing=True
        )
        self._programs: dict[int, _Program | None] = {}

    def at(self, state: State, x: Any, y: Any) -> "Point | MeanPoint | None":
        """Returns where gradients are taken: for a state, and a batch or a dataset.

        None if the graph refers to variables that are not in the state, which only
        TensorFlow's own functions can do.
        """
        many = batches.is_dataset(x)
        program = self._program(state, *(x.element_spec if many else (x, y)))
        if program is None:
            return None
        return MeanPoint(program, state, x) if many else Point(program, state, x, y)

    def _program(self, state, x, y):
        with ops.no_sharing():  # parts with functions cost more time than they save
            function = self._traced.get_concrete_function(*state, x, y)
        key = id(function.graph)
        if key not in self._programs:
            has_handles = any(t.dtype == tf.resource for t in function.captured_inputs)
            program = None if has_handles else _Program(function, self._groups)
            self._programs[key] = program
        return self._programs[key]


class Point:
    """A state and a batch at which gradients are taken.

    Args:
        program: the traced function and its parts.
        state: the `State`.
        x, y: the batch.
    """

    def __init__(self, program: "_Program", state: State, x: Any, y: Any):
        self._program = program
        flat = [*tf.nest.flatten((*state, x, y)), *program.captured]
        self._values = dict(zip(program.inputs, map(np.asarray, flat), strict=True))

    def gradients(self) -> list[np.ndarray]:
        """Returns the gradient with respect to all parameters."""
        return self._program.gradients(*self._values.values())

    def after_updates(self, updated: Sequence) -> Iterator[list[np.ndarray]]:
        """Yields the gradient of each group but the first.

        Args:
            updated: tensors like the parameters. When the gradient of a group is taken,
                the groups before it have these values.
        """
        program, values, settled = self._program, dict(self._values), {}
        for k in range(1, len(program.groups)):
            for i in program.groups[k - 1].indices:
                values[program.inputs[i]] = np.asarray(updated[i])
            stage, known = program.stage(k), values | settled
            results = stage.run(*(known[name] for name in stage.feeds))
            count = len(stage.news)
            known |= zip(stage.news, results[:count], strict=True)
            yield results[count:]
            settled = {name: known[name] for name in stage.settled}


class MeanPoint:
    """A state and a dataset, for gradients of the mean loss; otherwise as `Point`."""

    def __init__(self, program: "_Program", state: State, dataset: tf.data.Dataset):
        self._program, self._state, self._dataset = program, state, dataset

    def gradients(self) -> list[np.ndarray]:
        """Returns the gradient with respect to all parameters."""
        return batches.mean_of_arrays(
            lambda x, y: Point(self._program, self._state, x, y).gradients(),
            self._dataset,
        )

    def after_updates(self, updated: Sequence) -> Iterator[list[np.ndarray]]:
        """Yields as `Point` does, after having gone through all batches."""

        def of_batch(x, y):
            point = Point(self._program, self._state, x, y)
            return list(itertools.chain(*point.after_updates(updated)))

        means = iter(batches.mean_of_arrays(of_batch, self._dataset))
        for group in self._program.groups[1:]:
            yield list(itertools.islice(means, len(group.indices)))


class _Stage(NamedTuple):
    """The part of the graph that belongs to one group.

    Attributes:
        run: function from values of `feeds` to those of `news`, followed by the
            gradient of the group. One function: TensorFlow copies the whole graph to
            prepare each.
        feeds: list of str.
        news: list of str, the settled tensors that were not among those of the stage
            before.
        settled: list of str, all settled tensors that the gradient needs.
    """

    run: Callable
    feeds: list[str]
    news: list[str]
    settled: list[str]


class _Program:
    """A traced function of all gradients, and its parts.

    Args:
        function: concrete function from parameters, buffers, x and y to gradients.
        groups: the groups, in forward order.
    """

    def __init__(self, function, groups):
        self.groups = groups
        self._function = function  # which owns the graph
        self.captured = function.captured_inputs
        self.inputs = [tensor.name for tensor in function.graph.inputs]
        self._outputs = [tensor.name for tensor in function.outputs]
        stages = dict.fromkeys(self.inputs, -1)
        for k, group in enumerate(groups):
            stages |= {self.inputs[i]: k for i in group.indices}
        self._parts = GraphParts(function.graph, stages)
        self.gradients = self._parts.function(self._outputs, self.inputs)
        self._needs: dict[int, Need] = {}
        self._stages: dict[int, _Stage] = {}

    def stage(self, k: int) -> _Stage:
        """Returns the functions of group k."""
        if k not in self._stages:
            need, before = self._need(k), self._need(k - 1)
            news = [name for name in need.settled if name not in set(before.settled)]
            first = self._parts.need(news, -1, known=set(before.settled))
            needed = [*first.settled, *first.inputs, *need.settled, *need.inputs]
            feeds = [name for name in dict.fromkeys(needed) if name not in set(news)]
            run = self._parts.function([*news, *self._gradient_of(k)], feeds)
            self._stages[k] = _Stage(run, feeds, news, need.settled)
        return self._stages[k]

    def _gradient_of(self, k):
        return [self._outputs[i] for i in self.groups[k].indices]

    def _need(self, k):
        if k == 0:
            return Need([], [])
        if k not in self._needs:
            self._needs[k] = self._parts.need(self._gradient_of(k), k, known=())
        return self._needs[k]
