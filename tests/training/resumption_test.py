"""Tests of runs that end early and resume: tfbn.training.resumption in the trainer."""

import contextlib
import errno
import glob
import os
import random
import shutil
import tempfile
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from tensorflow.python.framework import config as tf_config

from tests import testing_utils
from tests.training import small
from tfbn.recording import records
from tfbn.training import Trainer
from tfbn.training import trainer as trainer_lib
from tfbn.training.run_directory import RunDirectory
from tfbn.training.step import Steps

_OPTIONS = {
    "train_steps": 17,
    "log_freq": 4,
    "validation_freq": 6,
    "checkpoint_freq": 3,
    "steps_per_execution": 4,
    "progress": False,
}

_WHOLE = {}


class Killed(BaseException):
    """In place of a SIGKILL: nothing catches it."""


class ResumptionTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.enter_context(testing_utils.graphs_as_traced())
        tf.config.experimental.enable_op_determinism()
        self.addCleanup(tf_config.disable_op_determinism)

    def _trainer(self, folder=None, batches="arrays", model="sequential", **options):
        keras.utils.set_random_seed(0)
        problem = small.problem("sequential")
        return Trainer(
            getattr(small, model)(),
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.01, 17)),
            problem.options["loss"],
            problem.batches(batches),
            run_dir=folder or tempfile.mkdtemp(dir=self.get_temp_dir()),
            metrics=["accuracy"],
            validation_data=(problem.x, problem.y),
            **{**_OPTIONS, **options},
        )

    def _whole(self, **options):
        """A run that was not killed, the same for all tests, and its result."""
        key = str(options)
        if key not in _WHOLE:
            whole = self._trainer(**options)
            _WHOLE[key] = whole, whole.train()
        return _WHOLE[key]

    def _killed(self, trainer, moment, number):
        """Runs until just before or after the `number`th of some event."""
        owner, name, after = {
            "after_steps": (Steps, "run", True),
            "after_train_record": (RunDirectory, "train", True),
            "after_evaluation": (RunDirectory, "evaluation", True),
            "after_measurement": (RunDirectory, "measurement", True),
            "before_checkpoint": (tf.train.CheckpointManager, "save", False),
            "after_checkpoint": (tf.train.CheckpointManager, "save", True),
            "before_model": (RunDirectory, "save_model", False),
        }[moment]
        original, calls = getattr(owner, name), []

        def patched(*args, **kwargs):
            calls.append(name)
            if len(calls) < number:
                return original(*args, **kwargs)
            if after:
                original(*args, **kwargs)
            raise Killed

        with mock.patch.object(owner, name, patched), contextlib.suppress(Killed):
            trainer.train()
            self.fail("not killed")

    def _assert_same_run(self, a, b):
        for one, other in zip(
            [*a.model.variables, *a._parts.optimizer.variables],
            [*b.model.variables, *b._parts.optimizer.variables],
            strict=True,
        ):
            np.testing.assert_array_equal(one.numpy(), other.numpy(), one.path)
        self.assertEqual(_content(a, "records.jsonl"), _content(b, "records.jsonl"))
        self.assertEqual(_events(a), _events(b))

    def test_a_killed_run_ends_as_one_that_was_not(self):
        self._assert_ends_as_if_not_killed("arrays", "before_model", 1)

    @parameterized.parameters(
        ("function", "before_checkpoint", 3), ("dataset", "after_evaluation", 2)
    )
    @pytest.mark.long
    def test_with_other_batches_too(self, batches, moment, number):
        self._assert_ends_as_if_not_killed(batches, moment, number)

    def _assert_ends_as_if_not_killed(self, batches, moment, number):
        whole, result = self._whole(model="with_all_state")
        first = self._trainer(batches=batches, model="with_all_state")
        self._killed(first, moment, number)
        second = self._trainer(first.run_dir, batches, "with_all_state")
        self.assertEqual(second.train(), result)
        self._assert_same_run(second, whole)
        (model,) = glob.glob(os.path.join(first.run_dir, "*.keras"))
        self.assertEqual(os.path.basename(model), "model.keras")

    def test_diagnostics_resume_too(self):
        self._assert_diagnostics_resume("dataset")

    @pytest.mark.long
    def test_diagnostics_of_arrays_resume_too(self):
        self._assert_diagnostics_resume("arrays")

    def _assert_diagnostics_resume(self, batches):
        """The drift is that since step 0, on the batch of step 0."""
        watched = {"activations": 5}
        whole, _ = self._whole(diagnostics=watched)
        options = {"batches": batches, "diagnostics": watched}
        first = self._trainer(**options)
        self._killed(first, "after_measurement", 3)
        second = self._trainer(first.run_dir, **options)
        second.train()
        self._assert_same_run(second, whole)
        (*_, last) = records.read_records(second.run_dir, "activations")
        self.assertGreater(last["layers"][0]["mean_drift"], 0.0)

    def test_a_shuffled_dataset(self):
        """Its buffer and its order in later epochs are in the checkpoint."""
        problem = small.problem("sequential")

        def trainer(folder):
            examples = tf.data.Dataset.from_tensor_slices((problem.x, problem.y))
            return Trainer(
                small.sequential(),
                "sgd",
                problem.options["loss"],
                examples.shuffle(9, seed=3).repeat().batch(small.BATCH).prefetch(2),
                run_dir=folder,
                train_steps=12,
                log_freq=1,
                checkpoint_freq=7,
                progress=False,
            )

        first = trainer(tempfile.mkdtemp(dir=self.get_temp_dir()))
        first.train()
        copy = tempfile.mkdtemp(dir=self.get_temp_dir())
        shutil.copytree(first.run_dir, copy, dirs_exist_ok=True)
        for path in glob.glob(f"{copy}/checkpoints/ckpt-12*"):
            os.remove(path)
        second = trainer(copy)
        second.train()
        one, other = _content(first, "records.jsonl"), _content(second, "records.jsonl")
        self.assertEqual(one, other)

    def test_killed_again_and_again(self):
        (whole, _), rng = self._whole(), random.Random(0)
        moments = ["after_steps", "after_train_record", "after_checkpoint"]
        folder = None
        for _ in range(2):
            part = self._trainer(folder)
            folder = part.run_dir
            self._killed(part, rng.choice(moments), rng.randint(1, 2))
        last = self._trainer(folder)
        last.train()
        self._assert_same_run(last, whole)

    def test_lost_records_take_an_older_checkpoint(self):
        whole, _ = self._whole()
        first = self._trainer()
        self._killed(first, "before_checkpoint", 5)
        path = os.path.join(first.run_dir, "records.jsonl")
        content = _content(first, "records.jsonl")
        evaluated = content.index(b"eval")  # at step 6, right before its checkpoint
        os.truncate(path, content.index(b"\n", evaluated) + 1)
        second = self._trainer(first.run_dir)
        with self.assertLogs(level="WARNING") as logs:
            second.train()
        self.assertRegex(logs.output[0], r"it goes with \d+ bytes of .*records.jsonl")
        self._assert_same_run(second, whole)

    def test_a_full_disk_leaves_all_that_was_there(self):
        (whole, _), first = self._whole(), self._trainer()
        save, calls = tf.train.CheckpointManager.save, []

        def limited(*args, **kwargs):
            calls.append(args)
            if len(calls) < 3:
                return save(*args, **kwargs)
            with testing_utils.files_of_at_most(1000):
                return save(*args, **kwargs)

        with mock.patch.object(tf.train.CheckpointManager, "save", limited):
            with self.assertRaises(OSError) as raised:
                first.train()
        self.assertEqual(raised.exception.errno, errno.EFBIG)
        self.assertEndsWith(raised.exception.filename, "checkpoints")
        checkpoints = os.listdir(os.path.join(first.run_dir, "checkpoints"))
        self.assertEqual(
            {name.partition(".")[0] for name in checkpoints},
            {"checkpoint", "ckpt-3", "ckpt-6"},
        )
        written = _content(first, "records.jsonl")
        self.assertTrue(_content(whole, "records.jsonl").startswith(written))
        second = self._trainer(first.run_dir)
        second.train()
        self._assert_same_run(second, whole)

    def test_a_complete_run_stays_as_it_is(self):
        whole, result = self._whole()
        before = _content(whole, "records.jsonl")
        again = self._trainer(whole.run_dir)
        with mock.patch.object(Steps, "run", side_effect=AssertionError("trained")):
            self.assertEqual(again.train(), result)
        self.assertEqual(again.step, 17)
        self.assertEqual(_content(whole, "records.jsonl"), before)

    def test_other_settings_are_refused_and_nothing_touched(self):
        first = self._trainer(train_steps=3)
        first.train()
        names = "flags.cfg", "records.jsonl"
        before = [_content(first, name) for name in names]
        with self.assertRaisesRegex(
            ValueError, r"--train_steps=4 \(the run: 3\), --log_freq=5 \(the run: 4\)\."
        ):
            self._trainer(first.run_dir, train_steps=4, log_freq=5)
        self.assertEqual([_content(first, name) for name in names], before)
        others = {"checkpoint_freq": 1, "checkpoint_minutes": 0.0, "max_to_keep": 1}
        again = self._trainer(first.run_dir, train_steps=3, **others)
        again.train()
        self.assertIn(b"--checkpoint_freq=1\n", _content(first, "flags.cfg"))

    def test_minutes(self):
        clock = mock.Mock(return_value=0.0)
        first = self._trainer(checkpoint_freq=0, checkpoint_minutes=0.5, max_to_keep=9)
        first._parts.resumption._clock = clock
        run, seconds = Steps.run, iter((20.0, 29.0, 31.0, 50.0, 60.0, 70.0))

        def slow(*args):
            clock.return_value = next(seconds, 70.0)
            return run(*args)

        with mock.patch.object(Steps, "run", slow):
            first.train()
        steps = {_step(p) for p in glob.glob(f"{first.run_dir}/checkpoints/*.index")}
        # Calls end at 4 (20 s), 6 (29 s), 8 (31 s), 12 (50 s), 16 (60 s) and 17.
        self.assertEqual(steps, {8, 17})

    def test_interrupted_it_saves_and_goes_on(self):
        whole, _ = self._whole()
        first = self._trainer(checkpoint_freq=0)
        run, calls = Steps.run, []

        class Interruption(trainer_lib.Interruption):
            def __enter__(inner):
                self.interruption = inner
                return inner

        def interrupted(*args):
            calls.append(args)
            if len(calls) == 3:
                self.interruption.signal = 15
            return run(*args)

        with (
            mock.patch.object(trainer_lib, "Interruption", Interruption),
            mock.patch.object(Steps, "run", interrupted),
            self.assertRaises(SystemExit) as end,
        ):
            first.train()
        self.assertEqual(end.exception.code, 143)
        self.assertEqual(first._parts.resumption.latest(), first.step)
        second = self._trainer(first.run_dir)
        with mock.patch.object(Steps, "run", autospec=True, side_effect=run) as runs:
            second.train()
        made = sum(call.args[2] for call in runs.call_args_list)
        self.assertEqual(made, 17 - first.step)
        self._assert_same_run(second, whole)


def _content(trainer, name):
    with open(os.path.join(trainer.run_dir, name), "rb") as file:
        return file.read()


def _events(trainer):
    """All summaries of a run, its event files in the order of their making."""
    paths = glob.glob(os.path.join(trainer.run_dir, "events.out.tfevents.*"))
    paths.sort(key=lambda path: [int(n) for n in path.split(".") if n.isdigit()])
    return [
        (event.step, value.tag, value.tensor.SerializeToString())
        for path in paths
        for event in tf.compat.v1.train.summary_iterator(path)
        for value in event.summary.value
    ]


def _step(path):
    return int(os.path.basename(path).split("-")[1].split(".")[0])


if __name__ == "__main__":
    tf.test.main()
