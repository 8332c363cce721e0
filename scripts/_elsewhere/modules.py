"""Functions that read and write variables, as StableHLO modules without any.

A module's inputs are the function's arguments, then what the function captures:
variables and tensors. Its outputs are the function's results, then the new values of
the variables that it writes. An input is described by a string, such as "state:3".
"""

import hashlib
import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from _benchmark import stablehlo


class Module(NamedTuple):
    """A module and what it takes and returns.

    Attributes:
        text: str, StableHLO.
        inputs: list of str, what each input is.
        num_results: int, the outputs before the written variables.
        writes: list of int, the variables whose new values follow.
    """

    text: str
    inputs: list[str]
    num_results: int
    writes: list[int]

    @property
    def name(self) -> str:
        """A name for the module's file: equal modules share it."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def call(self) -> dict[str, Any]:
        """The module as the other machine calls it."""
        return {
            "module": self.name,
            "inputs": self.inputs,
            "num_results": self.num_results,
            "writes": self.writes,
        }


class Names:
    """What the inputs of modules are called.

    Args:
        variables: the variables of the state, in order.
        tensors: name -> a tensor or a list of tensors that functions may capture.

    Attributes:
        constants: name -> array: what is captured and has no other name.
    """

    def __init__(self, variables: Sequence, tensors: Mapping[str, Any]):
        self.variables = [
            v if isinstance(v, tf.Variable) else v.value for v in variables
        ]
        self.constants: dict[str, np.ndarray] = {}
        self._names = {id(v.handle): f"state:{i}" for i, v in enumerate(self.variables)}
        # Kept, so that no other tensor gets the id of one of them.
        self._kept = [v.handle for v in self.variables]
        for name, tensor in tensors.items():
            self.add(name, tensor)

    def add(self, name: str, tensor: Any) -> None:
        """Names a tensor, or the tensors of a list by their index."""
        if isinstance(tensor, (list, tuple)):
            for i, one in enumerate(tensor):
                self.add(f"{name}:{i}", one)
        else:
            self._names[id(tensor)] = name
            self._kept.append(tensor)

    def of(self, tensor: Any) -> str:
        """The name of a tensor or handle; an unknown tensor becomes a constant."""
        known = self._names.get(id(tensor))
        if known is not None:
            return known
        value = tensor.numpy()
        digest = hashlib.sha256(value.tobytes() + str(value.dtype).encode())
        name = f"constant:{digest.hexdigest()[:12]}"
        self.constants[name] = value
        return name


def lifted(
    function: Callable,
    arguments: Mapping[str, tf.TensorSpec],
    names: Names,
    *,
    writes: Sequence[int] = (),
    target: str = "gpu",
) -> Module:
    """Makes a module of a function of tensors.

    Args:
        function: it returns a structure of tensors.
        arguments: name -> spec, in order.
        names: what it may capture.
        writes: indices of the variables that it assigns.
        target: as in `tfbn.ops.compiling_for`.

    Raises:
        ValueError: if the compiled function does not have the inputs and outputs that
            it should, as where XLA needs the value of an input to compile.
    """
    variables = [names.variables[i] for i in writes]

    def call(*tensors):
        results = tf.nest.flatten(function(*tensors))
        for variable in variables:
            # So that XLA returns each of them, also one that keeps its value.
            variable.assign(variable + tf.zeros_like(variable))
        return results

    compiled = stablehlo.compiled(call)
    specs = list(arguments.values())
    graph = compiled.get_concrete_function(*specs)
    inputs = [*arguments, *map(names.of, graph.captured_inputs)]
    text = stablehlo.module_text(compiled, specs, target)
    num_results = len(graph.outputs)
    # XLA returns the variables in the order in which it takes them.
    ordered = sorted(writes, key=lambda i: inputs.index(f"state:{i}"))
    _check(text, len(inputs), num_results + len(writes))
    _check_order(text, inputs, num_results, ordered)
    return Module(_portable(text), inputs, num_results, ordered)


def _check(text, num_inputs, num_outputs):
    begin = text.index("func.func @main(")
    inputs, _, outputs = text[begin : text.index("{\n", begin)].rpartition("->")
    found = inputs.count("%arg"), outputs.count("tensor<")
    if found != (num_inputs, num_outputs):
        raise ValueError(
            "function must compile to a module of its own inputs and outputs, "
            f"{num_inputs} and {num_outputs}. Received: {found[0]} and {found[1]}."
        )


def _check_order(text, inputs, num_results, writes):
    """Compares with what XLA says of the outputs that replace an input."""
    for number, output in _REPLACED.findall(text):
        expected = f"state:{writes[int(output) - num_results]}"
        if inputs[int(number)] != expected:
            raise ValueError(
                f"output {output} of a module must be the new {expected}. Received: "
                f"that of {inputs[int(number)]}."
            )


def _portable(text):
    """Without giving inputs away, and without what only TensorFlow's XLA knows."""
    text = _HEADER.sub("module {", text, count=1)
    return text.replace(" mhlo.copy ", " stablehlo.optimization_barrier ")


_HEADER = re.compile(r"^module @.* \{$", re.MULTILINE)
_REPLACED = re.compile(
    r"parameter_number = (\d+) : i64\}, output_index = array<i64: (\d+)>"
)
