"""Tests of tfbn.experiment.config."""

import dataclasses

import tensorflow as tf
from absl.testing import parameterized

from tfbn.experiment import TrainConfig
from tfbn.experiment import config as config_lib


class TrainConfigTest(tf.test.TestCase, parameterized.TestCase):
    def test_every_option_has_a_help_text(self):
        for field in config_lib.fields():
            self.assertRegex(config_lib.help_of(field.name), r"^.{8,}\.$")

    def test_to_flags_names_every_field_once(self):
        flags = config_lib.to_flags(TrainConfig(hidden_units=(3, 4)))
        names = [flag.partition("=")[0] for flag in flags]
        self.assertEqual(names, [f"--{field.name}" for field in config_lib.fields()])
        self.assertIn("--hidden_units=3,4", flags)
        self.assertIn("--deterministic=false", flags)

    def test_differences_of_what_has_an_effect(self):
        config = TrainConfig(norm="l1", hidden_units=(3, 4), seed=5)
        flags = config_lib.to_flags(config)
        self.assertEmpty(config_lib.differences(flags, config))
        other = dataclasses.replace(
            config, hidden_units=(3,), run_dir="x", data_dir="y", progress=False
        )
        self.assertEqual(
            config_lib.differences(flags, other), {"hidden_units": ("3,4", "3")}
        )

    def test_differences_from_the_flags_of_another_version(self):
        flags = [f for f in config_lib.to_flags(TrainConfig()) if "--width" not in f]
        self.assertEmpty(config_lib.differences(flags, TrainConfig()))
        self.assertEqual(
            config_lib.differences(flags, TrainConfig(width=2.0)),
            {"width": ("1.0", "2.0")},
        )

    def test_nothing_that_is_not_finite_has_come_before_a_stop(self):
        for before, now, differ in (
            ("stop", "skip", False),
            ("stop", "ignore", False),
            ("skip", "stop", True),
            ("ignore", "skip", True),
        ):
            flags = config_lib.to_flags(TrainConfig(on_nonfinite=before))
            found = config_lib.differences(flags, TrainConfig(on_nonfinite=now))
            self.assertEqual(bool(found), differ, (before, now))

    def test_it_cannot_be_changed(self):
        with self.assertRaises(dataclasses.FrozenInstanceError):
            TrainConfig().seed = 3


if __name__ == "__main__":
    tf.test.main()
