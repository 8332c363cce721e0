"""The records of an experiment in one small file: the source of its figures."""

import gzip
import os
import zlib
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence

from tfbn.files import atomic
from tfbn.recording import records as records_lib
from tfbn.reproduction.plan import Run
from tfbn.reproduction.results import Results

_DIGITS = 5  # significant; more than any figure shows
_ABOUT = "about"
# Values that no experiment draws or judges, by kind of record.
_LEFT_OUT = {
    "ics": ("norm_after", "kernel_norm_after", "total"),
    "landscape": ("layers",),
    "train": ("learning_rate",),
}


def write(
    path: str,
    planned: Sequence[Run],
    about: Mapping,
    *,
    kinds: Collection[str],
    histograms: Collection[str] = (),
) -> None:
    """Collects the records of finished runs, each with its run's label and seed.

    Numbers are rounded to 5 significant digits. The first line is a record of kind
    "about".

    Args:
        path: str, the file to write.
        planned: the experiment's runs.
        about: metadata such as the date and the versions.
        kinds: the kinds of records to keep. Runs that experiments share hold more kinds
            than each of them reads.
        histograms: labels of the runs whose histograms of activations are kept, for the
            first seed.
    """
    lines = [records_lib.encode({"step": 0, "kind": _ABOUT, **about})]
    for run in planned:
        place = {"label": run.label, "seed": run.config.seed}
        drawn = run.label in histograms and run.config.seed == 0
        left_out = () if drawn else ("histogram",)
        for record in records_lib.read_records(run.config.run_dir):
            if record["kind"] in kinds:
                kept = _shortened(record, left_out + _LEFT_OUT.get(record["kind"], ()))
                lines.append(records_lib.encode(place | kept))
    text = "".join(f"{line}\n" for line in lines)
    with atomic.replacing(path, "wb") as file:
        # No time stamp: the same records give the same bytes.
        file.write(gzip.compress(text.encode(), mtime=0))


def read(path: str, scale: str) -> Results:
    """Reads the results in an archive.

    Raises:
        ValueError: if there is no such file, or it is not an archive.
    """
    if not os.path.exists(path):
        raise ValueError(f"No records to draw: {path} does not exist.")
    runs: dict[str, dict[int, list[dict]]] = {}
    about: dict = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                record = records_lib.decode(line)
                if record["kind"] == _ABOUT:
                    about = record
                    continue
                seeds = runs.setdefault(record.pop("label"), {})
                seeds.setdefault(record.pop("seed"), []).append(record)
        if not about:
            raise EOFError(f"it holds no record of kind {_ABOUT!r}")
    except (OSError, EOFError, ValueError, KeyError, zlib.error) as error:
        raise ValueError(
            f"{path} must be an archive of records. {type(error).__name__}: {error}"
        ) from error
    records = {label: list(seeds.values()) for label, seeds in runs.items()}
    return Results(scale, records, about, {k: list(v) for k, v in runs.items()})


def _shortened(value, left_out):
    """Returns `value` with rounded numbers and without some keys, at any depth."""
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in left_out}
        return {k: _shortened(v, left_out) for k, v in kept.items()}
    if isinstance(value, list):
        return [_shortened(item, left_out) for item in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    return value
