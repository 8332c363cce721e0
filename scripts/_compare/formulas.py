"""What each library's layer computes in training, in float64.

A reference takes a case (`x`, `upstream`, `epsilon`; for renorm `moving_mean`,
`moving_stddev`, `rmax`, `dmax`) and returns the output and the gradient of the input,
for gamma 1 and beta 0. r and d have no gradient.
"""

import numpy as np


def batch_norm(case):
    """`(x - mean) / sqrt(var + epsilon)`, with the biased variance: every library."""
    mean, var, axes = _moments(case)
    return _renormalized(mean, var, axes, case, 1.0, 0.0)


def tf_renorm(case):
    """tfbn, Keras, tf_keras: `sigma = max(moving_stddev, sqrt(epsilon))`."""
    sigma = np.maximum(case["moving_stddev"], np.sqrt(case["epsilon"]))
    return _paper(case, sigma)


def torchrl_renorm(case):
    """torchrl: the average is of the variance, `sigma = sqrt(moving_var + epsilon)`."""
    return _paper(case, np.sqrt(case["moving_stddev"] ** 2 + case["epsilon"]))


def sbx_renorm(case):
    """sbx: likewise, and `y = (r (x - mean) + d sqrt(var)) / sqrt(var + epsilon r^2)`.

    The gradient goes through `sqrt(var)` too.
    """
    mean, var, axes = _moments(case)
    sigma = np.sqrt(case["moving_stddev"] ** 2 + case["epsilon"])
    r, d = _correction(case, mean, var, sigma)
    x, upstream = _doubles(case)
    root, scale = np.sqrt(var), np.sqrt(var + case["epsilon"] * r**2)
    y = (r * (x - mean) + d * root) / scale
    centered = upstream - upstream.mean(axes)
    of_var = upstream.mean(axes) * d / (root * scale)
    of_var -= np.mean(upstream * y, axes) / scale**2
    return y, r / scale * centered + (x - mean) * of_var


def _paper(case, sigma):
    mean, var, axes = _moments(case)
    r, d = _correction(case, mean, var, sigma)
    return _renormalized(mean, var, axes, case, r, d)


def _correction(case, mean, var, sigma):
    r = np.sqrt(var + case["epsilon"]) / sigma
    d = (mean - case["moving_mean"]) / sigma
    return (
        np.clip(r, 1.0 / case["rmax"], case["rmax"]),
        np.clip(d, -case["dmax"], case["dmax"]),
    )


def _renormalized(mean, var, axes, case, r, d):
    x, upstream = _doubles(case)
    sigma = np.sqrt(var + case["epsilon"])
    normalized = (x - mean) / sigma
    along = np.mean(upstream * normalized, axes) * normalized
    gradient = (upstream - upstream.mean(axes) - along) * r / sigma
    return normalized * r + d, gradient


def _moments(case):
    x, _ = _doubles(case)
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    return mean, np.square(x - mean).mean(axes), axes


def _doubles(case):
    return case["x"].astype(np.float64), case["upstream"].astype(np.float64)
