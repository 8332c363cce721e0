"""Tests of reading HDF5 files of others."""

import io

import h5py
import numpy as np
import tensorflow as tf

from tfbn.loading import hdf5


class Hdf5Test(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.file = self.enter_context(h5py.File(io.BytesIO(), "w"))

    def test_a_list_that_keras_has_split(self):
        self.file.attrs["names"] = np.array([b"a", b"b"])
        self.file.attrs["long0"] = ["a", "b"]
        self.file.attrs["long1"] = ["c"]
        self.assertEqual(hdf5.attribute(self.file, "names"), ["a", "b"])
        self.assertEqual(hdf5.attribute(self.file, "long"), ["a", "b", "c"])
        self.assertEqual(hdf5.attribute(self.file, "none"), [])

    def test_numbers_are_in_their_order(self):
        for i in reversed(range(12)):
            self.file[str(i)] = [i]
        self.file.create_group("group")
        self.assertEqual(list(hdf5.datasets(self.file)), [str(i) for i in range(12)])
        self.assertEqual(list(hdf5.groups(self.file)), ["group"])

    def test_a_shape_that_is_not_wanted_is_not_read(self):
        """A file of a kilobyte can hold an array that fills the memory."""
        huge = self.file.create_dataset("huge", (2**40,), "f4", chunks=True)
        with self.assertRaisesRegex(hdf5.Misfit, r"gamma has shape \(1099511627776,\)"):
            hdf5.read(huge, "gamma", [(3,), ()])

    def test_a_member_that_is_missing(self):
        self.file.create_group("a")
        for path in ("b", "a/b", "a/b/c"):
            with self.assertRaisesRegex(hdf5.Misfit, f"has no '{path}'"):
                hdf5.member(self.file, path)

    def test_written_in_the_data_type_of_the_file(self):
        dataset = self.file.create_dataset("a", data=np.zeros(2, "float16"))
        hdf5.write(dataset, np.array([1.0, 2.0]))
        self.assertAllEqual(np.asarray(dataset), np.array([1.0, 2.0], "float16"))


if __name__ == "__main__":
    tf.test.main()
