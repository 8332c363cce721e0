"""Options of the data and of how batches are drawn."""

from tfbn.data import npz
from tfbn.data.loading import SOURCES
from tfbn.data.samplers import SAMPLERS
from tfbn.experiment.section import Choice
from tfbn.experiment.section import Section
from tfbn.experiment.section import choice_of
from tfbn.models.registry import NETWORKS
from tfbn.options import Option


def _taken(dataset):
    return SOURCES[dataset].options if dataset in SOURCES else ()


def _check(config):
    """Refuses what is sure not to fit before anything is loaded."""
    source = None if npz.is_path(config.dataset) else SOURCES.get(config.dataset)
    if source is None:
        return
    network = NETWORKS.get(config.model)
    if network is not None and network.task != source.task:
        raise ValueError(
            f"model={config.model} needs a data set of {network.needs}. Received: "
            f"model={config.model}, dataset={config.dataset}, a {source.task}."
        )
    needed = SAMPLERS[config.sampling].needs
    if needed == "domains" and not source.has_domains:
        having = [name for name, entry in SOURCES.items() if entry.has_domains]
    elif needed == "labels" and source.task != "classification":
        having = [n for n, entry in SOURCES.items() if entry.task == "classification"]
    else:
        return
    raise ValueError(
        f"sampling={config.sampling} needs a data set with {needed}, such as "
        f"{', '.join(having)}. Received: sampling={config.sampling}, "
        f"dataset={config.dataset}."
    )


SECTION = Section(
    "Data",
    (
        Option(
            "dataset",
            "cifar10",
            f"Data set: {', '.join(SOURCES)}, another image classification data set of "
            "TensorFlow Datasets, or a .npz file with the arrays x, y, x_test, y_test.",
        ),
        Option(
            "data_dir",
            "",
            "Folder of TFDS's prepared data sets; empty: TFDS's own, with download.",
            affects_results=False,
        ),
        *SOURCES.options,
        Option(
            "sampling",
            "iid",
            "How batches are drawn: shuffled epochs; --images_per_label examples of "
            "each of some labels; or one domain for --steps_per_domain steps, then the "
            "next.",
            choices=SAMPLERS.names,
        ),
        *SAMPLERS.options,
        Option("batch_size", 128, "Examples in a training batch.", minimum=1),
    ),
    _check,
    (
        Choice("dataset", SOURCES.options, _taken),
        choice_of(SAMPLERS),
    ),
)
