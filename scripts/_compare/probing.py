"""Answers to "does this library have it?", with how they were found.

An answer is a dict: `answer` is "yes", "partly" or "no"; `how` is "probe" (code that
ran and checked what it does), "signature" (there is no such argument or name) or "read"
(the source or documentation says so); `note` is what was seen.
"""

import inspect

import numpy as np
from _compare import serving

TITLES = {
    "renorm": "Batch Renormalization",
    "schedule": "rmax and dmax as schedules of the step",
    "masks": "masks",
    "virtual_batches": "virtual (ghost) batches",
    "synchronized": "synchronized statistics",
    "synchronized_renorm": "synchronized renorm",
    "second_derivatives": "exact second derivatives",
    "mixed_precision": "half precision, statistics in float32",
    "axes": "several axes of channels",
    "nonfinite": "averages survive a NaN batch",
    "recalibration": "averages anew from data",
    "surgery": "other layers in a model that exists",
    "freezing": "freezing all layers of a model",
    "noise": "noise-injected",
    "lp": "l_1 and l_inf norms",
    "recomputation": "averages move once when recomputed",
    "folding": "folds into a convolution",
    "unbiased": "averages of the unbiased variance",
    "cumulative": "cumulative averages",
    "no_averages": "without averages",
    "backends": "other backends of Keras",
}


def yes(note="", how="probe"):
    """The library has it."""
    return {"answer": "yes", "how": how, "note": note}


def partly(note, how="probe"):
    """It has some of it: what, says the note."""
    return {"answer": "partly", "how": how, "note": note}


def no(note="", how="probe"):
    """It does not have it."""
    return {"answer": "no", "how": how, "note": note}


def check(true, note):
    """Yes or no, with what was measured."""
    return yes(note) if true else no(note)


def absent(owner, *names):
    """No: a class or function without such arguments, a module without such names."""
    if inspect.ismodule(owner):
        found = {name.lower() for name in dir(owner)}
        what = f"{owner.__name__} has no"
    else:
        found = {name.lower() for name in inspect.signature(owner).parameters}
        what = f"{owner.__qualname__} takes no"
    there = [name for name in names if any(name in other for other in found)]
    if there:
        raise LookupError(f"{owner} has {there}: it needs a probe")
    return no(f"{what} {' or '.join(names)}", "signature")


def answers(probes):
    """Runs probes: a dict from name to function, or to an answer. Errors are "no"."""
    return {name: _answer(probe) for name, probe in probes.items()}


def _answer(probe):
    if isinstance(probe, dict):
        return probe
    try:
        return probe()
    except LookupError:
        raise
    except Exception as error:  # whatever a library raises says no
        return no(serving.one_line(error))


def data(shape=(16, 6), seed=0, offset=2.0):
    """Normal float32 inputs with the channels last."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(shape) * 1.5 + offset).astype(np.float32)


# What `second_derivative_error` is at most where the derivative is right.
SECOND_DERIVATIVE_TOLERANCE = 2e-3


def distance(actual, expected):
    """max|a - b| / max|b| in float64."""
    actual, expected = (np.asarray(a, np.float64) for a in (actual, expected))
    return float(np.max(np.abs(actual - expected)) / np.max(np.abs(expected)))


def normalized(x, epsilon=1e-3, axes=None):
    """`(x - mean) / sqrt(var + epsilon)` in float64, over all axes but the last."""
    x = np.asarray(x, np.float64)
    axes = tuple(range(x.ndim - 1)) if axes is None else axes
    centered = x - x.mean(axes, keepdims=True)
    return centered / np.sqrt(np.square(centered).mean(axes, keepdims=True) + epsilon)


def second_derivative_error(product, gradient, x):
    """Error of a Hessian-vector product against differences of gradients.

    These are exact to some 3e-4 in float32; a term that is missing shows as 4e-3 or
    more.

    Args:
        product: function from x and v to H v, of some loss of x.
        gradient: function from x to its gradient.
        x: array.
    """
    v = data(x.shape, seed=5, offset=0.0)
    step = 1e-2
    differences = (gradient(x + step * v) - gradient(x - step * v)) / (2 * step)
    return distance(product(x, v), differences)
