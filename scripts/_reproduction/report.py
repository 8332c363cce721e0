"""The folder of a report: a page, its figures and the records they are made from."""

import datetime
import os
from collections.abc import Mapping
from collections.abc import Sequence

from _benchmark import environment

from _reproduction import archive
from _reproduction import claims
from _reproduction import sections
from _reproduction.claims import Judgement
from _reproduction.experiment import Experiment
from _reproduction.plan import Run
from _reproduction.results import Results
from tfbn import atomic
from tfbn import plots

PAGE = "README.md"


class Report:
    """Reads and writes the report of experiments at one scale.

    What it says of an experiment depends on the records in the folder alone: those of
    `records/<experiment>.jsonl.gz`.

    Args:
        path: str, the folder.
        scale: str.
    """

    def __init__(self, path: str, scale: str):
        self.path = path
        self.scale = scale

    def gather(self, name: str, planned: Sequence[Run]) -> None:
        """Puts the records of an experiment's finished runs into the folder."""
        about = {
            "scale": self.scale,
            "date": datetime.date.today().isoformat(),
            "machine": environment.machine(),
            "versions": environment.versions(),
        }
        archive.write(self._records(name), planned, about)

    def draw(self, name: str, experiment: Experiment) -> list[str]:
        """Draws an experiment's figures; returns their paths."""
        results = self._results(name, experiment)
        figures = {
            f"{name}_{key}": draw(results) for key, draw in experiment.figures.items()
        }
        return plots.save(figures, os.path.join(self.path, "figures"))

    def judge(self, name: str, experiment: Experiment) -> list[Judgement]:
        """The verdicts on an experiment's claims."""
        results = self._results(name, experiment)
        return [claims.judge(claim, results) for claim in experiment.claims]

    def write_page(
        self,
        experiments: Mapping[str, Experiment],
        planned: Mapping[str, Sequence[Run]],
    ) -> str:
        """Writes the page, of those of the experiments that there are records of.

        Args:
            experiments: by name.
            planned: the runs of each.

        Returns:
            The path of the page.
        """
        chapters = [
            self._chapter(name, experiment, planned[name])
            for name, experiment in experiments.items()
            if os.path.exists(self._records(name))
        ]
        path = os.path.join(self.path, PAGE)
        with atomic.replacing(path) as file:
            file.write(sections.page(chapters, self.scale))
        return path

    def _chapter(self, name, experiment, planned):
        figures = [f"figures/{name}_{key}.png" for key in experiment.figures]
        about = environment.described(self._results(name, experiment).about)
        judgements = self.judge(name, experiment)
        return sections.Chapter(name, experiment, judgements, figures, planned, about)

    def _results(self, name, experiment) -> Results:
        path = self._records(name)
        results = archive.read(path, self.scale)
        scale = results.about.get("scale", self.scale)
        labels = experiment.runs(self.scale)
        missing = [label for label in labels if label not in results.records]
        if scale != self.scale or missing:
            found = scale if scale != self.scale else f"no run {missing[0]!r}"
            raise ValueError(
                f"{path} must hold the runs of {name} at scale {self.scale}. Received: "
                f"{found}. Run it again, or remove the file."
            )
        return results

    def _records(self, name):
        return os.path.join(self.path, "records", f"{name}.jsonl.gz")
