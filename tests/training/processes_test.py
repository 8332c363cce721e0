"""Tests of tfbn.training.processes; tests/several_processes.py runs several of them."""

import os
import tempfile
import threading
from unittest import mock

import tensorflow as tf

from tfbn.training import processes


class CheckSharedTest(tf.test.TestCase):
    """The processes are threads, each with its folder, that agree by a barrier."""

    def _errors(self, *folders):
        """What `check_shared` raises in each process; the first is the chief."""
        values, barrier, errors = {}, threading.Barrier(len(folders)), {}

        def largest(value, strategy):
            barrier.wait()
            values[strategy.index] = value
            barrier.wait()
            return max(values.values())

        def process(index):
            strategy = mock.Mock(index=index)
            strategy.cluster_resolver.task_id = index
            try:
                processes.check_shared(folders[index], strategy, seconds=0.2)
            except ValueError as error:
                errors[index] = str(error)

        with mock.patch.multiple(
            processes,
            largest=largest,
            is_multi_worker=lambda strategy: True,
            is_chief=lambda strategy: strategy.index == 0,
        ):
            threads = [
                threading.Thread(target=process, args=(i,)) for i in range(len(folders))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        for folder in folders:
            self.assertEqual(os.listdir(folder), [])
        return [errors.get(i) for i in range(len(folders))]

    def _folder(self):
        return tempfile.mkdtemp(dir=self.get_temp_dir())

    def test_one_folder(self):
        self.assertEqual(self._errors(*[self._folder()] * 3), [None] * 3)

    def test_all_hear_of_a_folder_of_its_own(self):
        folder = self._folder()
        for error in self._errors(folder, folder, self._folder()):
            self.assertRegex(error, "one folder .* worker 2 does not see what the chie")

    def test_one_process_needs_no_others(self):
        processes.check_shared("does not exist", None)


class OneLineErrorsTest(tf.test.TestCase):
    def test_of_a_lost_process(self):
        strategy = mock.create_autospec(
            tf.distribute.MultiWorkerMirroredStrategy, instance=True
        )
        cluster = tf.train.ClusterSpec({"worker": ["a:1", "b:1"]})
        strategy.cluster_resolver.cluster_spec.return_value = cluster
        place = "{{function_node __wrapped__CollectiveBcastRecv_device_/job:worker}}"
        error = tf.errors.UnavailableError(
            None, None, f"{place} Socket closed.\nMore {{{{node x}}}} of it."
        )
        pattern = r"^another process of the run .* reached: Socket closed\. Start all"
        with self.assertRaisesRegex(ConnectionError, pattern):
            with processes.one_line_errors(strategy):
                raise error
        with self.assertRaises(tf.errors.UnavailableError):
            with processes.one_line_errors(None):
                raise error


if __name__ == "__main__":
    tf.test.main()
