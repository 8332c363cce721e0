"""A report: a folder with a page, its figures and the records behind them."""

import collections
import datetime
import functools
import os
from collections.abc import Iterable

from tfbn import environment
from tfbn import plots
from tfbn.files import atomic
from tfbn.reproduction import archive
from tfbn.reproduction import sections
from tfbn.reproduction import verdicts
from tfbn.reproduction import web_page
from tfbn.reproduction.plan import Study
from tfbn.reproduction.results import Results
from tfbn.reproduction.verdicts import Judgement

PAGE, WEB_PAGE = "README.md", "index.html"
_DPI = 120  # reports are kept with the code, where every redrawing adds to the history


class Report:
    """Reads and writes the report on experiments at one scale.

    Everything about an experiment is derived from its records in the folder,
    `records/<experiment>.jsonl.gz`.

    Args:
        path: str, the folder.
        scale: str.
    """

    def __init__(self, path: str, scale: str):
        self.path = path
        self.scale = scale

    def has(self, study: Study) -> bool:
        """Whether the report has records of a study."""
        return os.path.exists(self._records(study))

    def gather(self, study: Study) -> None:
        """Collects the records of a study whose runs are all finished.

        Records that are newer than every run are kept as they are.
        """
        ended = max(run.ended for run in study.runs)
        path = self._records(study)
        if os.path.exists(path) and os.path.getmtime(path) > ended:
            return
        about = {
            "scale": self.scale,
            "date": datetime.date.fromtimestamp(ended).isoformat(),
            "machine": environment.machine(),
            "versions": environment.versions(),
            "runs": [_identity(run) for run in study.runs],
            **_elsewhere(study),
        }
        archive.write(
            path,
            study.runs,
            about,
            kinds=study.experiment.kinds,
            histograms=study.experiment.histograms,
        )

    def draw(self, study: Study) -> list[str]:
        """Draws the figures of a study and returns their paths."""
        results = self._results(study)
        figures = {
            f"{study.name}_{key}": draw(results)
            for key, draw in study.experiment.figures.items()
        }
        return plots.save(figures, os.path.join(self.path, "figures"), dpi=_DPI)

    def judge(self, study: Study) -> list[Judgement]:
        """Judges the claims of a study."""
        results = self._results(study)
        return verdicts.judge_all(study.experiment.claims, results)

    def write_page(self, studies: Iterable[Study]) -> str:
        """Writes the page on the studies that have records, and returns its path."""
        chapters = [self._chapter(study) for study in studies if self.has(study)]
        return self._write(PAGE, sections.page(chapters, self.scale))

    def write_web_page(self, studies: Iterable[Study]) -> str:
        """Writes the same as one HTML file, figures included, and returns its path.

        A figure that has not been drawn is left out.
        """
        chapters = [self._chapter(study) for study in studies if self.has(study)]
        figures = {}
        for name in [name for chapter in chapters for name in chapter.figures]:
            path = os.path.join(self.path, name)
            if os.path.exists(path):
                with open(path, "rb") as file:
                    figures[name] = file.read()
        return self._write(WEB_PAGE, web_page.page(chapters, self.scale, figures))

    def _write(self, name, text):
        path = os.path.join(self.path, name)
        with atomic.replacing(path) as file:
            file.write(text)
        return path

    def _chapter(self, study):
        figures = [
            f"figures/{study.name}_{key}.png" for key in study.experiment.figures
        ]
        about = self._results(study).about
        return sections.Chapter(study, self.judge(study), figures, about)

    def _results(self, study) -> Results:
        path = self._records(study)
        written = os.stat(path).st_mtime_ns if os.path.exists(path) else None
        results = _read(path, self.scale, written)
        scale = results.about["scale"]
        missing = [run.label for run in study.runs if run.label not in results.records]
        if scale != self.scale or missing:
            found = scale if scale != self.scale else f"no run {missing[0]!r}"
            raise ValueError(
                f"{path} must hold the runs of {study.name} at scale {self.scale}. "
                f"Received: {found}. Repeat the runs, or remove the file."
            )
        return results

    def _records(self, study):
        return os.path.join(self.path, "records", f"{study.name}.jsonl.gz")


def _identity(run):
    """What the archive keeps of a run beside its records."""
    config, seconds = run.config, run.seconds
    identity = {"label": run.label, "seed": config.seed, "data_seed": config.data_seed}
    return identity if seconds is None else identity | {"seconds": round(seconds, 1)}


def _elsewhere(study):
    """Where runs were trained that were not trained here: see `Run.origin`."""
    fields = ("device", "platform", "python", "jax", "fast")
    origins = [origin for run in study.runs if (origin := run.origin) is not None]
    counts = collections.Counter(tuple(map(o.get, fields)) for o in origins)
    if not counts:
        return {}
    return {
        "elsewhere": [
            {"runs": number, **dict(zip(fields, origin, strict=True))}
            for origin, number in counts.items()
        ]
    }


@functools.lru_cache(maxsize=16)
def _read(path, scale, unused_time):
    """Reads an archive once: figures, verdicts and the page all need its results."""
    return archive.read(path, scale)
