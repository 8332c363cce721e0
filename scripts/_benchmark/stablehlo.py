"""A layer's training step as a StableHLO module and a file with its inputs."""

import os
import re

import keras
import numpy as np
import tensorflow as tf
from _benchmark import candidates

from tfbn import ops
from tfbn.commands import list_flags
from tfbn.files import atomic


def export(folder, name, shape, dtype, *, seed, check, target="gpu"):
    """Writes `<name>_<shape>_<dtype>.stablehlo` and `.npz`; returns both paths.

    Args:
        folder: str.
        name: one of `candidates.NAMES`.
        shape: tuple, that of x, channels last.
        dtype: str, that of x.
        seed: int, of the inputs.
        check: bool, whether the file is to hold the results too.
        target: str, what XLA is to compile the module for: see `ops.compiling_for`.
    """
    layer = candidates.make(name, dtype)
    layer.build(shape)
    step = compiled(training_step(layer))
    recipes = [_recipe(seed + i, shape, dtype) for i in range(2)]
    weights = _random_weights(layer, seed)
    specs = [tf.TensorSpec(shape, dtype)] * 2
    specs += [tf.TensorSpec(weight.shape, weight.dtype) for weight in weights]
    text = module_text(step, specs, target)
    inputs, outputs = [*recipes, *weights], []
    if check:
        x, dy = map(draw, recipes)
        outputs = [tf.cast(y, tf.float32).numpy() for y in step(x, dy, *weights)]
        # NumPy's format has no bfloat16: that stays a recipe.
        inputs = [*([x, dy] if dtype != "bfloat16" else recipes), *weights]
    path = os.path.join(folder, f"{name}_{list_flags.shape_text(shape)}_{dtype}")
    with atomic.replacing(f"{path}.stablehlo") as file:
        file.write(text)
    with atomic.replacing(f"{path}.npz", "wb") as file:
        np.savez(file, **_numbered("in", inputs), **_numbered("out", outputs))
    return f"{path}.stablehlo", f"{path}.npz"


def export_program(folder, program, *, seed, target="gpu"):
    """Writes a program of `_ahead_of_time.programs`, as `export` does a layer.

    Its inputs are drawn: images, and weights of a size with which no activation
    overflows.
    """
    _, specs = program.make()
    scales = [1.0] + [_WEIGHT_SCALE] * (len(specs) - 1)
    inputs = [
        _recipe(seed + i, spec.shape, spec.dtype.name, scale)
        if spec.dtype.is_floating
        else np.zeros(spec.shape, spec.dtype.as_numpy_dtype)
        for i, (spec, scale) in enumerate(zip(specs, scales, strict=True))
    ]
    path = os.path.join(folder, program.name)
    with atomic.replacing(f"{path}.stablehlo") as file:
        file.write(program.text(target))
    with atomic.replacing(f"{path}.npz", "wb") as file:
        np.savez(file, **_numbered("in", inputs))
    return f"{path}.stablehlo", f"{path}.npz"


def compiled(function):
    """The function, for XLA."""
    return tf.function(function, autograph=False, jit_compile=True)


def module_text(function, specs, target):
    """The StableHLO of a `compiled` function for inputs of these specs."""
    with ops.compiling_for(target):
        text = function.experimental_get_compiler_ir(*specs)(stage="stablehlo")
    return _LOCATIONS.sub("", text)


def training_step(layer, **options):
    """Forward and backward as a function of tensors, with no variable inside.

    Args:
        layer: a built layer.
        **options: other arguments of its call.

    Returns:
        A function `(x, dy, *weights)` -> `[y, dx, dgamma, dbeta, *averages]`: weights
        are gamma, beta and the state, as `weight_specs` has them; averages, the new
        values of the state that are floats.
    """
    num_affine = len(layer.trainable_variables)

    def step(x, dy, *weights):
        affine = list(weights[:num_affine])
        before = state_of(layer, weights[num_affine:])
        with tf.GradientTape() as tape:
            tape.watch([x, *affine])
            y, after = layer.stateless_call(affine, before, x, training=True, **options)
        gradients = tape.gradient(y, [x, *affine], output_gradients=dy)
        return [y, *gradients, *(value for value in after if is_float(value))]

    return step


def weight_specs(layer):
    """The specs of the weights that a step takes.

    Steps and seeds are int32, for JAX takes no int64 by default.
    """
    weights = [*layer.trainable_variables, *layer.non_trainable_variables]
    return [
        tf.TensorSpec(w.shape, w.dtype if is_float(w) else "int32") for w in weights
    ]


def state_of(layer, values):
    """The values of the weights that are not trained, in the layer's dtypes."""
    state = layer.non_trainable_variables
    return [tf.cast(v, w.dtype) for v, w in zip(values, state, strict=True)]


def draw(recipe):
    """The tensor that a string "normal:SEED:SIZES:DTYPE" stands for."""
    _, seed, sizes, dtype = recipe.split(":")
    shape = [int(size) for size in sizes.split(",")]
    values = np.random.default_rng(int(seed)).standard_normal(shape, np.float32)
    return tf.cast(values, dtype)


def _recipe(seed, shape, dtype, scale=1.0):
    recipe = f"normal:{seed}:{','.join(map(str, shape))}:{dtype}"
    return recipe if scale == 1.0 else f"{recipe}:{scale}"


def _random_weights(layer, seed):
    """Positive values, unequal between channels; 0 for steps and seeds."""
    rng = np.random.default_rng(seed)
    return [
        tf.constant(rng.uniform(0.5, 2.0, spec.shape), spec.dtype)
        if spec.dtype.is_floating
        else tf.zeros(spec.shape, spec.dtype)
        for spec in weight_specs(layer)
    ]


def is_float(value):
    return keras.backend.is_float_dtype(keras.backend.standardize_dtype(value.dtype))


def _numbered(prefix, values):
    return {f"{prefix}{i:03d}": np.asarray(v) for i, v in enumerate(values)}


_WEIGHT_SCALE = 0.01

# Where in TensorFlow's files an operation was made: this machine's paths.
_LOCATIONS = re.compile(
    r'^#loc.*\n| loc\((#loc\d*|"[^"]*"|fused\[[^]]*\])\)', re.MULTILINE
)
