"""`Norm`: what the registry of normalisation layers holds."""

import dataclasses
from collections.abc import Callable

import keras

from tfbn.diagnostics import Need
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
        provides: the needs of diagnostics that it meets, of `BATCH_STATISTICS` and
            `RENORMALISATION`.
    """

    name: str
    build: Callable[..., NormFactory | None]
    options: tuple[Option, ...] = ()
    provides: frozenset[Need] = frozenset()


EPSILON = Option("norm_epsilon", 1e-3, "Epsilon of the normalisation.", above=0.0)
