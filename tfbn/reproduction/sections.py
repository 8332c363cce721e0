"""The text of a report, in Markdown."""

import collections
import math
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from tfbn import tables
from tfbn.reproduction import claims as claims_lib
from tfbn.reproduction.claims import Judgement
from tfbn.reproduction.experiment import SEEDS
from tfbn.reproduction.plan import Study

_VERDICTS = (claims_lib.HOLDS, claims_lib.DOES_NOT_HOLD, claims_lib.NOT_DECIDED)

_OF_SCALE = {
    "smoke": "A few steps on the built-in images, to check that everything works.",
    "cpu": "CIFAR-10 and small networks; over three hours on two cores, by the sum\n"
    "of the runs' times.",
    "paper": "As published, where the data are available.",
}


class Chapter(NamedTuple):
    """A study and its results."""

    study: Study
    judgements: Sequence[Judgement]
    figures: Sequence[str]  # paths relative to the page
    about: str  # date, machine and versions


def page(chapters: Sequence[Chapter], scale: str) -> str:
    """Returns the page of a report: an overview, then a chapter for each experiment."""
    parts = [_overview(chapters, scale), *(_chapter(c, scale) for c in chapters)]
    return "\n\n".join(parts) + "\n"


def ours(judgement: Judgement) -> str:
    """Returns the result of a claim: the measure, then each side's mean and range."""
    sides = judgement.claim.sides
    measures = {side.measure.what for side in sides}
    if len(measures) > 1:
        named = [f"{side.measure.what}, {side.label}" for side in sides]
    else:
        named = [side.label for side in sides]
    numbers = [
        f"{name}: {_numbers(side.measure, values)}"
        for name, side, values in zip(named, sides, judgement.values, strict=True)
    ]
    what = "" if len(measures) > 1 else f"{measures.pop()}. "
    return what + "; ".join(numbers)


def verdicts(judgements: Sequence[Judgement]) -> Mapping[str, int]:
    """How many claims got each verdict."""
    given = [judgement.verdict for judgement in judgements]
    return {verdict: given.count(verdict) for verdict in _VERDICTS}


def _overview(chapters, scale):
    rows = []
    for chapter in chapters:
        counts = verdicts(chapter.judgements).values()
        title = chapter.study.experiment.title
        link = f"[{title}](#{_anchor(title)})"
        rows.append([link, chapter.study.experiment.source, *map(str, counts)])
    table = _table(["question", "paper", *_VERDICTS], rows)
    return f"""# The papers, reproduced: scale {scale}

{_OF_SCALE[scale]} Made by `python scripts/reproduce.py all --scale={scale}`; with
`--notrain --report=FOLDER` from the records in `records/`, without training.

Every run has {SEEDS[scale]} seed(s), or as many as the tables say. Numbers are means
over the seeds, with their range in brackets. A claim **holds** if it is true of every
pair of a seed of one side and a seed of the other, **does not hold** if it is true of
no such pair, and is **not decided** otherwise, or with fewer than
{claims_lib.LEAST_SEEDS} seeds. With three seeds a side, two networks without a true
difference would appear different in a given direction with probability 1/20.

{table}"""


def _chapter(chapter, scale):
    experiment = chapter.study.experiment
    parts = [
        f"## {experiment.title}",
        f"`{chapter.study.name}`: {experiment.source}.",
        experiment.setting.strip(),
        _sizes(chapter.study),
        _claims(chapter, scale),
        *(f"![{experiment.title}]({path})" for path in chapter.figures),
        _runs(chapter),
    ]
    return "\n\n".join(parts)


def _sizes(study):
    """Returns a sentence on what was trained; the commands follow further down."""
    counts = collections.Counter(_size(run.config) for run in study.runs)
    sizes = [
        f"{size} ({count} run{'s' * (count > 1)})" for size, count in counts.items()
    ]
    return f"At this scale: {'; '.join(sizes)}."


def _size(config):
    network = {
        "vgg": f"VGG-{config.vgg_depth}, width x {config.width:g},",
        "mlp": "a network of dense layers",
        "deep_linear": f"{config.linear_depth} linear layers",
    }[config.model]
    return (
        f"{network} on {config.dataset} for {config.train_steps:,} steps of "
        f"{config.batch_size:,} examples"
    )


def _claims(chapter, scale):
    header = ["claim", "paper", "ours", "seeds", "verdict", "command"]
    command = f"`scripts/reproduce.py {chapter.study.name} --scale={scale}`"
    rows = []
    for judgement in chapter.judgements:
        seeds = str(min(map(len, judgement.values)))
        row = [judgement.claim.text, judgement.claim.paper, ours(judgement), seeds]
        rows.append([*row, f"**{judgement.verdict}**", command])
    return _table(header, rows)


def _table(header, rows):
    """Returns a table of texts that may contain the separator of its cells."""
    rows = [[text.replace("|", "\\|") for text in row] for row in rows]
    return tables.table(header, rows)


def _numbers(measure, values):
    texts = [measure.text(value) for value in values]
    if len(set(texts)) == 1:
        return texts[0]
    measured = [value for value in values if not math.isnan(value)]
    mean = measure.text(sum(measured) / len(measured))
    ends = f"{measure.text(min(measured))} to {measure.text(max(measured))}"
    missing = len(values) - len(measured)
    return f"{mean} ({ends}; {missing} not measured)" if missing else f"{mean} ({ends})"


def _runs(chapter):
    commands = {run.label: run.command() for run in chapter.study.runs}
    lines = [f"- {label}: `{command}`" for label, command in commands.items()]
    summary = "<details><summary>Commands</summary>"
    seeds = "Each was run with --seed=0, 1, ..., by the equivalent of:"
    return "\n".join([summary, "", chapter.about, seeds, "", *lines, "", "</details>"])


def _anchor(title):
    """Returns the anchor that GitHub gives a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")
