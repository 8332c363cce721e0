"""Small records, and what a figure shows."""

NAMES = ("conv1", "conv2", "conv3", "conv4", "dense1")


def train(losses, **columns):
    """Returns train records at the steps 10, 20, ..."""
    return [
        {"step": 10 * (i + 1), "kind": "train", "loss": loss}
        | {name: values[i] for name, values in columns.items()}
        for i, loss in enumerate(losses)
    ]


def evaluations(losses, **columns):
    """Returns eval records at the steps 20, 40, ..."""
    rows = train(losses, **columns)
    return [row | {"kind": "eval", "step": row["step"] * 2} for row in rows]


def ics(distances, cosines=None, names=NAMES, total=False):
    """Returns ics records at the steps 5, 10, ...; layer i has i times the distance.

    `total`: whether there is a total, of ten times the distance and half the cosine.
    """
    cosines = cosines or [0.5] * len(distances)
    rows = []
    for t, (d, c) in enumerate(zip(distances, cosines, strict=True)):
        layers = [
            {"name": name, "distance": i * d, "cosine": c if i else 1.0}
            for i, name in enumerate(names)
        ]
        row = {"step": 5 * (t + 1), "kind": "ics", "layers": layers}
        if total:
            row["total"] = {"distance": 10 * d, "cosine": c / 2}
        rows.append(row)
    return rows


def by_layer(kind, *entries, name="bn"):
    """Returns records of one layer at the steps 10, 20, ..."""
    return [
        {"step": 10 * (i + 1), "kind": kind, "layers": [{"name": name} | entry]}
        for i, entry in enumerate(entries)
    ]


def legend(figure):
    """Returns the labels of the legend."""
    return [text.get_text() for text in figure.legends[0].get_texts()]


def titles(figure):
    """Returns the titles of the panels."""
    return [axis.get_title() for axis in figure.axes]


def notes(axis):
    """Returns what is written into the panel."""
    return [text.get_text() for text in axis.texts]


def crosses(axis):
    """Returns the points at which runs that diverged are marked."""
    marks = [line for line in axis.get_lines() if line.get_marker() == "x"]
    return [tuple(line.get_xydata()[0]) for line in marks]
