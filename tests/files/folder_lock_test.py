"""Tests of tfbn.files.folder_lock."""

import os
import subprocess
import sys
import tempfile

import tensorflow as tf

from tfbn.files import folder_lock

# Another process that has the lock until its stdin closes. It loads the module by its
# path: importing tfbn takes seconds.
_OTHER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("folder_lock", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
lock = module.FolderLock(sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


class FolderLockTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())

    def test_no_lock_yet(self):
        folder_lock.check_free(self.folder)
        self.assertEmpty(os.listdir(self.folder))

    def test_another_process_is_named(self):
        with self._other_process() as other:
            message = f"run_dir={self.folder}, which process {other.pid} is using"
            with self.assertRaisesRegex(ValueError, message):
                folder_lock.check_free(self.folder)
            with self.assertRaisesRegex(ValueError, message):
                folder_lock.FolderLock(self.folder)
            # Asking takes nothing away from the other one.
            with self.assertRaisesRegex(ValueError, message):
                folder_lock.FolderLock(self.folder)
            other.kill()
        folder_lock.check_free(self.folder)
        folder_lock.FolderLock(self.folder).release()

    def test_release(self):
        lock = folder_lock.FolderLock(self.folder)
        with self.assertRaisesRegex(ValueError, f"process {os.getpid()} is using"):
            folder_lock.FolderLock(self.folder)
        lock.release()
        folder_lock.FolderLock(self.folder).release()

    def _other_process(self):
        other = subprocess.Popen(
            [sys.executable, "-c", _OTHER, folder_lock.__file__, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.assertEqual(other.stdout.readline(), "locked\n")
        return other


if __name__ == "__main__":
    tf.test.main()
