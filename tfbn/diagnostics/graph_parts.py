"""Runs parts of a graph again, as its inputs change one after the other.

Each input belongs to a stage, a number, or to none. At stage k the inputs of earlier
stages have their last values. Tensors that depend on those alone are *settled*: they
are computed once, and given to everything that needs them from then on.
"""

from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn import _compat

# Handles that cannot be given to a graph; what needs them computes them again.
_HANDLES = (tf.resource, tf.variant)


class Need(NamedTuple):
    """What the computation of some tensors begins with.

    Attributes:
        settled: list of str, names of settled tensors.
        inputs: list of str, names of inputs.
    """

    settled: list[str]
    inputs: list[str]


class GraphParts:
    """Parts of one graph.

    Args:
        graph: a graph without variables.
        stages: name of an input -> its stage, or -1 for none.
    """

    def __init__(self, graph: tf.Graph, stages: Mapping[str, int]):
        self._inputs = stages
        operations = graph.get_operations()
        self._sources = {  # of an operation
            op.name: [t.name for t in op.inputs]
            + [_waited_for(other, stages) for other in op.control_inputs]
            for op in operations
        }
        outputs = [tensor for op in operations for tensor in op.outputs]
        self._handles = {t.name for t in outputs if t.dtype in _HANDLES}
        self._stages = dict.fromkeys(self._sources, -1)  # of an operation
        self._stages |= {_operation(name): stage for name, stage in stages.items()}
        self._spread()
        self._make = _compat.parts_of_graph(graph)

    def need(self, fetches: Iterable[str], stage: int, known: Container[str]) -> Need:
        """Returns what tensors need at a stage.

        Args:
            fetches: names of the tensors.
            stage: the stage, or -1: nothing counts as settled.
            known: names of tensors that are known in any case.
        """
        settled, inputs, seen = [], [], set()
        waiting = [s for name in fetches for s in self._sources[_operation(name)]]
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in self._inputs:
                inputs.append(name)
            elif name in known or self._is_settled(name, stage):
                settled.append(name)
            else:
                waiting += self._sources[_operation(name)]
        return Need(settled, inputs)

    def function(
        self, fetches: Sequence[str], feeds: Sequence[str]
    ) -> Callable[..., list[np.ndarray]]:
        """Returns a function of the values of `feeds` that returns those of `fetches`.

        What lies between is computed, and nothing else.
        """
        return self._make(list(fetches), list(feeds))

    def _spread(self):
        """Gives every operation the latest stage of those that it depends on."""
        stages, changed = self._stages, True
        while changed:  # loops have inputs that are made after them
            changed = False
            for operation, sources in self._sources.items():
                latest = max(
                    (stages[_operation(source)] for source in sources), default=-1
                )
                if latest > stages[operation]:
                    stages[operation], changed = latest, True

    def _is_settled(self, name, stage):
        operation = _operation(name)
        return (
            0 <= stage
            and self._stages[operation] < stage
            and not name.startswith("^")
            and name not in self._handles
            and bool(self._sources[operation])  # not a constant
        )


def _waited_for(operation, inputs):
    """Returns the name of a control input; that of the tensor if it is an input."""
    tensor = f"{operation.name}:0"
    return tensor if tensor in inputs else f"^{operation.name}"


def _operation(name):
    return name[1:] if name.startswith("^") else name.rpartition(":")[0]
