"""`Norm`: what the registry of normalisation layers holds."""

import dataclasses
from collections.abc import Callable

import keras

from tfbn.options import Option

NormFactory = Callable[[], keras.layers.Layer]


@dataclasses.dataclass(frozen=True)
class Norm:
    """What `--norm` names.

    Attributes:
        name: str.
        build: function `(train_steps, **options)` -> function without arguments that
            makes a layer, or None; `options` has a value for each of `options`.
        options: the options that it takes.
        is_plain: bool, whether it standardises by the statistics of the batch alone:
            batch normalisation as in theorem 4.1 of Santurkar et al. 2018.
    """

    name: str
    build: Callable[..., NormFactory | None]
    options: tuple[Option, ...] = ()
    is_plain: bool = False


EPSILON = Option("norm_epsilon", 1e-3, "Epsilon of the normalisation.", above=0.0)
