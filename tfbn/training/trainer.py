"""What trains a model: the arguments of a run, and its beginning and end."""

import os
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfbn import _compat
from tfbn.recording import watching
from tfbn.training import arguments
from tfbn.training import processes
from tfbn.training import run_directory
from tfbn.training import run_parts
from tfbn.training.interruption import Interruption
from tfbn.training.loop import Loop
from tfbn.training.loop import Position
from tfbn.training.progress import Progress

# The first lines of flags.cfg.
_REPEAT = "Repeat this run: python scripts/train.py --flagfile=THIS_FILE"
_OPTIONS = "The options of tfbn.training.Trainer in this run"


class Trainer:
    """Trains a Keras model with records, diagnostics and exact resumption.

    Measuring does not change a run, and neither does ending its process at any moment:
    another trainer made the same way, with the same `run_dir`, resumes from the newest
    checkpoint and ends with the same numbers; to the bit where TensorFlow's kernels are
    deterministic (`tf.config.experimental.enable_op_determinism()`).

    Batches come in one of three forms:

    * `tfbn.data.ArrayBatches`, arrays in memory and a sampler: gathered on the device,
      `steps_per_execution` steps in one call. Resumption is exact.
    * a function `batches(step) -> (x, y)` of arrays, tensors or structures of them; it
      must return the same batch whenever it is called with the same step. Each step is
      a call of its own. Resumption is exact.
    * a `tf.data.Dataset` of batches `(x, y)` for all of `train_steps`, so usually one
      that ends in `.repeat()`. Each step is a call of its own. Checkpoints hold the
      iterator with its shuffle buffers and its prefetched batches. Resumption is
      exact for the same pipeline on the same files if the pipeline is deterministic
      (`map(..., deterministic=False)` is not) and `shuffle` has a seed. Without a
      seed it is exact only to the end of the current pass over the data: TensorFlow
      then draws another order than the uninterrupted run would have had.
      Pipelines whose iterators cannot be saved are refused: Python functions
      (`from_generator`, `py_function`) and stateful operations, such as random ones
      without `tf.random.stateless_*`, unless the dataset's option
      `experimental_external_state_policy` ignores those; their state is lost then.
      Diagnostics that need the batch of the next step cannot be measured.

    Constructing a trainer writes nothing to disk.

    Example:
        >>> import tempfile
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential(
        ...     [keras.Input((4,)), keras.layers.Dense(8), tfbn.BatchNorm(),
        ...      keras.layers.Dense(1)]
        ... )
        >>> x, y = np.random.normal(size=(64, 4)), np.random.normal(size=(64, 1))
        >>> batches = tfbn.data.ArrayBatches(x, y, tfbn.data.IIDBatches(64, 16, seed=0))
        >>> trainer = tfbn.training.Trainer(
        ...     model, "adam", "mse", batches, run_dir=tempfile.mkdtemp(),
        ...     train_steps=20, validation_data=(x, y), diagnostics={"ics": 10},
        ...     progress=False,
        ... )
        >>> sorted(trainer.train())
        ['loss']

    Args:
        model: a built Keras model: functional, sequential or subclassed, with any
            number of inputs and outputs. It need not be compiled, and its own
            `train_step` and `compute_loss` are not used.
        optimizer: as `keras.Model.compile` takes it.
        loss: as `keras.Model.compile` takes it. The penalties of regularizers and of
            `add_loss` are added to it in training. With `reduction="sum"` an evaluation
            adds it up; otherwise it averages over the examples.
        batches: see above.
        run_dir: folder of the results, made by `train`: `flags.cfg` (the settings),
            `records.jsonl`, TensorBoard events, `checkpoints/` and `model.keras`. A
            folder with a run of the same settings is resumed.
        train_steps: int > 0, optimizer steps.
        metrics: as `keras.Model.compile` takes them. Training records hold the mean of
            their values on single batches.
        loss_weights: as `keras.Model.compile` takes them.
        validation_data: `(x, y)` arrays or structures of arrays, `tfbn.data.Arrays`, or
            a finite `tf.data.Dataset` of batches. Default: no evaluation.
        validation_batch_size: int > 0, examples in an evaluation batch of arrays.
        validation_freq: int >= 0, steps between evaluations; 0: only at the end.
        evaluations: mapping from a kind of record to a function without arguments that
            returns a dict of floats: further evaluations at the same steps.
        steps_per_execution: int > 0, most steps in one call of the compiled loop.
        jit_compile: bool or "auto": whether XLA compiles the step. "auto" means on
            accelerators; on a CPU it makes convolutions several times slower.
        on_nonfinite: "stop" the run at a step whose loss or gradients are not finite,
            with the layer where that shows first; "skip" such steps and count them; or
            "ignore" them.
        diagnostics: mapping from the name of a diagnostic to the steps between its
            measurements, or a sequence of `tfbn.recording.watching.Watch`.
        log_freq: int > 0, steps between training records.
        checkpoint_freq: int >= 0, steps between checkpoints; 0: by the clock alone.
        checkpoint_minutes: float >= 0, minutes after which there is one in any case; 0:
            never.
        max_to_keep: int > 0, newest checkpoints to keep.
        settings: sequence of `tfbn.training.Setting`, what the run depends on, for
            `flags.cfg`. Default: the options of the trainer itself.
        progress: bool, whether to print the progress.
        strategy: `tf.distribute.Strategy` of synchronous replicas, within whose scope
            model and optimizer were made, or None. Each replica computes its slice of
            every batch; see `docs/distributed.md`.

    Attributes:
        model: the model.
        run_dir: str.
        is_chief: bool, whether this process writes the results; of several processes
            of a strategy one does.

    Raises:
        ValueError: if an argument breaks its rule, batches, loss, metrics and model do
            not fit together, or the run directory cannot be used.
        MemoryError: if a step certainly does not fit into the memory of a CPU.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: Any,
        loss: Any,
        batches: Any,
        *,
        run_dir: str,
        train_steps: int,
        metrics: Any = (),
        loss_weights: Any = None,
        validation_data: Any = None,
        validation_batch_size: int = 1000,
        validation_freq: int = 1000,
        evaluations: Mapping[str, Callable[[], Mapping[str, float]]] | None = None,
        steps_per_execution: int = 10,
        jit_compile: bool | str = "auto",
        on_nonfinite: str = "stop",
        diagnostics: Mapping[str, int] | Sequence[watching.Watch] = (),
        log_freq: int = 10,
        checkpoint_freq: int = 1000,
        checkpoint_minutes: float = 10.0,
        max_to_keep: int = 3,
        settings: Sequence[run_directory.Setting] = (),
        progress: bool = True,
        strategy: tf.distribute.Strategy | None = None,
    ):
        options = arguments.TrainerOptions(
            train_steps=train_steps,
            validation_batch_size=validation_batch_size,
            validation_freq=validation_freq,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
            on_nonfinite=on_nonfinite,
            log_freq=log_freq,
            checkpoint_freq=checkpoint_freq,
            checkpoint_minutes=checkpoint_minutes,
            max_to_keep=max_to_keep,
            progress=progress,
        )
        self._parts = run_parts.assembled(
            model,
            optimizer,
            loss,
            batches,
            run_dir=os.fspath(run_dir),
            options=options,
            metrics=metrics,
            loss_weights=loss_weights,
            validation_data=validation_data,
            evaluations=evaluations,
            diagnostics=diagnostics,
            settings=settings,
            strategy=strategy,
        )
        self._header = _REPEAT if settings else _OPTIONS
        self._position = Position()
        self.model = model
        self.run_dir: str = self._parts.run_dir
        self.is_chief = self._parts.is_chief

    @property
    def step(self) -> int:
        """int, optimizer steps made."""
        return self._position.step

    def train(self) -> dict[str, float]:
        """Trains to the end, from the newest good checkpoint in the run directory.

        SIGINT (Ctrl-C) and SIGTERM wait until the step is made and saved.

        Returns:
            The last evaluation on the validation data; empty without such data.

        Raises:
            ValueError: if another process uses the run directory, none of the
                checkpoints in it can be used, or a dataset ends too early.
            OSError: if the run directory cannot be written, as on a full disk.
            NonFiniteError: as `on_nonfinite` says.
            MemoryError: if a step or an evaluation does not fit into memory.
            ConnectionError: if another process of the run has ended.
            KeyboardInterrupt: after SIGINT.
            SystemExit: with status 143 after SIGTERM.
        """
        parts = self._parts
        progress = Progress(
            parts.options.train_steps,
            parts.source.batch_size,
            enabled=parts.options.progress and self.is_chief,
        )
        with (
            progress,
            # Called within it or not, a run is the same; steps enter it themselves.
            _compat.outside_strategy(),
            self._results() as results,
            Interruption() as interruption,
            processes.one_line_errors(parts.strategy),
        ):
            loop = Loop(parts, self._position, results, progress, interruption)
            evaluation = loop.run()
        parts.diagnostics.sum_up(progress.note)
        if skipped := self._position.metrics.num_skipped:
            progress.note(f"Skipped {skipped} steps: loss or gradients not finite.")
        return evaluation

    def wait_for_others(self) -> None:
        """Waits until all processes of the run have come here; one alone does not.

        A process that ends while another still works is taken for one that has failed.
        """
        with processes.one_line_errors(self._parts.strategy):
            processes.largest(0, self._parts.strategy)

    def _results(self):
        if not self.is_chief:
            return run_directory.Onlooker(self.run_dir)
        return run_directory.RunDirectory(
            self.run_dir, self._parts.settings, header=self._header
        )
