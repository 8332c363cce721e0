"""Curvature of the training loss: extreme eigenvalues of its Hessian, by Lanczos.

The effective beta-smoothness of Santurkar et al. 2018 (arXiv 1805.11604, section 3.1)
is measured along the gradient. The largest eigenvalue of the Hessian is the smoothness
at a point over all directions, and 2 / eigenvalue the largest step at which gradient
descent on the local quadratic is stable. The paper does not measure it; the method here
is that of Ghorbani et al. 2019 (arXiv 1901.10159), see `lanczos`.
"""

import functools
from typing import Any
from typing import NamedTuple

import keras
import numpy as np

from tfbn import validation
from tfbn.diagnostics import diagnostic
from tfbn.diagnostics import hessian
from tfbn.diagnostics import measurement
from tfbn.diagnostics._layer_groups import Groups
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.lanczos import Lanczos
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
        smallest_residual: float, the same of `smallest`.
        iterations: int, Hessian-vector products made.
        nodes, weights: float64 arrays `[iterations]`, in ascending order of the nodes;
            the weights sum to 1.
        name: str, of the group; None for all parameters.
        layers: tuple of `Curvature`, one per group; empty unless requested.
    """

    eigenvalue: float
    smallest: float
    residual: float
    smallest_residual: float
    iterations: int
    nodes: np.ndarray
    weights: np.ndarray
    name: str | None = None
    layers: tuple = ()

    def record(self) -> dict[str, Any]:
        """Returns the values of a "curvature" record."""
        values = measurement.plain(self)
        del values["name"]
        names = ("name", "eigenvalue", "residual")
        values["layers"] = [{n: la[n] for n in names} for la in values["layers"]]
        return values


class CurvatureMeter(diagnostic.Meter):
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
        model, loss, training, jit_compile: as in `Diagnostic.meter`.
        groups: as in `layer_groups`; for `per_layer=True` only.
        per_layer: bool, measure each group too. Default False.
        iterations: int >= 1, the largest number of products. Default 100, of which few
            are made until the early stop; Ghorbani et al. use 90 for a density. There
            are never more than parameters.
        tolerance: float >= 0; a run stops when residual <= tolerance * |eigenvalue|.
            Default 1e-3 (PyHessian's for its power iteration); the eigenvalue is then
            exact to about tolerance^2 times eigenvalue / gap. Use 0 for a density: all
            iterations are made, unless the vectors span an invariant subspace earlier.
        both_ends: bool, whether a run also waits for smallest_residual <= tolerance *
            |smallest|. Default False: the smallest eigenvalue, often closer to others,
            may be less exact than the largest, by at most its residual.
        seed: int >= 0, of the start vector. Default 0.

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
        both_ends: bool = False,
        seed: int = 0,
        training: bool = True,
        jit_compile: bool = False,
    ):
        if not validation.boolean("per_layer", per_layer) and groups is not None:
            raise ValueError(
                "groups must be None unless per_layer is True. Received: "
                f"groups={groups}, per_layer=False. Set per_layer=True."
            )
        block = functools.partial(
            Lanczos,
            LossFunction(model, loss, training=training),
            iterations=iterations,
            tolerance=tolerance,
            both_ends=both_ends,
            seed=seed,
            jit_compile=jit_compile,
        )
        self._groups = layer_groups(model, groups) if per_layer else []
        self._whole = block()
        self._parts = [block(group.indices) for group in self._groups]
        # An upper bound: no run stops early.
        products = sum(part.most_iterations for part in [self._whole, *self._parts])
        self.cost = measurement.Cost(passes=hessian.PASSES * products, copies=3)

    def measure(self, step: diagnostic.TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record "curvature" of the step's batch, before the update."""
        return {"curvature": self(step.before, *step.batch).record()}

    def __call__(self, state: State, x: Any, y: Any) -> Curvature:
        """Measures at `state`.

        Args:
            state, x, y: a `State`, and the batch as tensors or structures of tensors;
                or a dataset of batches, and None.

        Returns:
            The `Curvature` of all parameters, with that of the groups in `layers`.
        """
        layers = tuple(
            _result(part.run(state, x, y), group.name)
            for part, group in zip(self._parts, self._groups, strict=True)
        )
        return _result(self._whole.run(state, x, y))._replace(layers=layers)


def hessian_top_eigenvalue(
    model: keras.Model,
    loss: Loss,
    x: Any,
    y: Any = None,
    *,
    group: str | None = None,
    iterations: int = 100,
    tolerance: float = 1e-3,
    both_ends: bool = False,
    seed: int = 0,
    training: bool = True,
) -> Curvature:
    """Measures the largest eigenvalue of the Hessian of a model's loss.

    Args:
        model, loss, iterations, tolerance, both_ends, seed, training: as in
            `CurvatureMeter`.
        x, y: a batch: arrays, tensors, or structures of them; or a `tf.data.Dataset`
            of batches, and None, as in `LossFunction`.
        group: None for all parameters, or the name of one of `layer_groups(model)` for
            its block of the Hessian.

    Returns:
        The `Curvature` at the model's present weights. Cost: that of `CurvatureMeter`,
        and a new trace with every call. No state changes.

    Raises:
        ValueError: for an argument outside its range, an unknown group, a model
            without trainable variables, or a batch that does not fit.
    """
    indices = None
    function = LossFunction(model, loss, training=training)
    if group is not None:
        groups = {g.name: g.indices for g in layer_groups(model)}
        indices = groups[validation.choice("group", group, tuple(groups))]
    lanczos = Lanczos(
        function,
        indices,
        iterations=iterations,
        tolerance=tolerance,
        both_ends=both_ends,
        seed=seed,
    )
    x, y = measurement.as_batch(x, y, many=True)
    return _result(lanczos.run(snapshot(model), x, y), group)


def _result(spectrum, name=None):
    nodes = spectrum.nodes
    return Curvature(
        eigenvalue=float(nodes[-1]),
        smallest=float(nodes[0]),
        residual=spectrum.residual,
        smallest_residual=spectrum.smallest_residual,
        iterations=len(nodes),
        nodes=nodes,
        weights=spectrum.weights,
        name=name,
    )


DIAGNOSTIC = diagnostic.Diagnostic(
    name="curvature",
    title="the Hessian's largest eigenvalue and spectrum",
    details="by Lanczos's method",
    cost="about three steps an iteration",
    make=CurvatureMeter,
    kinds=(
        diagnostic.RecordKind(
            "curvature",
            values={
                "eigenvalue": "the largest",
                "smallest": "the smallest found",
                "residual": "distance from the largest to an eigenvalue, at most",
                "smallest_residual": "distance from the smallest to one, at most",
                "iterations": "Hessian-vector products made",
                "nodes": "of Lanczos's quadrature of the spectral density",
                "weights": "of the nodes",
            },
            layer_values={
                "eigenvalue": "the largest of the layer's block",
                "residual": "as above",
            },
            optional=frozenset({"smallest_residual"}),  # of earlier versions
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
    arguments=("groups", "tolerance", "both_ends", "seed"),
    many_batches=True,
)
