"""The page of a report in Markdown."""

import collections
import textwrap
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from tfbn import environment
from tfbn import tables
from tfbn.reproduction import claims as claims_lib
from tfbn.reproduction import phrases
from tfbn.reproduction.experiment import SEEDS
from tfbn.reproduction.plan import Study
from tfbn.reproduction.verdicts import Judgement

COLUMNS = (
    "claim",
    "paper",
    "ours: mean (each seed)",
    "difference or ratio, first to second (95 % interval)",
    "seeds",
    "p (Holm)",
    "sign-flip p",
    "verdict",
)

_OF_SCALE = {
    "smoke": "A few steps on the built-in images, to check that everything works.",
    "cpu": "CIFAR-10 and small networks, most of them on two cores. Some measures "
    "(windows that leave out the first steps, distances relative to |G|, drifts, "
    "accuracies averaged over a grid) were chosen with records of the seeds 0 to 2 at "
    "hand: such claims are decided by others, or, where there are no others, await "
    "them.",
    "paper": "As published, where the data are available.",
}


class Chapter(NamedTuple):
    """A study and its results."""

    study: Study
    judgements: Sequence[Judgement]
    figures: Sequence[str]  # paths relative to the page
    about: Mapping  # as in `Results`


def page(chapters: Sequence[Chapter], scale: str) -> str:
    """Returns the page of a report: an overview, then a chapter for each experiment."""
    parts = [_overview(chapters, scale), *(_chapter(c, scale) for c in chapters)]
    return "\n\n".join(parts) + "\n"


def introduction(scale: str) -> str:
    """Returns what the runs are and how claims are decided."""
    made = (
        f"Made by `python scripts/reproduce.py all --scale={scale}`; with `--notrain "
        "--report=FOLDER` from the records in `records/`, without training. Beside "
        "`README.md` lies the same as one file, `index.html`, with the figures inside "
        "and tables to sort (in tfbn's repository git ignores it, as it has 5 MB). "
        f"Every run has {SEEDS[scale]} seed(s), or as many as the tables say."
    )
    return _wrapped(f"{_OF_SCALE[scale]} {made}") + "\n\n" + _wrapped(phrases.RULE)


def overview(chapters: Sequence[Chapter]) -> list[list[str]]:
    """Returns the rows of the table of questions."""
    rows = []
    for chapter in chapters:
        title = chapter.study.experiment.title
        counted = [
            phrases.short_counts(phrases.of_papers(chapter.judgements, papers))
            for papers in (True, False)
        ]
        link = f"[{title}](#{anchor(title)})"
        rows.append([link, chapter.study.experiment.source, *counted])
    return rows


def row(judgement: Judgement) -> list[str]:
    """Returns the cells of a claim, under `COLUMNS`."""
    claim = judgement.claim
    return [
        claim.text,
        claim.paper,
        phrases.ours(judgement),
        phrases.contrast(judgement),
        phrases.seeds(judgement),
        phrases.p_value(judgement.adjusted),
        phrases.p_value(judgement.sign_flip),
        phrases.verdict(judgement),
    ]


def readers(chapters: Sequence[Chapter]) -> list[Judgement]:
    """Returns the judgements on questions of the papers' readers."""
    return [
        judgement
        for chapter in chapters
        for judgement in chapter.judgements
        if judgement.claim.source == claims_lib.READERS
    ]


READERS_TITLE = "Does BatchNorm lower the 2-Lipschitz constant?"
READERS_TEXT = f"""A reader of the paper asks for the smallest a2 with
|f(x + u) - f(x) - g.u| <= a2 |u|^2 / 2: how well the loss is approximated by its
tangent. It is measured along the gradient, 0.5 to 4 learning rates away (0.01 to 30 in
the deep linear network), and so is effective beta, the Lipschitz constant of the
gradient there. {phrases.READERS_RULE}"""


def answer(judgement: Judgement) -> str:
    """Returns a line about a question of readers."""
    first, second = judgement.claim.sides
    return (
        f"{phrases.measures_of(judgement)}: {first.label} against {second.label}: "
        f"{phrases.contrast(judgement)}; {phrases.seeds(judgement)}; p = "
        f"{phrases.p_value(judgement.adjusted)}, sign-flip p = "
        f"{phrases.p_value(judgement.sign_flip)}: {phrases.verdict(judgement)}"
    )


