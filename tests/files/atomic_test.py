"""Tests of tfbn.files.atomic."""

import errno
import os
import tempfile

import tensorflow as tf

from tfbn.files import atomic


class ReplacingTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        self.path = os.path.join(self.folder, "file")
        with open(self.path, "w", encoding="utf-8") as file:
            file.write("before")

    def test_replaces_when_the_block_ends(self):
        with atomic.replacing(self.path) as file:
            file.write("after")
            file.flush()
            self.assertEqual(self._content(), "before")
        self.assertEqual(self._content(), "after")
        self.assertEqual(os.listdir(self.folder), ["file"])

    def test_an_error_leaves_what_was_there(self):
        for error in (ValueError, KeyboardInterrupt):
            with self.assertRaises(error), atomic.replacing(self.path) as file:
                file.write("half")
                raise error
            self.assertEqual(self._content(), "before")
            self.assertEqual(os.listdir(self.folder), ["file"])

    def test_makes_folders_and_writes_bytes(self):
        path = os.path.join(self.folder, "new", "file")
        with atomic.replacing(path, "wb") as file:
            file.write(b"\xff")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), b"\xff")

    def test_fails_before_the_work(self):
        for path in (os.path.join(self.path, "file"), self.folder):
            with self.assertRaises(OSError), atomic.replacing(path):
                self.fail("the block ran")

    def test_name_for_what_opens_files_itself(self):
        path = os.path.join(self.folder, "model.keras")
        with atomic.replacement(path) as partial:
            self.assertEndsWith(partial, ".model.keras")
            self.assertEqual(os.path.dirname(partial), self.folder)
            with open(partial, "w", encoding="utf-8") as file:
                file.write("after")
            self.assertNotIn("model.keras", os.listdir(self.folder))
        self.assertCountEqual(os.listdir(self.folder), ["file", "model.keras"])

    def test_a_full_disk_is_told_of_the_file_itself(self):
        for number, filename in ((errno.ENOSPC, None), (errno.EACCES, "partial")):
            with self.assertRaises(OSError) as raised:
                with atomic.replacement(self.path) as partial:
                    name = partial if filename else None
                    raise OSError(number, os.strerror(number), name)
            self.assertEqual(raised.exception.errno, number)
            self.assertEqual(raised.exception.filename, self.path)
        with self.assertRaises(OSError) as raised:
            with atomic.replacement(self.path):
                raise FileNotFoundError(errno.ENOENT, "No such file", "other")
        self.assertEqual(raised.exception.filename, "other")
        self.assertEqual(self._content(), "before")

    def test_sweeps_what_a_killed_process_left(self):
        with atomic.replacing(self.path) as file:
            file.write("before")
        partial = file.name
        inner = os.path.join(self.folder, "figures", os.path.basename(partial))
        os.makedirs(os.path.dirname(inner))
        for left in (partial, inner):
            with open(left, "w", encoding="utf-8") as file:
                file.write("half")
        atomic.sweep(self.folder)
        self.assertCountEqual(os.listdir(self.folder), ["file", "figures"])
        self.assertEmpty(os.listdir(os.path.dirname(inner)))
        self.assertEqual(self._content(), "before")

    def _content(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read()


if __name__ == "__main__":
    tf.test.main()
