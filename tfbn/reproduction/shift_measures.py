"""What records of internal covariate shift say, as numbers that claims compare."""

import math
from collections.abc import Callable
from collections.abc import Mapping

import numpy as np

from tfbn.reproduction import measures

_PART = (0.1, 1.0)  # of the run


def relative(entry: Mapping) -> float | None:
    """|G - G'| in units of |G|: gradients of two networks differ in size."""
    return entry["distance"] / entry["norm"] if entry["norm"] else None


def signed(entry: Mapping) -> float | None:
    """The cosine of G and G'."""
    return entry["cosine"]


def unsigned(entry: Mapping) -> float | None:
    """Its absolute value."""
    return None if entry["cosine"] is None else abs(entry["cosine"])


def distance(share: float) -> measures.Measure:
    """The median of |G - G'| / |G| of the layer at a relative depth."""
    return measures.over(
        "ics",
        relative,
        layer=share,
        what="|G - G'| / |G|, median",
        part=_PART,
        log=True,
    )


def cosine(
    share: float, of: Callable = signed, what: str = "cos(G, G')"
) -> measures.Measure:
    """The median of the cosine of the layer at a relative depth."""
    return measures.over(
        "ics",
        of,
        layer=share,
        what=f"{what}, median",
        part=_PART,
        undefined=math.nan,
    )


def of_kernels(measure: measures.Measure) -> measures.Measure:
    """The same, but of the gradients of the layer's kernel alone."""

    def of(records):
        return measure.of(
            [_of_kernels(r) if r["kind"] == "ics" else r for r in records]
        )

    return measure._replace(what=f"{measure.what}, of the kernel alone", of=of)


def _of_kernels(record):
    layers = [
        layer
        | {name: layer[f"kernel_{name}"] for name in ("distance", "cosine", "norm")}
        for layer in record["layers"]
    ]
    return record | {"layers": layers}


def of_half(half: str) -> measures.Measure:
    """The cosine, averaged over half of the layers that have layers before them."""

    def of(record):
        layers = record["layers"][1:]
        middle = len(layers) // 2
        chosen = layers[:middle] if half == "lower" else layers[middle:]
        cosines = [e["cosine"] for e in chosen if e["cosine"] is not None]
        return float(np.mean(cosines)) if cosines else None

    what = f"cos(G, G'), mean over the {half} half of the layers, median"
    return measures.over("ics", of, what=what, part=_PART, undefined=math.nan)