def _overview(chapters, scale):
    judgements = [j for chapter in chapters for j in chapter.judgements]
    header = ["question", "paper", "claims of the paper", "others"]
    parts = [
        f"# The papers, reproduced: scale {scale}",
        introduction(scale),
        _wrapped(f"**{phrases.summary(judgements)}** {phrases.alone(judgements)}"),
        _table(header, overview(chapters)),
    ]
    if asked := readers(chapters):
        lines = "\n".join(f"- {answer(judgement)}." for judgement in asked)
        parts += [f"## {READERS_TITLE}", _wrapped(READERS_TEXT), lines]
    return "\n\n".join(parts)


def _chapter(chapter, scale):
    experiment = chapter.study.experiment
    parts = [
        f"## {experiment.title}",
        f"`{chapter.study.name}`: {experiment.source}. `scripts/reproduce.py "
        f"{chapter.study.name} --scale={scale}` repeats it.",
        experiment.setting.strip(),
        sizes(chapter),
        _table(COLUMNS, [row(judgement) for judgement in chapter.judgements]),
        *(f"![{experiment.title}]({path})" for path in chapter.figures),
        _runs(chapter),
    ]
    return "\n\n".join(parts)


def sizes(chapter: Chapter) -> str:
    """Returns what was trained, how long it took, and which data were not redrawn."""
    seconds = {
        (run["label"], run["seed"]): run.get("seconds")
        for run in chapter.about.get("runs", ())
    }
    by_size = collections.defaultdict(list)
    for run in chapter.study.runs:
        by_size[_size(run.config)].append(seconds.get((run.label, run.config.seed)))
    told = [f"{size} ({_runs_and_seconds(took)})" for size, took in by_size.items()]
    return f"At this scale: {'; '.join(told)}.{_same_data(chapter)}"


def _runs_and_seconds(seconds):
    runs = f"{len(seconds)} run{'s' * (len(seconds) > 1)}"
    known = [s for s in seconds if s is not None]
    if not known:
        return runs
    return f"{runs}, {sum(known) / len(known):,.0f} s each"


def _same_data(chapter):
    """Returns a sentence if the records' data were not drawn for every seed."""
    recorded = {
        (run["label"], run["seed"]): run["data_seed"]
        for run in chapter.about.get("runs", ())
    }
    other = {
        run.config.dataset
        for run in chapter.study.runs
        if run.config.data_seed != recorded.get((run.label, run.config.seed), 0)
    }
    if not other or not chapter.about:
        return ""
    return (
        f" These records hold one draw of {' and '.join(sorted(other))}, of data seed "
        "0, for all seeds: they are older than the rule that generated data follow the "
        "seed, and their intervals do not cover other draws."
    )


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


def _table(header, rows):
    """Returns a table of texts that may contain the separator of its cells."""
    rows = [[text.replace("|", "\\|") for text in row] for row in rows]
    return tables.table(header, rows)


def commands(chapter: Chapter) -> dict[str, str]:
    """Returns the command of each label, of its first seed."""
    found: dict[str, str] = {}
    for run in chapter.study.runs:
        seed = run.config.seed
        other = f" --seed={seed}" if seed else ""
        found.setdefault(run.label, run.command() + other)
    return found


def commands_note(chapter: Chapter) -> str:
    """Returns how the seeds enter the commands."""
    drawn = any(run.config.data_seed for run in chapter.study.runs)
    also = ", with --data_seed equal to it where data are generated" if drawn else ""
    fresh = " or from the seed given on" * bool(chapter.study.experiment.first_seeds)
    return f"To be run with --seed=0, 1, ...{fresh}{also}; the equivalent of:"


def _runs(chapter):
    lines = [f"- {label}: `{text}`" for label, text in commands(chapter).items()]
    summary = "<details><summary>Commands</summary>"
    about = environment.described(chapter.about) if chapter.about else ""
    return "\n".join(
        [summary, "", about, commands_note(chapter), "", *lines, "", "</details>"]
    )


def _wrapped(text):
    """Fills lines; code keeps its spaces, as no page has several in a row."""
    return textwrap.fill(" ".join(text.split()), 88, break_on_hyphens=False)


def anchor(title: str) -> str:
    """Returns the anchor that GitHub gives a heading."""
    kept = "".join(c for c in title.lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")
