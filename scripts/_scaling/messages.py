"""Messages between replicas: counted in the graph of a training step, and foretold."""

import math
from typing import NamedTuple

import tensorflow as tf

import tfbn
from tfbn.diagnostics.layer_calls import all_layers
from tfbn.training.batch_sources import Source
from tfbn.training.step import Steps

PURPOSES = ("forward", "backward", "step")
_BYTES = 4  # of a float32


class Message(NamedTuple):
    """A collective operation of a replica in a step.

    Attributes:
        operation: str, its type in TensorFlow.
        bytes: int, what a replica gives to it, or None if the graph does not know.
    """

    operation: str
    bytes: int | None


def counted(steps: Steps, source: Source) -> list[Message]:
    """The messages of one step, as a replica of this process sends them.

    Args:
        steps: of a model.
        source: of its batches, which are `ArrayBatches`.
    """
    # What `steps.run` calls: a loop, with one step in its body.
    function = steps._run.get_concrete_function(*(source.signature or ()))
    graph = function.graph.as_graph_def(add_shapes=True)
    nodes = [node for f in graph.library.function for node in f.node_def]
    sent = [node for node in [*graph.node, *nodes] if _is_message(node)]
    # The replicas of a process are in one graph, each with its device.
    first = min((node.device for node in sent), default="")
    return [_message(node) for node in sent if node.device == first]


def _is_message(node):
    name = node.op
    return name.startswith(("CollectiveReduce", "CollectiveGather", "Nccl"))


def _message(node):
    (shape,) = node.attr["_output_shapes"].list.shape
    sizes = [dim.size for dim in shape.dim]
    known = not shape.unknown_rank and min(sizes, default=1) >= 0
    width = tf.as_dtype(node.attr["T"].type).size
    return Message(node.op, math.prod(sizes) * width if known else None)


def foretold(model, batch_size, number, outputs) -> dict[str, tuple[int, int]]:
    """`(messages, bytes)` of one step by their purpose, as docs/distributed.md has it.

    Args:
        model: a built model of float32, with a loss and metrics, whose batch
            normalisation is tfbn's.
        batch_size: int, examples of the global batch.
        number: int, of the replicas.
        outputs: int, numbers in the model's output for an example.
    """
    if number == 1:
        return dict.fromkeys(PURPOSES, (0, 0))
    norms = [x for x in all_layers(model) if isinstance(x, tfbn.BatchNorm)]
    shared = [x.moving_mean.shape[0] for x in norms if x.synchronized]
    averages = [v for x in norms if not x.synchronized for v in _averages(x)]
    tables = sum(number * (3 * channels + 1) for channels in shared)
    numbers = _size(model.trainable_variables) + _size(averages)
    return {
        "forward": (len(shared), _BYTES * tables),
        "backward": (len(shared), _BYTES * 2 * sum(shared)),
        "step": (1, _BYTES * (numbers + 1 + batch_size * outputs)),
    }


def _averages(norm):
    """The variables of a layer that differ from slice to slice: all but counters."""
    return [v for v in norm.non_trainable_variables if tf.as_dtype(v.dtype).is_floating]


def _size(variables):
    return sum(math.prod(variable.shape) for variable in variables)
