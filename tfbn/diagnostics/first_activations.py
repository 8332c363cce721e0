"""The activations that drifts are told from, kept over the end of a process."""

import json

import numpy as np
import tensorflow as tf

from tfbn.diagnostics.activations import Activations
from tfbn.diagnostics.activations import LayerActivations


class FirstActivations(tf.train.experimental.PythonState):
    """A place for `Activations` that `tf.train.Checkpoint` saves and restores.

    Attributes:
        activations: `Activations`, or None.
    """

    def __init__(self):
        super().__init__()
        self.activations = None

    def serialize(self):
        """The activations as text, every float to its last bit."""
        layers = [
            {k: np.asarray(v).tolist() for k, v in layer._asdict().items()}
            for layer in self.activations or ()
        ]
        return json.dumps(None if self.activations is None else layers)

    def deserialize(self, string_value):
        """Takes over the activations of a text."""
        layers = json.loads(string_value)
        self.activations = None if layers is None else Activations(map(_layer, layers))


def _layer(values):
    arrays = {k: np.asarray(v) if isinstance(v, list) else v for k, v in values.items()}
    return LayerActivations(**arrays)
