"""The trace of the Hessian of a model's loss, estimated with random vectors.

For vectors z of independent signs, E z'Hz = tr H (Hutchinson 1989), with the variance
2 (|H|_F^2 - sum of H_ii^2). Hutch++ (Meyer, Musco, Musco & Woodruff 2021, arXiv
2010.09649, Algorithm 1) takes the trace exactly on a subspace where H is large, and
estimates the rest: with Q an orthonormal basis of HS, for random S,

```
tr H = tr(Q'HQ) + E z'(I - QQ')H(I - QQ')z
```
"""

from typing import Any
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import hessian
from tfbn.diagnostics import measurement
from tfbn.diagnostics import progress
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import snapshot

METHODS = ("hutchinson", "hutch++")


class HessianTrace(NamedTuple):
    """An estimate of the trace of a Hessian, or of a block of it.

    Attributes:
        trace: float, the estimate, without bias. The mean of the eigenvalues is
            trace / size.
        standard_error: float, of the estimate, from the spread of the samples; NaN for
            a single one.
        products: int, Hessian-vector products made.
        size: int, number of parameters, the dimension of the Hessian.
        samples: float64 array, the independent estimates whose mean is `trace`.
    """

    trace: float
    standard_error: float
    products: int
    size: int
    samples: np.ndarray


def hessian_trace(
    model: keras.Model,
    loss: Loss,
    x: Any,
    y: Any = None,
    *,
    group: str | None = None,
    products: int = 100,
    method: str = "hutchinson",
    seed: int = 0,
    training: bool = True,
) -> HessianTrace:
    """Estimates the trace of the Hessian of a model's loss.

    Args:
        model, loss, training: as in `CurvatureMeter`, as is what it says on
            derivatives.
        x, y: a batch: arrays, tensors, or structures of them; or a `tf.data.Dataset`
            of batches, and None, as in `LossFunction`.
        group: None for all parameters, or the name of one of `layer_groups(model)` for
            its block of the Hessian.
        products: int, Hessian-vector products: >= 2, or for "hutch++" >= 6, of which it
            uses a multiple of three. Default 100, the most that PyHessian makes.
        method: "hutchinson" (default), or "hutch++", whose error falls as 1 / products
            instead of 1 / sqrt(products) if all eigenvalues have one sign, and which
            gains where few eigenvalues are large. It keeps products / 3 vectors of
            the parameters' size, twice in float64.
        seed: int >= 0, of the random vectors. Default 0.

    Returns:
        A `HessianTrace`; NaN if a product is not finite. Cost: `products` products of
        about three forward and backward passes each; memory of two vectors of the
        parameters' size besides those above, and about twice the activations of a
        training step. No state changes.

    Raises:
        ValueError: for an argument outside its range, an unknown group, a model
            without trainable variables, or a batch that does not fit.
    """
    method = validation.choice("method", method, METHODS)
    fewest = 2 if method == "hutchinson" else 6
    products = validation.integer("products", products, minimum=fewest)
    rng = np.random.default_rng(validation.integer("seed", seed, minimum=0))
    function = LossFunction(model, loss, training=training)
    indices = list(range(len(model.trainable_variables)))
    if group is not None:
        groups = {g.name: g.indices for g in layer_groups(model)}
        indices = groups[validation.choice("group", group, tuple(groups))]
    batch = measurement.as_batch(x, y, many=True)
    product = _Product(function, indices, batch, products)
    estimate = _hutchinson if method == "hutchinson" else _hutch_plus_plus
    samples = estimate(product, products, rng)
    error = np.std(samples, ddof=1) / np.sqrt(len(samples))
    mean = np.mean(samples)
    return HessianTrace(float(mean), float(error), product.made, product.size, samples)


class _Product:
    """The Hessian times flat float64 vectors, at a model's present weights."""

    def __init__(self, function, indices, batch, total):
        self._function, self._indices, self._batch = function, indices, batch
        self._state = snapshot(function.model)
        variables = [function.model.trainable_variables[i] for i in indices]
        self._shapes = [tuple(v.shape) for v in variables]
        # Vectors in half precision would lose most of their digits.
        self._dtypes = [
            tf.float64 if v.dtype == "float64" else tf.float32 for v in variables
        ]
        self._ends = np.cumsum([int(np.prod(shape)) for shape in self._shapes])
        self.size = int(self._ends[-1])
        self._total, self.made = total, 0
        self._traced = measurement.compiled(self._of_tensors)

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """Returns H times a vector `[size]`."""
        length = np.linalg.norm(vector) or 1.0  # products are of vectors of length 1
        parts = np.split(vector / length, self._ends[:-1])
        tensors = [
            tf.constant(part.reshape(shape), dtype)
            for part, shape, dtype in zip(
                parts, self._shapes, self._dtypes, strict=True
            )
        ]
        loss, products = self._traced(*self._state, *self._batch, tensors)
        self.made += 1
        progress.report(self.made, self._total)
        # A product can be finite although the loss is not.
        scale = length if np.isfinite(loss.numpy()) else np.nan
        flat = [product.numpy().ravel() for product in products]
        return scale * np.concatenate(flat).astype(np.float64)

    def _of_tensors(self, parameters, buffers, x, y, vectors):
        state = parameters, buffers
        return hessian.vector_product(
            self._function, self._indices, state, x, y, vectors
        )


def _signs(rng, size):
    return 2.0 * rng.integers(0, 2, size) - 1.0


def _hutchinson(product, count, rng):
    """Returns the estimates of `count` vectors."""
    vectors = (_signs(rng, product.size) for _ in range(count))
    return np.array([z @ product(z) for z in vectors])


def _hutch_plus_plus(product, count, rng):
    """Returns the estimates of a third of `count` vectors, beside a subspace."""
    third = min(count // 3, product.size)
    images = [product(_signs(rng, product.size)) for _ in range(third)]
    if not np.isfinite(images).all():
        return np.full([third], np.nan)
    basis, _ = np.linalg.qr(np.transpose(images))
    exact = sum(q @ product(q) for q in basis.T)

    def rest():
        z = _signs(rng, product.size)
        z -= basis @ (basis.T @ z)
        return z @ product(z)

    return exact + np.array([rest() for _ in range(third)])
