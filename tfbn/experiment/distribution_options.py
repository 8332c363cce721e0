"""Options of the distribution over several devices.

None of them affects results by more than rounding, except where statistics are those of
the slices of a batch: `tfbn.training` then refuses to resume on another number of
replicas.
"""

from tfbn.experiment.section import Section
from tfbn.experiment.section import choice_of
from tfbn.experiment.strategies import STRATEGIES
from tfbn.options import Option


def _check(config):
    if config.strategy == "multi_worker" and not config.run_dir:
        raise ValueError(
            "run_dir must be given with strategy=multi_worker: a folder that all "
            "machines share. Received: strategy=multi_worker, run_dir=''."
        )
    if config.synchronized and config.virtual_batch_size:
        raise ValueError(
            "virtual_batch_size must be 0 with synchronized: one makes the batch of "
            "the statistics smaller, the other larger. Received: virtual_batch_size="
            f"{config.virtual_batch_size}, synchronized=True."
        )


SECTION = Section(
    "Distribution",
    (
        Option(
            "strategy",
            "none",
            "Where the run computes: on one device, or as replicas with a slice of "
            "each batch: on all accelerators of this machine (mirrored), of all "
            "machines that TF_CONFIG or Slurm names (multi_worker), or on a TPU.",
            choices=STRATEGIES.names,
            affects_results=False,
        ),
        *STRATEGIES.options,
        Option(
            "synchronized",
            False,
            "Take the statistics of normalisation layers over the batches of all "
            "replicas, not of each.",
            affects_results=False,
        ),
    ),
    _check,
    (choice_of(STRATEGIES),),
)
