"""The reference of diagnostics and their records, in Markdown, from the declarations.

`python -m tfbn.diagnostics.reference` prints it, as docs/diagnostics.md holds it.
"""

from tfbn import tables
from tfbn.diagnostics import registry


def diagnostics_table() -> str:
    """Returns a table with a row per diagnostic."""
    rows = [
        [
            f"`{diagnostic.name}`",
            f"{diagnostic.title}: {diagnostic.details}",
            ", ".join(f"`{kind.name}`" for kind in diagnostic.kinds),
            ", ".join(f"`--{flag}`" for flag in diagnostic.flags),
            "; ".join(sorted(need.value for need in diagnostic.needs)),
            diagnostic.cost,
        ]
        for diagnostic in registry.values()
    ]
    header = ["name", "measures", "records", "options", "needs", "one costs"]
    return _table(header, rows)


def records_table() -> str:
    """Returns a table with a row per value of each kind of record."""
    rows = []
    for diagnostic in registry.values():
        for kind in diagnostic.kinds:
            rows += [[f"`{kind.name}`", f"`{n}`", m] for n, m in kind.values.items()]
            rows += [
                [f"`{kind.name}`", f"`layers[].{n}`", meaning]
                for n, meaning in kind.layer_values.items()
            ]
    return _table(["kind", "value", "meaning"], rows)


def _table(header, rows):
    # An unescaped bar would end the cell.
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return tables.table(header, rows)


if __name__ == "__main__":
    print(diagnostics_table(), records_table(), sep="\n\n")
