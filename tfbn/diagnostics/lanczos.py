"""Lanczos's method on the Hessian of a loss.

m steps of the three-term recurrence from a random vector v of length 1,

```
w = H q_j - beta_{j-1} q_{j-1}       alpha_j = <w, q_j>          q_1 = v, beta_0 = 0
w <- w - alpha_j q_j                 beta_j = |w|                q_{j+1} = w / beta_j
```

yield a tridiagonal T (alpha on the diagonal, beta beside it). Its eigenvalues are the
nodes, and the squared first components of its eigenvectors the weights, of the Gauss
quadrature of the spectral density weighted by v: sum(weights * f(nodes)) = v' f(H) v
for every polynomial f of degree up to 2m - 1 (Golub & Welsch 1969). Its largest and
smallest nodes approach the extreme eigenvalues of H from inside.
"""

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import hessian
from tfbn.diagnostics import measurement
from tfbn.diagnostics import progress
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State


class Spectrum(NamedTuple):
    """What a run found. All is NaN if a product is not finite.

    Attributes:
        nodes, weights: float64 arrays `[iterations]`, in ascending order of the nodes.
        residual, smallest_residual: floats, |beta_m s_m| of the eigenvectors s of T
            that belong to the largest and to the smallest node.
    """

    nodes: np.ndarray
    weights: np.ndarray
    residual: float
    smallest_residual: float


class Lanczos:
    """Runs Lanczos's method on the Hessian, or on a block of it.

    Args:
        loss: `LossFunction`.
        indices: list of int, which parameters make the block; None: all.
        iterations, tolerance, both_ends, seed, jit_compile: as in `CurvatureMeter`.

    Attributes:
        most_iterations: int, the products that a run makes unless it stops early.
    """

    def __init__(
        self,
        loss: LossFunction,
        indices: Sequence[int] | None = None,
        *,
        iterations: int,
        tolerance: float,
        seed: int,
        both_ends: bool = False,
        jit_compile: bool = False,
    ):
        self._loss = loss
        self._both_ends = validation.boolean("both_ends", both_ends)
        self._tolerance = validation.number("tolerance", tolerance, minimum=0.0)
        self._seed = validation.integer("seed", seed, minimum=0)
        variables = loss.model.trainable_variables
        self._indices = range(len(variables)) if indices is None else indices
        variables = [variables[i] for i in self._indices]
        self._shapes = [tuple(v.shape) for v in variables]
        # Vectors in half precision would not stay orthogonal.
        self._dtypes = [
            tf.float64 if v.dtype == "float64" else tf.float32 for v in variables
        ]
        size = sum(int(np.prod(shape)) for shape in self._shapes)
        iterations = validation.integer("iterations", iterations, minimum=1)
        self.most_iterations = min(iterations, size)
        self._rounding = 10.0 * max(
            np.finfo(t.as_numpy_dtype).eps for t in self._dtypes
        )
        self._step = measurement.compiled(self._lanczos_step, jit_compile=jit_compile)

    def run(self, state: State, x: Any, y: Any) -> "Spectrum":
        """Runs at `state` on a batch, or a dataset and None."""
        current = self._start()
        previous = [tf.zeros_like(v) for v in current]
        alphas, betas, coefficients = [], [], tf.zeros([2], tf.float64)
        for _ in range(self.most_iterations):
            coefficients, following = self._step(
                *state, x, y, previous, current, coefficients[1]
            )
            alpha, beta = coefficients.numpy().tolist()
            alphas.append(alpha)
            progress.report(len(alphas), self.most_iterations)
            if not np.isfinite(alpha + beta):
                nothing = np.full([len(alphas)], np.nan)
                return Spectrum(nothing, nothing, np.nan, np.nan)
            nodes, vectors = _eigen(alphas, betas)
            residuals = np.abs(beta * vectors[-1])
            if self._is_done(nodes, residuals, beta):
                break
            betas.append(beta)
            previous, current = current, following
        return Spectrum(
            nodes, np.square(vectors[0]), float(residuals[-1]), float(residuals[0])
        )

    def _is_done(self, nodes, residuals, beta):
        converged = residuals <= self._tolerance * np.abs(nodes)
        ends = converged[[0, -1]] if self._both_ends else converged[-1:]
        # In the second case the vectors span an invariant subspace.
        return ends.all() or beta <= self._rounding * np.max(np.abs(nodes))

    def _start(self):
        """Returns a random vector of length 1."""
        vectors = [
            tf.random.stateless_normal(shape, [self._seed, i], dtype=dtype)
            for i, shape, dtype in zip(
                self._indices, self._shapes, self._dtypes, strict=True
            )
        ]
        return _scaled(1.0 / measurement.norm(vectors), vectors)

    def _lanczos_step(self, parameters, buffers, x, y, previous, current, beta):
        """Returns `([alpha, beta], the next vector)`."""
        loss, image = hessian.vector_product(
            self._loss, self._indices, (parameters, buffers), x, y, current
        )
        rest = measurement.plus(image, -beta, previous)
        alpha = measurement.dot(rest, current)
        rest = measurement.plus(rest, -alpha, current)
        beta = measurement.norm(rest)
        # A product can be finite although the loss is not.
        alpha = tf.where(tf.math.is_finite(loss), alpha, np.nan)
        return tf.stack([alpha, beta]), _scaled(tf.math.reciprocal_no_nan(beta), rest)


def _eigen(alphas, betas):
    """Returns the eigenvalues, ascending, and eigenvectors of the tridiagonal T."""
    matrix = np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)
    return np.linalg.eigh(matrix)


def _scaled(factor, tensors):
    return [tf.cast(factor, t.dtype) * t for t in tensors]
