"""Options of the training loop: how it runs, and what it writes."""

from tfbn.experiment.section import Section
from tfbn.options import Option


def _check(config):
    number = config.recalibration_batches
    if number and config.takes("norm") and not config.takes("norm_momentum"):
        raise ValueError(
            "recalibration_batches must be 0 with a norm that has no moving averages. "
            f"Received: recalibration_batches={number}, norm={config.norm}."
        )


SECTION = Section(
    "Training loop",
    (
        Option(
            "jit_compile",
            "auto",
            "Compile the step with XLA; auto: on accelerators only.",
            choices=("auto", "on", "off"),
        ),
        Option(
            "steps_per_execution",
            10,
            "Steps in one call of the compiled loop.",
            minimum=1,
        ),
        Option("seed", 0, "Seed of weights, batches and noise."),
        Option(
            "deterministic",
            False,
            "Use deterministic kernels only: the same flags give the same bits.",
        ),
        Option(
            "on_nonfinite",
            "stop",
            "What to do if a step's loss or gradients are not finite: stop, and report "
            "the layer where it shows first; skip the step, count it, and leave "
            "weights, averages and optimizer as they were; or ignore it.",
            choices=("stop", "skip", "ignore"),
        ),
        Option(
            "run_dir",
            "",
            "Folder for the results; empty: a new one under runs/.",
            affects_results=False,
        ),
        Option(
            "checkpoint_every",
            1000,
            "Steps between checkpoints; 0: by --checkpoint_minutes alone.",
            affects_results=False,
        ),
        Option(
            "checkpoint_minutes",
            10.0,
            "Minutes after which a checkpoint is written anyway; 0: never.",
            minimum=0.0,
            affects_results=False,
        ),
        Option(
            "checkpoints_kept",
            3,
            "Number of newest checkpoints to keep.",
            minimum=1,
            affects_results=False,
        ),
        Option("log_every", 10, "Steps between training records.", minimum=1),
        Option("eval_every", 1000, "Steps between evaluations; 0: only at the end."),
        Option("eval_batch_size", 1000, "Examples in an evaluation batch.", minimum=1),
        Option(
            "eval_in_training_mode",
            False,
            "Evaluate in training mode too (batch statistics, dropout, noise), on at "
            "most 40 batches of the test split, drawn by --sampling; domain_biased "
            "alternates the domains batch by batch.",
        ),
        Option(
            "training_mode_batch_size",
            50,
            "Examples in a batch of --eval_in_training_mode (Ioffe 2017, sec. 4.3: "
            "50).",
            minimum=1,
        ),
        Option(
            "recalibration_batches",
            0,
            "Evaluate also with moving averages that are computed anew from so many "
            "training batches, and not kept; 0: never.",
            minimum=0,
        ),
        Option("progress", True, "Show a progress bar.", affects_results=False),
    ),
    _check,
)
