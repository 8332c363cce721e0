"""One model with batch-norm layers at two depths, of Keras, tf_keras and tfbn."""

import functools
import os
import tempfile

import keras
import numpy as np
import tf_keras

import tfbn

X = np.random.default_rng(7).normal(size=(8, 6)).astype("float32")

# For the three layers of a model; tf_keras's have its module as a prefix.
NORMS = {
    "keras": [keras.layers.BatchNormalization] * 3,
    "keras_renorm": [functools.partial(keras.layers.BatchNormalization, renorm=True)]
    * 3,
    "tf_keras": [tf_keras.layers.BatchNormalization] * 3,
    "tf_keras_renorm": [
        functools.partial(tf_keras.layers.BatchNormalization, renorm=True)
    ]
    * 3,
    "batch_norm": [tfbn.BatchNorm] * 3,
    "batch_renorm": [tfbn.BatchRenorm] * 3,
    "two_sets": [functools.partial(tfbn.BatchRenorm, renorm_momentum=0.5)] * 3,
    "mixed": [tfbn.BatchRenorm, tfbn.NoisyBatchNorm, keras.layers.BatchNormalization],
    "mixed_otherwise": [
        keras.layers.BatchNormalization,
        functools.partial(keras.layers.BatchNormalization, renorm=True),
        tfbn.BatchNorm,
    ],
}


def build(norms, names=(None, None, None), width=5):
    """The model, with a name of `NORMS` or three functions that make its norms."""
    k = tf_keras if str(norms).startswith("tf_keras") else keras
    first, inner, last = NORMS.get(norms, norms) if isinstance(norms, str) else norms
    inputs = k.Input((width,))
    block = k.Sequential(
        [inputs, k.layers.Dense(4), inner(name=names[1]), k.layers.Dense(width)]
    )
    inputs = k.Input((6,))
    x = k.layers.Dense(width, use_bias=False)(inputs)
    x = first(name=names[0])(x)
    x = k.layers.Dropout(0.5)(block(x))
    return k.Model(inputs, k.layers.Dense(2)(last(name=names[2])(x)))


def randomize(model, seed=0):
    """Other weights, in which the averages fit together."""
    rng = np.random.default_rng(seed)
    by_name = {}
    for weight in model.weights:
        name = getattr(weight, "path", weight.name).split(":")[0]
        value = rng.uniform(0.5, 2.0, size=weight.shape)
        by_name[name] = value
        layer, _, kind = name.rpartition("/")
        if kind == "moving_stddev":
            value = np.sqrt(by_name[f"{layer}/moving_variance"] + 1e-3)
        elif kind.startswith("renorm_"):
            value = by_name[f"{layer}/{kind.replace('renorm', 'moving')}"]
        elif kind == "step":
            value = 41 + seed
        by_name[name] = value
        weight.assign(np.asarray(value, np.int64 if kind == "step" else np.float32))
    return model


@functools.cache
def _built(norms):
    return build(norms)


def other(norms):
    """A model with weights of its own; each call gives the same one."""
    return randomize(_built(norms), seed=1)


@functools.cache
def trained(norms):
    return randomize(build(norms))


@functools.cache
def saved(norms, suffix):
    """The path of a file of `trained(norms)`."""
    path = os.path.join(tempfile.mkdtemp(), f"model{suffix}")
    model = trained(norms)
    model.save(path) if suffix in (".keras", ".h5") else model.save_weights(path)
    return path
