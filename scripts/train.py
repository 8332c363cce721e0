"""Trains a network with the normalisation of your choice, and draws its curves.

Usage: python scripts/train.py --flagfile=NAME.cfg [flags]   (installed: tfbn-train)

A flagfile that is not in the current folder is looked up in scripts/configs/, which has
quickstart.cfg, vgg_renorm.cfg and others. Flags after it override its values. At the
end the run directory holds flags.cfg (which repeats the run), records.jsonl,
TensorBoard events (with the figures as images, and the flags as hyperparameters if the
package tensorboard is there), checkpoints/, model.keras and figures/. An interrupted
run that is started again with the same flags and --run_dir resumes from its last
checkpoint; Ctrl-C and SIGTERM save one first. Exit status: 0; 1 if the loss or its
gradients are not finite, or memory runs out; 2 for wrong input, or a file or folder
that cannot be read or written; 130 after Ctrl-C, 143 after SIGTERM.

Example: python scripts/train.py --flagfile=vgg_renorm.cfg --train_steps=2000
"""

import os

import _quiet_tensorflow  # noqa: F401  before anything that imports TensorFlow

from tfbn import plots
from tfbn.commands import cli
from tfbn.commands import flagfiles
from tfbn.experiment import build_trainer
from tfbn.recording import boards
from tfbn.recording import records
from tfbn.training.run_directory import FLAGS_FILE


def main(argv):
    """Trains; the chief draws, and prints where the results are."""
    cli.refuse_arguments(argv)
    trainer = build_trainer(flagfiles.from_flags())
    if trainer.is_chief:
        print(f"Run directory: {os.path.abspath(trainer.run_dir)}", flush=True)
    evaluation = trainer.train()
    if trainer.is_chief:
        _show(trainer, evaluation)
    trainer.wait_for_others()


def _show(trainer, evaluation):
    results = ", ".join(f"{name} {value:.4g}" for name, value in evaluation.items())
    print(f"Test split after {trainer.step} steps: {results}")
    runs = records.read_runs([trainer.run_dir])
    figures = os.path.join(trainer.run_dir, "figures")
    paths = plots.save(plots.figures(runs), figures)
    for path in paths:
        print(path)
    # Now that training has ended, which it would slow down.
    if paths:
        boards.write_figures(trainer.run_dir, paths, trainer.step)
    # Without the package tensorboard nobody can look at them, and none are written.
    boards.write_hparams(trainer.run_dir, os.path.join(trainer.run_dir, FLAGS_FILE))


if __name__ == "__main__":
    flagfiles.define()
    cli.run(main, prepare=flagfiles.expand_flagfiles)
