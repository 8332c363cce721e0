"""Tests of tfbn.training.checkpoints."""

import errno
import os
import tempfile
from unittest import mock

import tensorflow as tf
from absl.testing import parameterized

from tfbn.training.checkpoints import Checkpoints
from tfbn.training.checkpoints import PlainState


class CheckpointsTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = os.path.join(
            tempfile.mkdtemp(dir=self.get_temp_dir()), "checkpoints"
        )

    def _process(self, kept=3):
        """What a process of the run has: a variable, plain values, the checkpoints."""
        variable, state = tf.Variable([0.0, 0.0]), PlainState()
        checkpoints = Checkpoints(
            self.folder, kept=kept, variable=variable, state=state
        )
        return variable, state, checkpoints

    def _save(self, *steps, kept=3):
        variable, state, checkpoints = self._process(kept)
        checkpoints.restore()
        for step in steps:
            variable.assign([step, 0.5 * step])
            state.values = {"step": step, "loss": 0.1 * step, "names": ["a"]}
            checkpoints.save(step)
        return checkpoints

    def _restored(self, **options):
        variable, state, checkpoints = self._process()
        step = checkpoints.restore(**options)
        if step is not None:
            self.assertAllEqual(variable, [step, 0.5 * step])
            self.assertEqual(
                state.values, {"step": step, "loss": 0.1 * step, "names": ["a"]}
            )
        return step

    def _path(self, step, part):
        suffix = {"index": "index", "data": "data-00000-of-00001"}[part]
        return os.path.join(self.folder, f"ckpt-{step}.{suffix}")

    def _steps(self):
        return sorted(
            int(name[5:-6]) for name in os.listdir(self.folder) if "index" in name
        )

    def test_nothing_yet(self):
        self.assertIsNone(self._restored())
        self.assertFalse(os.path.exists(self.folder))
        self.assertIsNone(self._process()[2].latest())

    def test_newest_is_restored(self):
        checkpoints = self._save(10, 20)
        self.assertEqual(checkpoints.latest(), 20)
        self.assertEqual(self._restored(), 20)

    def test_some_are_kept_over_processes(self):
        self._save(10, 20, 30, kept=2)
        self.assertEqual(self._steps(), [20, 30])
        self._save(40, kept=2)
        self.assertEqual(self._steps(), [30, 40])
        self._save(50, kept=1)
        self.assertEqual(self._steps(), [50])

    def test_others_can_read_it(self):
        self._save(10, 20)
        self._save(30)
        latest = tf.train.latest_checkpoint(self.folder)
        self.assertEndsWith(latest, "ckpt-30")
        variable = tf.Variable([0.0, 0.0])
        tf.train.Checkpoint(variable=variable).restore(latest).expect_partial()
        self.assertAllEqual(variable, [30.0, 15.0])

    @parameterized.product(
        part=("index", "data"), damage=("empty", "half", "last_byte", "flipped")
    )
    def test_damaged_newest_is_told_and_the_one_before_used(self, part, damage):
        self._save(10, 20)
        path = self._path(20, part)
        with open(path, "rb") as file:
            content = file.read()
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 0xFF])
        content = {
            "empty": b"",
            "half": content[:middle],
            "last_byte": content[:-1],
            "flipped": content[:middle] + flipped + content[middle + 1 :],
        }[damage]
        with open(path, "wb") as file:
            file.write(content)
        with self.assertLogs(level="WARNING") as logs:
            self.assertEqual(self._restored(), 10)
        (message,) = logs.output
        self.assertRegex(message, r"ckpt-20 cannot be used: .+ The one before is used")
        # It comes again, and nothing of the damaged one stays.
        self._save(20)
        self.assertEqual(self._steps(), [10, 20])
        self.assertEqual(self._restored(), 20)

    def test_missing_data_is_damage(self):
        self._save(10, 20)
        os.remove(self._path(20, "data"))
        with self.assertLogs(level="WARNING"):
            self.assertEqual(self._restored(), 10)

    def test_all_damaged(self):
        self._save(10)
        with open(self._path(10, "data"), "wb"):
            pass
        with self.assertRaisesRegex(
            ValueError,
            r"ckpt-10 cannot be used: .* To start again, remove .*checkpoints",
        ):
            self._restored()
        self.assertEqual(self._steps(), [10])

    def test_an_objection_counts_as_damage(self):
        self._save(10, 20)
        variable, state, checkpoints = self._process()

        def objection():
            return "it is late" if state.values["step"] > 10 else None

        with self.assertLogs(level="WARNING") as logs:
            self.assertEqual(checkpoints.restore(objection), 10)
        self.assertIn("ckpt-20 cannot be used: it is late.", logs.output[0])
        self.assertAllEqual(variable, [10.0, 5.0])

    @parameterized.parameters("", "damaged", "\xff", 'model_checkpoint_path: "ckpt-99"')
    def test_damaged_list_of_tensorflows(self, content):
        self._save(10, 20)
        with open(
            os.path.join(self.folder, "checkpoint"), "w", encoding="latin-1"
        ) as file:
            file.write(content)
        self.assertEqual(self._restored(), 20)
        self._save(30, 40, kept=3)
        self.assertEqual(self._steps(), [20, 30, 40])
        self.assertEndsWith(tf.train.latest_checkpoint(self.folder), "ckpt-40")

    def test_what_a_killed_process_left_is_removed(self):
        self._save(10)
        os.makedirs(os.path.join(self.folder, "ckpt-20_temp"))
        for name in ("ckpt-20_temp/part", "ckpt-20.data-00000-of-00001", "a.tmp"):
            with open(os.path.join(self.folder, name), "w"):
                pass
        self.assertEqual(self._restored(), 10)
        self.assertCountEqual(
            os.listdir(self.folder),
            ["checkpoint", "ckpt-10.index", "ckpt-10.data-00000-of-00001"],
        )

    def test_another_model_is_refused_and_kept(self):
        self._save(10, 20)
        other = Checkpoints(
            self.folder, kept=3, variable=tf.Variable(1.0), state=PlainState()
        )
        extra = Checkpoints(
            self.folder, kept=3, state=PlainState(), more=tf.Variable(1.0)
        )
        with self.assertRaisesRegex(ValueError, "ckpt-20 is of another model"):
            extra.restore()
        with self.assertRaisesRegex(ValueError, "(?i)shape"):
            other.restore()
        self.assertEqual(self._steps(), [10, 20])

    @parameterized.parameters(
        (tf.errors.ResourceExhaustedError, "x; No space left on device", errno.ENOSPC),
        (tf.errors.PermissionDeniedError, "x; Permission denied", errno.EACCES),
        (tf.errors.UnknownError, "x; Input/output error\npages", errno.EIO),
        (tf.errors.UnknownError, "{{node a b}} x; odd.\npages", None),
    )
    def test_what_cannot_be_written_leaves_the_ones_before(self, error, text, code):
        checkpoints = self._save(10)

        def fail(*unused_args, **unused_kwargs):
            os.makedirs(os.path.join(self.folder, "ckpt-20_temp"))
            raise error(None, None, text)

        with mock.patch.object(tf.train.CheckpointManager, "save", fail):
            with self.assertRaises(OSError) as raised:
                checkpoints.save(20)
        self.assertEqual(raised.exception.errno, code)
        self.assertNotIn("\n", str(raised.exception))
        self.assertLen(os.listdir(self.folder), 3)
        self.assertEqual(self._restored(), 10)

    def test_unreadable_is_not_taken_for_damaged(self):
        self._save(10, 20)
        error = tf.errors.PermissionDeniedError(None, None, "Permission denied")
        with mock.patch.object(tf.train, "load_checkpoint", side_effect=error):
            with self.assertRaises(PermissionError):
                self._restored()
        self.assertEqual(self._steps(), [10, 20])

    def test_nothing_is_logged(self):
        with self.assertNoLogs(level="INFO"):
            self._save(10, 20)
            self._restored()


if __name__ == "__main__":
    tf.test.main()
