"""Tables of what scripts/diagnose.py measured."""

import numpy as np

from tfbn import tables

# Heading, kind of record and value, of the table of layers and of that of totals.
_LAYER_COLUMNS = (
    ("|G|", "ics", "norm"),
    ("|G - G'|", "ics", "distance"),
    ("cos(G, G')", "ics", "cosine"),
    ("mean", "activations", "mean"),
    ("variance", "activations", "variance"),
    ("eigenvalue", "curvature", "eigenvalue"),
)
_TOTALS = (
    ("loss", "landscape", "loss"),
    ("gradient norm", "landscape", "gradient_norm"),
    ("effective beta", "landscape", "beta"),
    ("local linearity", "landscape", "local_linearity"),
    ("effective beta, random direction", "landscape_random", "beta"),
    ("local linearity, random direction", "landscape_random", "local_linearity"),
    ("largest eigenvalue of the Hessian", "curvature", "eigenvalue"),
    ("smallest eigenvalue found", "curvature", "smallest"),
)


def of_layers(measured):
    """What was measured of each layer, a row a layer, or "" if nothing was.

    Args:
        measured: dict from kind of record to its values.
    """
    layers = {}
    for heading, kind, name in _LAYER_COLUMNS:
        for layer in measured.get(kind, {}).get("layers", ()):
            if layer.get(name) is not None:
                layers.setdefault(layer["name"], {})[heading] = layer[name]
    headings = [
        h for h, _, _ in _LAYER_COLUMNS if any(h in row for row in layers.values())
    ]
    rows = [
        [name, *(_cell(row.get(heading)) for heading in headings)]
        for name, row in layers.items()
    ]
    return tables.table(["layer", *headings], rows) if rows else ""


def totals(measured):
    """What was measured of the whole network, or ""; `measured` as in `of_layers`."""
    rows = [
        [heading, _cell(measured[kind][name])]
        for heading, kind, name in _TOTALS
        if kind in measured
    ]
    errors = [
        la["relative_error"] for la in measured.get("theory", {}).get("layers", ())
    ]
    if errors:
        heading = "theorem 4.1, largest relative error of any layer"
        rows.append([heading, _cell(np.max(errors))])  # of NaN, NaN
    return tables.table(["of the whole network", "value"], rows) if rows else ""


def _cell(value):
    return tables.MISSING if value is None else f"{value:.3g}"
