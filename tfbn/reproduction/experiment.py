"""The declaration of an experiment, and the papers and scales there are."""

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence

from matplotlib.figure import Figure

from tfbn.reproduction.claims import Claim
from tfbn.reproduction.results import Results

PAPERS = {
    "santurkar": "Santurkar et al. 2018, How does batch normalization help "
    "optimization? (arXiv 1805.11604)",
    "ioffe_2017": "Ioffe 2017, Batch renormalization (arXiv 1702.03275)",
    "ioffe_2015": "Ioffe & Szegedy 2015, Batch normalization (arXiv 1502.03167)",
    "replication": "A public replication of Santurkar et al. "
    "(github.com/mameli/Test_batch_norm_paper)",
}

SCALES = ("smoke", "cpu", "paper")

# Three seeds are a screen and the least that decide a claim: see verdicts.py.
SEEDS = {"smoke": 1, "cpu": 3, "paper": 3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """An experiment: its runs, the figures that they give and the claims they decide.

    Attributes:
        paper: str, one of `PAPERS`.
        title: str, the question, in a few words.
        source: str, the paper's section or figure.
        setting: str, Markdown: what is run, and how that differs from the paper.
        runs: function from a scale to a dict: label of a run -> its options, as fields
            of `TrainConfig`. Runs with equal options are trained once, even if several
            experiments need them.
        kinds: the kinds of records that the figures and claims read; the archive keeps
            only these. A run ends at the last step among them, so they must include
            "train" or "eval".
        figures: name -> function from `Results` to a figure.
        claims: the paper's statements, in a form that the runs can decide.
        seeds: scale -> number of seeds, where it is not that of `SEEDS`.
        seeds_of: what comes before a comma in labels -> scale -> number of seeds, where
            their runs have another number. A claim is about the seeds that all its runs
            have.
        first_seeds: what comes before a comma in labels -> the first seed of their
            runs, where it is not 0: for runs that repeat others with seeds which the
            choice of a claim had not seen.
        histograms: labels of the runs whose histograms of activations the figures show
            (of the first seed); the archive keeps only these.
    """

    paper: str
    title: str
    source: str
    setting: str
    runs: Callable[[str], Mapping[str, Mapping]]
    kinds: Sequence[str]
    figures: Mapping[str, Callable[[Results], Figure]]
    claims: Sequence[Claim]
    histograms: Sequence[str] = ()
    seeds: Mapping[str, int] = dataclasses.field(default_factory=dict)
    seeds_of: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)
    first_seeds: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def seeds_of_runs(self, scale: str, label: str) -> range:
        """The seeds of the runs with a label."""
        word = label.partition(",")[0]
        of_label = self.seeds_of.get(word, {})
        number = of_label.get(scale, self.seeds.get(scale, SEEDS[scale]))
        first = self.first_seeds.get(word, 0)
        return range(first, first + number)
