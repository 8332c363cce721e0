"""Small models of every kind, with examples and a loss, for tests of training."""

from typing import Any
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfbn import data
from tfbn import layers
from tfbn import schedules

SIZE = 40  # examples
BATCH = 8


class Problem(NamedTuple):
    """A function that makes the model, and what `compile` and `fit` take with it."""

    make: Any
    x: Any
    y: Any
    options: dict

    def batches(self, kind):
        """The same batches as in-memory arrays, as a function or as a dataset."""
        sampler = data.IIDBatches(SIZE, BATCH, seed=3)

        def batch(step):
            indices = sampler.indices(step)
            return keras.tree.map_structure(lambda a: a[indices], (self.x, self.y))

        if kind == "arrays":
            return data.ArrayBatches(self.x, self.y, sampler)
        if kind == "function":
            return batch
        indices = tf.data.Dataset.from_tensor_slices(
            np.stack([sampler.indices(step) for step in range(60)])
        )
        parts = keras.tree.map_structure(tf.constant, (self.x, self.y))
        return indices.map(
            lambda i: tf.nest.map_structure(lambda a: tf.gather(a, i), parts)
        )


def problem(kind):
    """The `Problem` of a kind of model."""
    rng = np.random.default_rng(0)

    def reals(units):
        return rng.normal(size=(SIZE, units)).astype("float32")

    labels = rng.integers(3, size=SIZE)
    if kind == "functional":
        return Problem(
            two_inputs_and_outputs,
            {"left": reals(4), "right": reals(5)},
            {"real": reals(2), "label": labels},
            {
                "loss": {
                    "real": "mse",
                    "label": keras.losses.SparseCategoricalCrossentropy(True),
                },
                "loss_weights": {"real": 0.5, "label": 2.0},
                "metrics": {"real": ["mae"], "label": ["accuracy"]},
            },
        )
    make = {"sequential": sequential, "subclassed": _Subclassed.built_one}[kind]
    options = {
        "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "metrics": ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)],
    }
    return Problem(make, reals(4), labels, options)


def two_inputs_and_outputs():
    left, right = keras.Input((4,), name="left"), keras.Input((5,), name="right")
    both = keras.layers.Concatenate()([keras.layers.Dense(3)(left), right])
    hidden = keras.layers.BatchNormalization()(both)
    outputs = {
        "real": keras.layers.Dense(2, name="real")(hidden),
        "label": keras.layers.Dense(3, name="label")(hidden),
    }
    return keras.Model({"left": left, "right": right}, outputs)


def sequential():
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(5, name="hidden"),
            keras.layers.Dense(3, name="logits"),
        ]
    )


class _Subclassed(keras.Model):
    """Its name is no name of a scope of TensorFlow's."""

    def __init__(self):
        super().__init__()
        self.hidden = keras.layers.Dense(5)
        self.norm = keras.layers.BatchNormalization()
        self.logits = keras.layers.Dense(3)

    def call(self, x, training=None):
        return self.logits(self.norm(self.hidden(x), training=training))

    @classmethod
    def built_one(cls):
        model = cls()
        model(np.zeros((1, 4), "float32"))
        return model


def with_all_state():
    """A model with averages, a schedule's step, seeds of noise and of dropout."""
    rmax, dmax = schedules.ioffe_2017(17)
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, kernel_regularizer="l2", name="hidden"),
            layers.BatchRenorm(momentum=0.9, rmax=rmax, dmax=dmax),
            layers.ActivationNoise(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, name="logits"),
        ]
    )
