"""The experiments: each file defines one as `EXPERIMENT` and gives it its name.

To add an experiment, add a file.
"""

import importlib
import pkgutil

from tfbn.reproduction.experiment import PAPERS
from tfbn.reproduction.experiment import Experiment


def load() -> dict[str, Experiment]:
    """Returns all experiments by name, ordered by paper and name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    found = {
        name: importlib.import_module(f"{__name__}.{name}").EXPERIMENT for name in names
    }
    order = list(PAPERS)
    return dict(sorted(found.items(), key=lambda e: (order.index(e[1].paper), e[0])))
