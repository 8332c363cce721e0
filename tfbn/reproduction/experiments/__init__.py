"""One file an experiment, which holds it as `EXPERIMENT`; the file's name is its name.

To add one, add a file.
"""

import importlib
import pkgutil

from tfbn.reproduction.experiment import PAPERS
from tfbn.reproduction.experiment import Experiment


def load() -> dict[str, Experiment]:
    """All experiments by name, in the order of their papers and names."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found = {
        name: importlib.import_module(f"{__name__}.{name}").EXPERIMENT for name in names
    }
    order = list(PAPERS)
    return dict(sorted(found.items(), key=lambda e: (order.index(e[1].paper), e[0])))
