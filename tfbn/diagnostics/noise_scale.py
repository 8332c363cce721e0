"""The gradient noise scale (McCandlish et al. 2018, arXiv 1812.06162).

Let G be the gradient of the expected loss and Sigma the covariance of the gradient of a
single example. The gradient G_B of a batch of B independent examples has

```
E |G_B|^2 = |G|^2 + tr(Sigma) / B
```

so squared norms at two batch sizes b < B give unbiased estimates (App. A.1):

```
|G|^2     = (B |G_B|^2 - b |G_b|^2) / (B - b)
tr(Sigma) = (|G_b|^2 - |G_B|^2) / (1 / b - 1 / B)
```

The noise scale tr(Sigma) / |G|^2, the paper's B_simple, is about the batch size up to
which a larger batch is worth its cost. Single estimates are noisy, and that of |G|^2
can be negative. Their ratio is biased, so average both over steps before dividing.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfbn import validation
from tfbn.diagnostics import batches
from tfbn.diagnostics import diagnostic
from tfbn.diagnostics import measurement
from tfbn.diagnostics._layer_groups import Groups
from tfbn.diagnostics._layer_groups import layer_groups
from tfbn.diagnostics.loss_function import Loss
from tfbn.diagnostics.loss_function import LossFunction
from tfbn.diagnostics.loss_function import State
from tfbn.diagnostics.loss_function import snapshot
from tfbn.diagnostics.noise_estimates import NoiseScale
from tfbn.diagnostics.noise_estimates import estimate
from tfbn.diagnostics.noise_estimates import mean
from tfbn.options import Option


class NoiseScaleMeter(diagnostic.Meter):
    """Measures the gradient noise scale of one model's loss.

    A batch is split at random into `parts` equal parts of b examples; examples left
    over are not used. |G_b|^2 is the mean over the parts, and G_B the mean of their
    gradients, as in the paper for workers that share a batch. The loss has to be a mean
    over the examples; for a sum, both estimates are b^2 times as large, and their ratio
    is the same. The estimates assume that the examples of the batch were drawn
    independently.

    In training mode batch normalisation uses the statistics of a part, not those of the
    whole batch, so that examples of a part are not independent. G is then the gradient
    of training with batches of b, and the noise of the statistics counts as noise of
    the gradient. Other noise, such as dropout's, is the same in all parts and does not
    count.

    Of a dataset of batches, each is split in the same way, with the given seed and
    those that follow it, and the estimates are their means, as unbiased and less noisy
    by the root of their number. Batches whose parts would not have as many examples as
    those of the first batch, such as a smaller last one, are not used: the estimates
    compare two sizes of batch.

    Cost: one forward and backward pass over the batch, part by part, with the memory of
    a training step on a part and one copy of the parameters. No state changes.

    Args:
        model, loss, training, jit_compile: as in `Diagnostic.meter`.
        parts: int >= 2. Default 4. More parts make the estimates less noisy, and the
            statistics of batch normalisation more so.
        groups: as in `layer_groups`.

    Raises:
        ValueError: for an argument outside its range, a model that is not built or has
            nothing to train, or a group that names an unknown layer.
    """

    def __init__(
        self,
        model: keras.Model,
        loss: Loss,
        *,
        parts: int = 4,
        groups: Groups = None,
        training: bool = True,
        jit_compile: bool = False,
    ):
        self._parts = validation.integer("parts", parts, minimum=2)
        self._loss = LossFunction(model, loss, training=training)
        self._groups = layer_groups(model, groups)
        self._squares = measurement.compiled(
            self._squared_norms, jit_compile=jit_compile
        )
        self.cost = measurement.Cost(passes=1.0, copies=1)

    def measure(self, step: diagnostic.TrainingStep) -> dict[str, dict[str, Any]]:
        """Returns the record "noise_scale" of the step's batch, before the update."""
        result = self(step.before, *step.batch, seed=step.step)
        return {"noise_scale": result.record()}

    def __call__(self, state: State, x: Any, y: Any, *, seed: int = 0) -> NoiseScale:
        """Measures at `state`.

        Args:
            state, x, y: a `State`, and the batch as tensors or structures of tensors;
                or a dataset of batches, and None.
            seed: int >= 0, of the split, which `jit_compile` may change.

        Returns:
            The `NoiseScale` of all parameters, with those of the groups in `layers`.

        Raises:
            ValueError: for fewer examples than parts, or a batch that does not fit.
        """
        seed = validation.integer("seed", seed, minimum=0)
        if batches.is_dataset(x):
            return self._of_dataset(state, x, seed)
        self._check_size(x)
        squares = self._squares(*state, x, y, tf.constant(seed, tf.int64)).numpy()
        small = self._size_of_part(x)
        layers = tuple(
            estimate(group.name, squares[:, group.indices], small, self._parts)
            for group in self._groups
        )
        return estimate(None, squares, small, self._parts)._replace(layers=layers)

    def _of_dataset(self, state, dataset, seed):
        found, small = [], None
        for i, (x, y) in enumerate(dataset):
            small = self._size_of_part(x) if small is None else small
            if self._size_of_part(x) == small:
                found.append(self(state, x, y, seed=seed + i))
        groups = zip(*(each.layers for each in found), strict=True)
        return mean(found)._replace(layers=tuple(map(mean, groups)))

    def _size_of_part(self, x):
        return tf.nest.flatten(x)[0].shape[0] // self._parts

    def _check_size(self, x):
        size = tf.nest.flatten(x)[0].shape[0]
        if size < self._parts:
            raise ValueError(
                "parts must be at most the number of examples in a batch. Received: "
                f"parts={self._parts}, and a batch of {size}."
            )

    def _squared_norms(self, parameters, buffers, x, y, seed):
        """Returns `[2, parameters]`: mean of |G_b|^2 over the parts, and |G_B|^2."""
        x, y = self._split((x, y), seed)

        def add(i, sums, squares):
            part = tf.nest.map_structure(lambda t: t[i], (x, y))
            gradients = self._loss.gradients(parameters, buffers, *part)
            own = [measurement.squared_norm([g]) for g in gradients]
            sums = [s + g for s, g in zip(sums, gradients, strict=True)]
            return i + 1, sums, squares + tf.stack(own)

        # Sequentially: the activations of one part are alive at a time.
        _, sums, squares = tf.while_loop(
            lambda i, *_: i < self._parts,
            add,
            [
                tf.constant(0),
                [tf.zeros_like(p) for p in parameters],
                tf.zeros([len(parameters)], tf.float64),
            ],
            parallel_iterations=1,
        )
        of_whole = [measurement.squared_norm([s / self._parts]) for s in sums]
        return tf.stack([squares / self._parts, tf.stack(of_whole)])

    def _split(self, batch, seed):
        """Returns the tensors of a batch as `[parts, examples, ...]`, shuffled."""
        size = tf.shape(tf.nest.flatten(batch)[0])[0]
        small = size // self._parts
        keys = tf.random.stateless_uniform([size], [seed, 0], alg="philox")
        order = tf.argsort(keys)[: small * self._parts]

        def split(tensor):
            shape = tf.concat([[self._parts, small], tf.shape(tensor)[1:]], axis=0)
            parts = tf.reshape(tf.gather(tensor, order), shape)
            return tf.ensure_shape(parts, [self._parts, None, *tensor.shape[1:]])

        return tf.nest.map_structure(split, batch)


