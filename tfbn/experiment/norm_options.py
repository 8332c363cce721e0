"""Options of the normalisation layers."""

from tfbn.experiment import norms
from tfbn.experiment.section import Section
from tfbn.experiment.section import choice_of
from tfbn.options import Option

NORM = Option(
    "norm",
    "batch_renorm",
    "Layer between each layer with a kernel and its nonlinearity.",
    choices=norms.NORMS.names,
)


def _check(config):
    size = config.virtual_batch_size
    divided = ["batch_size"]
    if config.eval_in_training_mode:
        divided.append("training_mode_batch_size")
    for name in divided:
        if size and getattr(config, name) % size:
            raise ValueError(
                f"virtual_batch_size must divide {name}. Received: virtual_batch_size="
                f"{size}, {name}={getattr(config, name)}. Change either."
            )


SECTION = Section(
    "Normalisation", (NORM, *norms.NORMS.options), _check, (choice_of(norms.NORMS),)
)
