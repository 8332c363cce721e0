"""Tables of what libraries have, see `probing`."""

from tfbn.tables import MISSING
from tfbn.tables import table

LIBRARIES = {
    "tfbn": "tfbn",
    "keras": "Keras",
    "tf_keras": "tf_keras",
    "torch": "torch",
    "torchrl": "torchrl",
    "flax": "Flax",
    "sbx": "sbx",
    "cockpit": "cockpit",
    "pyhessian": "PyHessian",
    "loss_landscapes": "loss-landscapes",
}


def section(introduction, titles, libraries, found):
    """A table of answers, and the notes on those that are no plain yes.

    Args:
        introduction: str, a heading and what follows it.
        titles: dict from the name of a row to its title.
        libraries: names of the columns, keys of `LIBRARIES` and of `found`.
        found: dict from library to the answers of `probing`.
    """
    cells = [
        [title, *(_answer(found[library], name) for library in libraries)]
        for name, title in titles.items()
    ]
    header = ["", *(LIBRARIES[library] for library in libraries)]
    notes = [
        f"- {LIBRARIES[library]}, {title}: {found[library][name]['note']}."
        for name, title in titles.items()
        for library in libraries
        if _has_note(found[library].get(name))
    ]
    parts = [introduction, table(header, cells)]
    parts += [
        f"{text}: {'; '.join(names)}." for text, names in _ends(titles, found) if names
    ]
    return "\n\n".join([*parts, "\n".join(notes)])


def _ends(titles, found):
    """What tfbn alone has, and what it lacks or has in part beside another's yes."""
    others = [answers for library, answers in found.items() if library != "tfbn"]
    only, lacking = [], []
    for name, title in titles.items():
        here = found["tfbn"][name]["answer"]
        there = {answers[name]["answer"] for answers in others if name in answers}
        if here == "yes" and there and there <= {"no", "partly"}:
            only.append(title)
        if here != "yes" and "yes" in there:
            lacking.append(title)
    return ("Only tfbn has", only), ("tfbn lacks, or has in part", lacking)


def _answer(answers, name):
    return answers[name]["answer"] if name in answers else MISSING


def _has_note(cell):
    return bool(cell and cell["note"]) and (
        cell["answer"] == "partly" or (cell["answer"], cell["how"]) == ("no", "probe")
    )