def gradient_noise_scale(
    model: keras.Model,
    loss: Loss,
    x: Any,
    y: Any = None,
    *,
    parts: int = 4,
    seed: int = 0,
    groups: Groups = None,
    training: bool = True,
) -> NoiseScale:
    """Measures the gradient noise scale at a model's present weights.

    Args:
        model, loss, parts, groups, training: as in `NoiseScaleMeter`.
        x, y: a batch: arrays, tensors, or structures of them; or a `tf.data.Dataset`
            of batches, and None.
        seed: int >= 0, of the split into parts. Default 0.

    Returns:
        A `NoiseScale`. Cost: that of `NoiseScaleMeter`, and a new trace with every
        call. No state changes.

    Raises:
        ValueError: as `NoiseScaleMeter`.
    """
    meter = NoiseScaleMeter(model, loss, parts=parts, groups=groups, training=training)
    x, y = measurement.as_batch(x, y, many=True)
    return meter(snapshot(model), x, y, seed=seed)


def _ratio(record):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(record["covariance_trace"], record["squared_norm"])


_ESTIMATES = {
    "squared_norm": "estimate of |G|^2; it can be negative",
    "covariance_trace": "estimate of tr(Sigma), of a single example's gradient",
}

DIAGNOSTIC = diagnostic.Diagnostic(
    name="noise_scale",
    title="the gradient noise scale",
    details="|G|^2 and tr(Sigma), unbiased, of every layer",
    cost="about one step",
    make=NoiseScaleMeter,
    kinds=(
        diagnostic.RecordKind(
            "noise_scale",
            values={
                **_ESTIMATES,
                "small_batch": "examples in a part of the batch",
                "large_batch": "examples in all parts",
            },
            layer_values=_ESTIMATES,
            figures={
                "noise_scale": "McCandlish et al. 2018: gradient noise scale, beside "
                "the batch size"
            },
            totals={
                "squared gradient, unbiased": "squared_norm",
                "variance of an example's gradient": "covariance_trace",
                "gradient noise scale, of this batch alone": _ratio,
            },
            divergence="squared_norm",
        ),
    ),
    options=(
        Option(
            "parts",
            4,
            "Noise scale: parts of the batch whose gradients are compared with that of "
            "the whole.",
            minimum=2,
        ),
    ),
    arguments=("groups",),
    many_batches=True,
)
