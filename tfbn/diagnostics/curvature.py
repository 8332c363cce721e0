"""Curvature of the training loss: extreme eigenvalues of its Hessian, by Lanczos.

The effective beta-smoothness of Santurkar et al. 2018 (arXiv 1805.11604, section 3.1)
is measured along the gradient. The largest eigenvalue of the Hessian is the smoothness
at a point over all directions, and 2 / eigenvalue the largest step at which gradient
descent on the local quadratic is stable. The paper does not measure it; the method here
is that of Ghorbani et al. 2019 (arXiv 1901.10159): m steps of Lanczos's three-term
recurrence from a random vector v of length 1,

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

from typing import Any
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import hessian
from tfbn.diagnostics import measurement
from tfbn.diagnostics._layer_groups import Groups
from tfbn.diagnostics._layer_groups import LayerGroup
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.diagnostic import Diagnostic
from tfbn.diagnostics.diagnostic import Meter
from tfbn.diagnostics.diagnostic import RecordKind
from tfbn.diagnostics.diagnostic import TrainingStep
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.options import Option


class Curvature(NamedTuple):
    """The result of Lanczos for one Hessian, or for the block of a layer group.

    Attributes:
        eigenvalue: float, the largest (algebraic) eigenvalue. NaN, like everything
            else, if the loss or a product is not finite.
        smallest: float, the smallest node: the smallest eigenvalue, or above it where
            it has not converged.
        residual: float, |H v - eigenvalue * v| of the eigenvector found, estimated as
            |beta_m s_m|: H has an eigenvalue at most this far away. Rounding errors
            are not included.
        iterations: int, Hessian-vector products made.
        nodes, weights: float64 arrays `[iterations]`, in ascending order of the nodes;
            the weights sum to 1.
        name: str, of the group; None for all parameters.
        layers: tuple of `Curvature`, one per group; empty unless requested.
    """

    eigenvalue: float
    smallest: float
    residual: float
    iterations: int
    nodes: np.ndarray
    weights: np.ndarray
    name: str | None = None
    layers: tuple = ()

    def record(self) -> dict[str, Any]:
        """Returns the values of a "curvature" record."""
        return {
            "eigenvalue": self.eigenvalue,
            "smallest": self.smallest,
            "residual": self.residual,
            "iterations": self.iterations,
            "nodes": self.nodes.tolist(),
            "weights": self.weights.tolist(),
            "layers": [
                {"name": c.name, "eigenvalue": c.eigenvalue, "residual": c.residual}
                for c in self.layers
            ],
        }


class CurvatureMeter(Meter):
    """Measures the curvature of one model's loss, as a whole and layer by layer.

    A layer's curvature is that of its block of the Hessian: second derivatives with
    respect to the parameters of its group, all others fixed.

    Lanczos runs without reorthogonalisation: in long runs the vectors lose
    orthogonality, and eigenvalues that have converged appear as nodes again. This
    leaves extreme eigenvalues as they are, and copies share the weight of the original
    (Paige 1980). A start vector that happens to be nearly orthogonal to the first
    eigenvector finds the next one instead; compare another `seed`.

    Derivatives are TensorFlow's: ReLU and max pooling are piecewise linear, so their
    second derivative is 0; `BatchRenorm`'s r and d are constants in second derivatives
    as in first ones, and so is everything behind a stopped gradient. The exception is
    `tf.nn.moments`, which treats the mean in the variance as such a constant: the
    Hessian of Keras's batch and group normalisation would be wrong, and is corrected
    here. In half precision a product has the rounding errors of that precision, about
    1e-2 (bfloat16) or 1e-3 (float16) of it.

    Cost: at most `iterations` Hessian-vector products, and as many for each group, each
    about three forward and backward passes; memory of three vectors of the parameters'
    size, and about twice the activations of a training step. The first call traces one
    product, and one per group.

    No state changes.

    Args:
        model: a built Keras model.
        loss: function `loss(y_true, y_pred)` -> scalar.
        groups: as in `layer_groups`; for `per_layer=True` only.
        per_layer: bool, measure each group too. Default False.
        iterations: int >= 1, the largest number of products. Default 100, of which few
            are made until the early stop; Ghorbani et al. use 90 for a density. There
            are never more than parameters.
        tolerance: float >= 0; a run stops when residual <= tolerance * |eigenvalue|.
            Default 1e-3 (PyHessian's for its power iteration); the eigenvalue is then
            exact to about tolerance^2 times eigenvalue / gap. Use 0 for a density: all
            iterations are made, unless the vectors span an invariant subspace earlier.
        seed: int >= 0, of the start vector. Default 0.
        training: bool, the model's mode: batch statistics and noise. Default True.
        jit_compile: bool, whether XLA compiles the product. Default False.

    Raises:
        ValueError: for an argument outside its range, groups without `per_layer`, a
            model without trainable variables, or a group that names an unknown layer.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        *,
        groups: Groups = None,
        per_layer: bool = False,
        iterations: int = 100,
        tolerance: float = 1e-3,
        seed: int = 0,
        training: bool = True,
        jit_compile: bool = False,
    ):
        if not validation.boolean("per_layer", per_layer) and groups is not None:
            raise ValueError(
                "groups must be None unless per_layer is True. Received: "
                f"groups={groups}, per_layer=False. Set per_layer=True."
            )
        loss = LossFunction(model, loss, training=training)
        options = _options(iterations, tolerance, seed, jit_compile)
        chosen = layer_groups(model, groups) if per_layer else []
        self._whole = _Block(loss, _all_parameters(model), **options)
        self._parts = [_Block(loss, group, **options) for group in chosen]

    def measure(self, step: TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record "curvature" of the step's batch, before the update."""
        return {"curvature": self(step.before, *step.batch).record()}

    def __call__(self, state: State, x: Any, y: Any) -> Curvature:
        """Measures at `state`.

        Args:
            state: `State`.
            x, y: the batch: tensors, or structures of them.

        Returns:
            The `Curvature` of all parameters, with that of the groups in `layers`.
        """
        whole = self._whole.spectrum(state, x, y)
        return whole._replace(
            layers=tuple(b.spectrum(state, x, y) for b in self._parts)
        )

    @property
    def cost(self) -> measurement.Cost:
        """The `Cost` of a measurement, if no run stops early."""
        products = sum(block.most_iterations for block in [self._whole, *self._parts])
        return measurement.Cost(passes=hessian.PASSES * products, copies=3)


def hessian_top_eigenvalue(
    model: keras.Model,
    loss: Loss,
    x: Any,
    y: Any,
    *,
    group: str | None = None,
    iterations: int = 100,
    tolerance: float = 1e-3,
    seed: int = 0,
    training: bool = True,
) -> Curvature:
    """Measures the largest eigenvalue of the Hessian of a model's loss.

    Args:
        model, loss, iterations, tolerance, seed, training: as in `CurvatureMeter`.
        x, y: a batch: arrays, tensors, or structures of them.
        group: None for all parameters, or the name of one of `layer_groups(model)` for
            its block of the Hessian.

    Returns:
        The `Curvature` at the model's present weights. Cost: that of `CurvatureMeter`,
        and a new trace with every call. No state changes.

    Raises:
        ValueError: for an argument outside its range, an unknown group, a model
            without trainable variables, or a batch that does not fit.
    """
    loss = LossFunction(model, loss, training=training)
    chosen = _all_parameters(model)
    if group is not None:
        groups = {g.name: g for g in layer_groups(model)}
        chosen = groups[validation.choice("group", group, tuple(groups))]
    options = _options(iterations, tolerance, seed, jit_compile=False)
    x, y = measurement.as_batch(x, y)
    return _Block(loss, chosen, **options).spectrum(snapshot(model), x, y)


class _Block:
    """The block of the Hessian that belongs to a group; runs Lanczos with it."""

    def __init__(self, loss, group, *, iterations, tolerance, seed, jit_compile):
        self._loss, self._group = loss, group
        self._tolerance, self._seed = tolerance, seed
        variables = [loss.model.trainable_variables[i] for i in group.indices]
        self._shapes = [tuple(v.shape) for v in variables]
        # Vectors in half precision would not stay orthogonal.
        self._dtypes = [
            tf.float64 if v.dtype == "float64" else tf.float32 for v in variables
        ]
        size = sum(int(np.prod(shape)) for shape in self._shapes)
        self.most_iterations = min(iterations, size)
        self._rounding = 10.0 * max(
            np.finfo(t.as_numpy_dtype).eps for t in self._dtypes
        )
        self._step = measurement.compiled(self._lanczos_step, jit_compile=jit_compile)

    def spectrum(self, state, x, y):
        """Returns the `Curvature` of one run."""
        current = self._start()
        previous = [tf.zeros_like(v) for v in current]
        alphas, betas, coefficients = [], [], tf.zeros([2], tf.float64)
        for _ in range(self.most_iterations):
            coefficients, following = self._step(
                *state, x, y, previous, current, coefficients[1]
            )
            alpha, beta = coefficients.numpy().tolist()
            alphas.append(alpha)
            if not np.isfinite(alpha + beta):
                return _undefined(len(alphas), self._group.name)
            nodes, vectors = _eigen(alphas, betas)
            residual = abs(beta * vectors[-1, -1])
            # In the second case the vectors span an invariant subspace.
            if residual <= self._tolerance * abs(nodes[-1]) or beta <= (
                self._rounding * np.max(np.abs(nodes))
            ):
                break
            betas.append(beta)
            previous, current = current, following
        return Curvature(
            float(nodes[-1]),
            float(nodes[0]),
            float(residual),
            len(alphas),
            nodes,
            np.square(vectors[0]),
            self._group.name,
        )

    def _start(self):
        """Returns a random vector of length 1."""
        vectors = [
            tf.random.stateless_normal(shape, [self._seed, i], dtype=dtype)
            for i, shape, dtype in zip(
                self._group.indices, self._shapes, self._dtypes, strict=True
            )
        ]
        return _scaled(1.0 / measurement.norm(vectors), vectors)

    def _lanczos_step(self, parameters, buffers, x, y, previous, current, beta):
        """Returns `([alpha, beta], the next vector)`."""
        loss, image = hessian.vector_product(
            self._loss, self._group.indices, (parameters, buffers), x, y, current
        )
        rest = _plus(image, -beta, previous)
        alpha = measurement.dot(rest, current)
        rest = _plus(rest, -alpha, current)
        beta = measurement.norm(rest)
        # A product can be finite although the loss is not.
        alpha = tf.where(tf.math.is_finite(loss), alpha, np.nan)
        return tf.stack([alpha, beta]), _scaled(tf.math.reciprocal_no_nan(beta), rest)


def _all_parameters(model):
    return LayerGroup(None, list(range(len(model.trainable_variables))))


def _options(iterations, tolerance, seed, jit_compile):
    return {
        "iterations": validation.integer("iterations", iterations, minimum=1),
        "tolerance": validation.number("tolerance", tolerance, minimum=0.0),
        "seed": validation.integer("seed", seed, minimum=0),
        "jit_compile": jit_compile,
    }


def _eigen(alphas, betas):
    """Returns the eigenvalues, ascending, and eigenvectors of the tridiagonal T."""
    matrix = np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1)
    return np.linalg.eigh(matrix)


