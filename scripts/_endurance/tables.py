"""The results of scripts/endurance.py as Markdown, and the failures in them."""

import collections

from _endurance import beacon

from tfbn import environment
from tfbn.tables import MISSING
from tfbn.tables import table

MOST_MIB_PER_1000_STEPS = 0.5


def render(results):
    """Renders the results of all checks."""
    checks = results["checks"].items()
    return "\n\n".join([heading(results), *(check(*item) for item in checks)])


def heading(results):
    """Renders the heading: date, machine, versions and the remark."""
    place = f"{environment.described(results)}. {results['remark']}"
    return (
        "# Endurance\n\nResults of `python scripts/endurance.py`; the JSON file that "
        f"it writes has all numbers.\n\n{place.rstrip()}"
    )


def check(name, result):
    """Renders one check: heading, note and tables."""
    minutes = result["seconds"] / 60.0
    text = CHECKS[name](result["rows"])
    failed = failures({"checks": {name: result}})
    verdict = "\n".join(f"- FAILED: {f}" for f in failed) or "No failure."
    return f"{text}\n\n{verdict}\n\nStarted {result['date']}; {minutes:.0f} minutes."


def failures(results):
    """Returns one line for each failure."""
    checks = results["checks"]
    found = []
    for row in checks.get("kills", {"rows": []})["rows"]:
        found += [f"kills: {row['configuration']}: {d}" for d in row["differences"]]
    for row in checks.get("memory", {"rows": []})["rows"]:
        found += [f"memory: {row['run']}: {text}" for text in _growing(row)]
    return found


def _growing(row):
    if row["mib_per_1000_steps"] > MOST_MIB_PER_1000_STEPS:
        yield f"grows by {row['mib_per_1000_steps']:.2f} MiB every 1,000 steps"
    for name, (before, after) in row["functions"].items():
        if after > before:
            yield f"{name} was traced {after - before} times after the warm-up"


def _kills(rows):
    note = (
        "An uninterrupted run, and a run with the same flags in another folder that is "
        "ended at random moments and started again each time until it finishes. Then "
        "both folders are compared: the variables and the configuration in "
        "`model.keras`; every tensor of the last checkpoint (weights, averages, steps "
        "of the schedules, optimizer slots, seeds, state of the diagnostics); "
        "`records.jsonl` and `flags.cfg`, line by line; every summary in the event "
        "files, in order; the names of all files; the evaluation printed. Positions in "
        "the record files and the number of earlier checkpoints are not compared. The "
        "exit status must be 143 after SIGTERM and 130 after SIGINT, and the newest "
        "checkpoint must be of the step at which the run stopped. The process "
        "publishes its phase in a small mapped file, which is read after a SIGKILL, "
        "but before any other signal: `start` is everything before the first step, "
        "`steps` everything that is no other phase."
    )
    parts = [f"## A run that is killed\n\n{note}", _summary(rows)]
    parts += [_of_configuration(row) for row in rows]
    return "\n\n".join(parts)


def _summary(rows):
    return _column_each(rows, "configuration", _lines_of_kills)


def _lines_of_kills(row):
    return {
        **_signals(row["endings"]),
        "steps of the run": _steps(row),
        "steps repeated": _repeated(row["endings"]),
        **{f"{_COMPARED[what]} compared": row["compared"][what] for what in _COMPARED},
        "differences": len(row["differences"]),
        "seconds, uninterrupted": f"{row['uninterrupted_seconds']:.0f}",
        "seconds, interrupted": f"{row['ended_seconds']:.0f}",
    }


def _column_each(rows, title, lines_of):
    """Renders a table with a column for each row of results.

    Args:
        rows: the rows of results.
        title: the name of the value that heads a column.
        lines_of: function from a row to its values, by the labels of the lines.
    """
    columns = [lines_of(row) for row in rows]
    lines = [[name, *(str(column[name]) for column in columns)] for name in columns[0]]
    return table(["", *(row[title] for row in rows)], lines)


def _signals(endings):
    """Returns how often each signal came."""
    came = collections.Counter(ending["signal"] for ending in endings)
    return {name: came[name] for name in ("SIGKILL", "SIGTERM", "SIGINT")}


def _repeated(endings):
    return sum(ending["repeated"] for ending in endings)


_COMPARED = {
    "model": "entries of model.keras",
    "checkpoint": "tensors of the checkpoint",
    "records": "records",
    "summaries": "summaries",
}


def _of_configuration(row):
    """Renders the phases and steps at which the signals came."""
    cells = []
    for phase in beacon.PHASES:
        endings = [ending for ending in row["endings"] if ending["phase"] == phase]
        if not endings:
            continue
        signals = map(str, _signals(endings).values())
        steps = ", ".join(_step(ending["step"]) for ending in endings)
        cells.append([phase, *signals, steps, str(_repeated(endings))])
    header = ["during", "SIGKILL", "SIGTERM", "SIGINT", "at steps", "repeated"]
    return f"### {row['configuration']}\n\n`{' '.join(row['flags'])}`\n\n" + table(
        header, cells
    )


def _steps(row):
    (steps,) = (f for f in row["flags"] if f.startswith("--train_steps="))
    return steps.partition("=")[2]


def _step(step):
    return MISSING if step < 0 else str(step)  # not known yet


def _memory(rows):
    note = (
        "Resident memory of runs of a tiny VGG-A with BatchNorm and checkpoints, "
        "sampled every 100 steps after a garbage collection. Growth is the mean change "
        "of the smallest sample from each 1,000 steps to the next after the warm-up; "
        "decreases, where the allocator or the kernel reclaimed memory, are left out, "
        "because they would hide growth elsewhere. Traces are those of all "
        "tf.functions in the process, at the end of the warm-up and of the run. A "
        f"growth of more than {MOST_MIB_PER_1000_STEPS} MiB every 1,000 steps, or a "
        "trace after the warm-up, is a failure."
    )
    summary = _column_each(rows, "run", _lines_of_memory)
    courses = map(_course, rows)
    return "\n\n".join([f"## A long run's memory\n\n{note}", summary, *courses])


def _lines_of_memory(row):
    after = [s for s in row["samples"] if s["step"] >= row["warm_up"]]
    return {
        "steps": after[-1]["step"],
        "measurements of each diagnostic": _range(row["measurements"].values() or [0]),
        "warm-up, steps": row["warm_up"],
        "MiB at the end of the warm-up": f"{after[0]['mib']:.1f}",
        "MiB at the end of the run": f"{after[-1]['mib']:.1f}",
        "growth, MiB every 1,000 steps": f"{row['mib_per_1000_steps']:.3f}",
        "open files": _range(sample["files"] for sample in after),
        "tf.functions traced, by name": len(row["functions"]),
        "traces at the end of the warm-up": _traces(row, 0),
        "traces at the end of the run": _traces(row, 1),
        "seconds": f"{row['seconds']:.0f}",
    }


def _course(row):
    """Renders the memory at about every thousandth step."""
    points = {sample["step"] // 1000: sample for sample in reversed(row["samples"])}
    course = ", ".join(f"{point['mib']:.1f}" for _, point in sorted(points.items()))
    return f"MiB at every 1,000th step, {row['run']}: {course}."


def _traces(row, when):
    return sum(counts[when] for counts in row["functions"].values())


def _range(numbers):
    least, *_, most = sorted([*numbers] * 2)
    return least if least == most else f"{least} to {most}"


CHECKS = {"kills": _kills, "memory": _memory}
