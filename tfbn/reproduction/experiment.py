"""What an experiment is: data."""

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

# Three is the least number of seeds that decides a claim: see claims.py.
SEEDS = {"smoke": 1, "cpu": 3, "paper": 3}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Experiment:
    """Runs, the figures drawn from them and the claims judged by them.

    Attributes:
        paper: str, one of `PAPERS`.
        title: str, what is asked, in a few words.
        source: str, the paper's section or figure.
        setting: str, Markdown: what is run, and where that is not what the paper ran.
        runs: function from a scale to a dict: label of a run -> its options, fields of
            `TrainConfig`. Runs of equal options, of whatever experiments, are trained
            once.
        kinds: the kinds of records that figures and claims read; the archive keeps no
            others. Their last step counts as the end of a run, so one of "train" and
            "eval" is among them.
        histograms: labels of the runs of whose first seed figures show histograms of
            activations; the archive keeps no others.
        figures: name -> function from `Results` to a figure.
        claims: what the paper says, in a form that the runs decide.
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
