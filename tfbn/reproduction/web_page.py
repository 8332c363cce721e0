"""The page of a report as one HTML file that needs nothing beside it."""

import base64
import html
import math
import re
from collections.abc import Mapping
from collections.abc import Sequence

from tfbn import environment
from tfbn.reproduction import dots
from tfbn.reproduction import phrases
from tfbn.reproduction import sections
from tfbn.reproduction import verdicts
from tfbn.reproduction import web_assets
from tfbn.reproduction.sections import Chapter
from tfbn.reproduction.verdicts import Judgement

_RATIO, _P = "difference or ratio", "p (Holm)"
_CLAIMS = ("claim", "ours", _RATIO, "seeds", _P, "sign-flip p", "verdict")
_ALL = ("claim", "question", _RATIO, _P, "verdict")
_LEGEND = """In the tables a dot is a seed. Below a difference (or ratio) of the first
to the second run, a bar is its 95 % interval; the claim is true in the shaded part, and
a thin line marks no difference. A click on the head of a column sorts."""


def page(chapters: Sequence[Chapter], scale: str, figures: Mapping[str, bytes]) -> str:
    """Returns the HTML.

    Args:
        chapters: as in `sections.page`.
        scale: str.
        figures: the PNG of each figure, by its path in the chapters.
    """
    title = f"The papers, reproduced: scale {scale}"
    parts = [
        f"<h1>{title}</h1>",
        *(_paragraph(text) for text in sections.introduction(scale).split("\n\n")),
        _paragraph(_LEGEND),
        _summary(chapters),
        _readers(chapters),
        _overview(chapters),
        _all_claims(chapters),
        *(_chapter(chapter, scale, figures) for chapter in chapters),
    ]
    return web_assets.document(title, "\n".join(parts))


def _summary(chapters):
    judgements = [j for chapter in chapters for j in chapter.judgements]
    return (
        f"<p class='summary'>{html.escape(phrases.summary(judgements))}</p>"
        f"<p>{html.escape(phrases.alone(judgements))}</p>"
    )


def _readers(chapters):
    asked = sections.readers(chapters)
    if not asked:
        return ""
    rows = [_row(_claim_cells(judgement), _CLAIMS) for judgement in asked]
    return (
        f"<section class='answer'><h2>{sections.READERS_TITLE}</h2>"
        f"{_paragraph(sections.READERS_TEXT)}{_table(_CLAIMS, rows)}</section>"
    )


def _overview(chapters):
    header = ("question", "paper", "claims of the paper", "others")
    rows = [
        _row([(_inline(cell), cell) for cell in cells], header)
        for cells in sections.overview(chapters)
    ]
    return f"<h2>Questions</h2>{_table(header, rows)}"


def _all_claims(chapters):
    rows = []
    for chapter in chapters:
        title = chapter.study.experiment.title
        link = f"<a href='#{sections.anchor(title)}'>{html.escape(title)}</a>"
        for judgement in chapter.judgements:
            cells = dict(zip(_CLAIMS, _claim_cells(judgement), strict=True))
            cells["question"] = (link, title)
            rows.append(_row([cells[name] for name in _ALL], _ALL))
    return (
        f"<details><summary>All {len(rows)} claims in one table</summary>"
        f"{_table(_ALL, rows)}</details>"
    )


def _chapter(chapter, scale, figures):
    experiment = chapter.study.experiment
    name = chapter.study.name
    rows = [_row(_claim_cells(j), _CLAIMS) for j in chapter.judgements]
    command = f"scripts/reproduce.py {name} --scale={scale}"
    anchor = sections.anchor(experiment.title)
    parts = [
        f"<h2 id='{anchor}'>{_inline(experiment.title)}</h2>",
        f"<p>{_inline(experiment.source)}. <code>{command}</code> repeats it.</p>",
        _paragraph(experiment.setting),
        _paragraph(sections.sizes(chapter)),
        _table(_CLAIMS, rows),
        *(
            _figure(figures[path], experiment.title)
            for path in chapter.figures
            if path in figures
        ),
        _commands(chapter),
    ]
    return f"<section>{''.join(parts)}</section>"


def _claim_cells(judgement: Judgement):
    """Returns what each column of `_CLAIMS` shows, with the text that it sorts by."""
    claim, estimate = judgement.claim, judgement.estimate
    paper = f"<small>paper: {_inline(claim.paper)}</small>"
    if claim.source != "paper":
        paper = f"<small>{_inline(claim.paper)}</small>"
    interval = dots.interval(claim.region, estimate, has_zero=len(claim.sides) > 1)
    centre = "" if math.isnan(estimate.mean) else f"{estimate.mean:.6g}"
    return [
        (f"{_inline(claim.text)}{paper}", claim.text),
        (_ours(judgement), claim.measure.what),
        (f"{html.escape(phrases.contrast(judgement))}{interval}", centre),
        (phrases.seeds(judgement), str(judgement.num_seeds)),
        (html.escape(phrases.p_value(judgement.adjusted)), f"{judgement.adjusted:.6g}"),
        (
            html.escape(phrases.p_value(judgement.sign_flip)),
            f"{judgement.sign_flip:.6g}",
        ),
        (_verdict(judgement), str(verdicts.VERDICTS.index(judgement.verdict))),
    ]


def _ours(judgement):
    sides = judgement.claim.sides
    drawn = dots.strips(judgement.values, log=judgement.claim.measure.log)
    lines = []
    for side, values, strip in zip(sides, judgement.values, drawn, strict=True):
        number = side.measure.text(phrases.mean(side.measure, values))
        each = ", ".join(side.measure.text(value) for value in values)
        lines.append(
            f"<span class='side' title='{html.escape(each)}'>{strip} "
            f"<b>{number}</b> {_inline(side.label)}</span>"
        )
    return f"<small>{_inline(phrases.measures_of(judgement))}</small>{''.join(lines)}"


def _verdict(judgement):
    name = judgement.verdict.split()[0]
    told = _inline(phrases.verdict(judgement).replace("**", ""))
    return f"<span class='verdict {name}'>{told}</span>"


def _commands(chapter):
    about = environment.described(chapter.about) if chapter.about else ""
    lines = [
        f"<li>{html.escape(label)}: <code>{html.escape(command)}</code></li>"
        for label, command in sections.commands(chapter).items()
    ]
    return (
        f"<details><summary>Commands</summary><p>{html.escape(about)}</p>"
        f"<p>{html.escape(sections.commands_note(chapter))}</p>"
        f"<ul>{''.join(lines)}</ul></details>"
    )


def _figure(png, title):
    data = base64.b64encode(png).decode()
    return (
        f"<img loading='lazy' alt='{html.escape(title)}' "
        f"src='data:image/png;base64,{data}'>"
    )


def _table(header, rows):
    head = "".join(f"<th><button>{name}</button></th>" for name in header)
    return (
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(cells, header):
    told = "".join(
        f"<td data-label='{name}' data-key='{html.escape(key)}'>{text}</td>"
        for name, (text, key) in zip(header, cells, strict=True)
    )
    return f"<tr>{told}</tr>"


def _paragraph(text):
    return f"<p>{_inline(' '.join(text.split()))}</p>"


def _inline(text):
    """Turns the Markdown that the texts use into HTML."""
    text = html.escape(text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", text)
    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", r"<a href='\2'>\1</a>", text)
