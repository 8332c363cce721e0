"""The layers that are compared."""

import importlib.util

import keras

import tfbn

EPSILON = 1e-3
RMAX, DMAX = 3.0, 5.0

NAMES = {
    "keras_bn": "Keras BN",
    "tfbn_bn": "tfbn BN",
    "keras_renorm": "Keras renorm",
    "tfbn_renorm": "tfbn renorm",
}
# A layer by TensorFlow's fused kernel: fast, and not exact where the mean is large.
FUSED = "tf_keras_bn"


def available():
    """`NAMES`, and `FUSED` where tf_keras is installed."""
    return [*NAMES, FUSED] if importlib.util.find_spec("tf_keras") else [*NAMES]


def make(name, dtype, *, rmax=RMAX, dmax=DMAX):
    """A new layer.

    Args:
        name: one of `NAMES`, or `FUSED`.
        dtype: str, that of the inputs; a half precision makes a mixed policy.
        rmax, dmax: floats, renorm's bounds.
    """
    options = {"epsilon": EPSILON, "dtype": policy(dtype)}
    if name == "tfbn_bn":
        return tfbn.BatchNorm(**options)
    if name == "tfbn_renorm":
        return tfbn.BatchRenorm(rmax=rmax, dmax=dmax, **options)
    if name == FUSED:
        return _fused(options)
    if name == "keras_bn":
        return keras.layers.BatchNormalization(**options)
    clipping = {"rmax": rmax, "rmin": 1.0 / rmax, "dmax": dmax}
    return keras.layers.BatchNormalization(
        renorm=True, renorm_clipping=clipping, **options
    )


def _fused(options):
    import tf_keras

    return tf_keras.layers.BatchNormalization(**options)


def policy(dtype):
    """The Keras dtype policy whose layers compute in `dtype`."""
    return dtype if dtype == "float32" else f"mixed_{dtype}"
