"""Tests of runs of tfbn.training.trainer with every measurement that there is."""

import glob
import os
import shutil
import tempfile
from unittest import mock

import keras
import tensorflow as tf

from tests import testing_utils
from tfbn import data
from tfbn import layers
from tfbn import schedules
from tfbn.diagnostics import registry
from tfbn.experiment import TrainConfig
from tfbn.experiment import build_trainer
from tfbn.experiment import builders
from tfbn.experiment import watching_options
from tfbn.recording import records

_OPTIONS = {
    "model": "vgg",
    "dataset": "shapes",
    "norm": "batch_norm",
    "batch_size": 32,
    "eval_batch_size": 90,
    "optimizer": "adam",
    "learning_rate": 0.01,
    "train_steps": 6,
    "log_every": 2,
    "progress": False,
}

# Every measurement, cheaply.
_WATCHING = {
    "ics_every": 2,
    "landscape_every": 2,
    "landscape_points": 3,
    "activations_every": 2,
    "curvature_every": 2,
    "curvature_iterations": 3,
    "noise_scale_every": 2,
    "renorm_every": 2,
    "theory_every": 2,
    "replication_every": 2,
    "replication_convolutions": (2,),
    "eval_every": 2,
    "eval_in_training_mode": True,
    "recalibration_batches": 2,
}

_KINDS = (
    "ics",
    "landscape",
    "activations",
    "curvature",
    "noise_scale",
    "renorm",
    "theory",
    "replication",
    "eval_training_mode",
    "eval_recalibrated",
)


def _network(config, dataset):
    """Convolutions as VGG names them, and all kinds of state: averages, a schedule's
    step, seeds of noise and dropout."""
    rmax, dmax = schedules.ioffe_2017(config.train_steps)
    return keras.Sequential(
        [
            keras.Input(dataset.input_shape),
            keras.layers.AveragePooling2D(4),
            keras.layers.Conv2D(4, 3, name="conv1"),
            keras.layers.BatchNormalization(name="conv1_norm"),
            keras.layers.Conv2D(2, 3, name="conv2"),
            layers.BatchRenorm(momentum=0.9, rmax=rmax, dmax=dmax),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(dataset.num_classes, name="logits"),
        ]
    )


class OptionsTest(tf.test.TestCase):
    def test_every_diagnostic_is_watched(self):
        names = {d.name for d in registry.values() if d.during_training}
        self.assertContainsSubset({f"{name}_every" for name in names}, _WATCHING)
        self.assertContainsSubset(names, _KINDS)


class WatchedTest(tf.test.TestCase):
    """A run with every measurement, beside the same run without any."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = tempfile.mkdtemp()
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        shapes = data.shapes(num_train=256, num_test=90)
        with (
            mock.patch.object(builders, "build_dataset", lambda config: shapes),
            mock.patch.object(builders, "build_model", _network),
            # The network has layers of both kinds, which no norm alone provides.
            mock.patch.object(watching_options, "_MET_BY_NORMS", set()),
            testing_utils.graphs_as_traced(),
        ):
            cls.plain = cls._trained("plain")
            cls.watched = cls._trained("watched", **_WATCHING)

    @classmethod
    def _trained(cls, name, **options):
        run_dir = os.path.join(cls.folder, name)
        config = TrainConfig(run_dir=run_dir, **_OPTIONS, **options)
        trainer = build_trainer(config)
        trainer.train()
        return trainer

    def test_watching_changes_nothing(self):
        for one, other in zip(
            self.plain.model.variables + self.plain._parts.optimizer.variables,
            self.watched.model.variables + self.watched._parts.optimizer.variables,
            strict=True,
        ):
            self.assertAllEqual(one.numpy(), other.numpy(), one.path)
        losses = (
            records.column(records.read_records(t.run_dir, "train"), "loss")
            for t in (self.plain, self.watched)
        )
        self.assertAllEqual(*losses)

    def test_each_is_recorded_at_its_steps(self):
        for kind in _KINDS:
            steps = [record["step"] for record in self._records(kind)]
            expected = [2, 4, 6] if kind.startswith("eval") else [0, 2, 4]
            self.assertEqual(steps, expected, kind)

    def test_what_is_recorded(self):
        (*_, last) = self._records("theory")
        names = [layer["name"] for layer in last["layers"]]
        self.assertEqual(names, ["conv1_norm"])
        (*_, last) = self._records("replication")
        self.assertEqual([layer["name"] for layer in last["layers"]], ["conv2"])
        (*_, last) = self._records("activations")
        self.assertGreater(last["layers"][0]["mean_drift"], 0.0)
        (*_, last) = self._records("landscape")
        self.assertAllClose(last["step_sizes"], [0.005, 0.02**0.5 * 0.1, 0.04])

    def test_summaries_can_be_read_back(self):
        folder = self.watched.run_dir
        (path,) = glob.glob(os.path.join(folder, "events.out.tfevents.*"))
        tags = {
            value.tag: (event.step, float(tf.make_ndarray(value.tensor)))
            for event in tf.compat.v1.train.summary_iterator(path)
            for value in event.summary.value
            if value.metadata.plugin_data.plugin_name == "scalars"
        }
        for tag in (
            "train/loss",
            "train/accuracy",
            "train/learning_rate",
            "eval/accuracy",
            "ics/distance/conv2",
            "ics/cosine/logits",
            "ics/total_distance",
            "landscape/losses_upper",
            "landscape/beta",
            "activations/mean_change/conv2",
            "curvature/eigenvalue",
            "eval_training_mode/accuracy",
        ):
            self.assertIn(tag, tags)
        (*_, last) = self._records("train")
        self.assertAllClose(tags["train/loss"], (last["step"], last["loss"]))
        (*_, last) = self._records("landscape")
        upper = tags["landscape/losses_upper"]
        self.assertAllClose(upper, (last["step"], max(last["losses"])))

    def _records(self, kind):
        return records.read_records(self.watched.run_dir, kind)


if __name__ == "__main__":
    tf.test.main()
