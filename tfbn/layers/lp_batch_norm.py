"""Normalisation by an l_p norm (Santurkar et al. 2018, arXiv 1805.11604, sec. 3.3)."""

import math
from collections.abc import Sequence

import keras

from tfbn import ops
from tfbn import validation
from tfbn.layers import batch_norm
from tfbn.layers import moving_averages


@keras.saving.register_keras_serializable(package="tfbn")
class LpBatchNorm(batch_norm.BatchNorm):
    """Batch normalisation that divides by an l_p norm of the activations.

    Tests whether it matters for optimisation that batch normalisation controls the
    second moment. In training, with the norm taken over each channel's m elements:

    ```
    norm = mean(|x|)  |  sqrt(mean(x^2))  |  max(|x|)         order = 1 | 2 | "inf"
    y = gamma * (x - mean(x)) / (norm + epsilon) + beta
    moving_mean <- momentum * moving_mean + (1 - momentum) * mean(x)
    moving_norm <- momentum * moving_norm + (1 - momentum) * norm
    ```

    Inference uses the moving averages instead. The paper says that the "average
    l_p-norm" is taken before the mean shift and gives no formula; that the average is
    the power mean, and that epsilon is added to the norm, is inferred.

    Args:
        order: 1, 2 or "inf", the p of the norm. Default 1.
        centered: bool, whether to take the norm of `x - mean(x)`; with order 2 and a
            vanishing epsilon that is `BatchNorm`. Default False (the paper's words).
        literal: bool, whether to divide the l_p norm of the m elements by m, the
            literal reading of "average"; outputs then grow like sqrt(m) for order 2 and
            like m for "inf". Default False.
        **kwargs: the arguments of `BatchNorm`, without `moving_variance_initializer`.

    Call arguments, shapes: those of `BatchNorm`.

    State:
        moving_mean, moving_norm: `[channels]`, updated by each training call. There is
            no moving_variance: tools that fold one into other weights do not apply.

    Raises:
        ValueError: for an order other than 1, 2 and "inf", and as `BatchNorm`.
    """

    def __init__(
        self,
        order: int | float | str = 1,
        axis: int | Sequence[int] = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        centered: bool = False,
        literal: bool = False,
        **kwargs,
    ):
        if isinstance(order, float) and order == math.inf:
            order = "inf"
        if "moving_variance_initializer" in kwargs:
            initializer = kwargs["moving_variance_initializer"]
            raise ValueError(
                "moving_variance_initializer must be left out: LpBatchNorm has no "
                "moving variance. Received: moving_variance_initializer="
                f"{validation.shown(initializer)}."
            )
        checked_order: int | str = validation.choice("order", order, (1, 2, "inf"))
        centered = validation.boolean("centered", centered)
        literal = validation.boolean("literal", literal)
        super().__init__(axis, momentum, epsilon, center, scale, **kwargs)
        self.order = checked_order
        self.centered = centered
        self.literal = literal

    def get_config(self) -> dict:
        config = super().get_config()
        del config["moving_variance_initializer"]
        options = {
            "order": self.order,
            "centered": self.centered,
            "literal": self.literal,
        }
        return {**config, **options}

    def _build_averages(self, shape):
        self.moving_norm = self._add_average(
            "moving_norm", shape, keras.initializers.Ones()
        )

    def _normalize_batch(self, x, gamma, beta, **options):
        y, _ = ops.lp_batch_norm(
            x,
            gamma,
            beta,
            order=self.order,
            centered=self.centered,
            literal=self.literal,
            **options,
        )
        return y

    def _average_names(self):
        return ("moving_mean", "moving_norm")

    def _update(self):
        return moving_averages.MeanAndSpread(self.momentum, "moving_norm")

    def _inference_scale(self):
        return self.moving_norm + self.epsilon