def _undefined(iterations, name):
    nothing = np.full([iterations], np.nan)
    return Curvature(np.nan, np.nan, np.nan, iterations, nothing, nothing, name)


def _plus(a, factor, b):
    """Returns `a + factor * b` for two lists of tensors."""
    return [p + tf.cast(factor, p.dtype) * q for p, q in zip(a, b, strict=True)]


def _scaled(factor, tensors):
    return [tf.cast(factor, t.dtype) * t for t in tensors]


DIAGNOSTIC = Diagnostic(
    name="curvature",
    title="the Hessian's largest eigenvalue and spectrum",
    details="by Lanczos's method",
    cost="about three steps an iteration",
    make=CurvatureMeter,
    kinds=(
        RecordKind(
            "curvature",
            values={
                "eigenvalue": "the largest",
                "smallest": "the smallest found",
                "residual": "distance from the largest to an eigenvalue, at most",
                "iterations": "Hessian-vector products made",
                "nodes": "of Lanczos's quadrature of the spectral density",
                "weights": "of the nodes",
            },
            layer_values={
                "eigenvalue": "the largest of the layer's block",
                "residual": "as above",
            },
            figures={
                "curvature": "largest eigenvalue of the Hessian, beside 2 / learning "
                "rate",
                "hessian_spectrum": "density of all its eigenvalues, of the last "
                "measurement",
            },
            layer_columns={"eigenvalue": "eigenvalue"},
            totals={
                "largest eigenvalue of the Hessian": "eigenvalue",
                "smallest eigenvalue found": "smallest",
            },
            divergence="eigenvalue",
            without_bands=("nodes", "weights"),
        ),
    ),
    options=(
        Option("iterations", 20, "Curvature: most iterations of Lanczos.", minimum=1),
        Option(
            "per_layer",
            False,
            "Curvature: of each layer too, at as many iterations each.",
        ),
    ),
    arguments=("groups", "tolerance", "seed"),
)
