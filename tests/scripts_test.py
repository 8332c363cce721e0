"""Tests of scripts/train.py and of every flagfile in scripts/configs/.

Most run the script's main in this process: a start from the shell costs seconds.
"""

import contextlib
import filecmp
import functools
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import pytest
import tensorflow as tf
from absl import flags
from absl.testing import flagsaver
from absl.testing import parameterized
from tensorflow.python.framework import config as tf_config

from tests import testing_utils
from tests.data import prepared
from tfbn import data
from tfbn import models
from tfbn import plots
from tfbn.experiment import TrainConfig
from tfbn.experiment import builders
from tfbn.experiment import config as config_lib
from tfbn.models import _vgg
from tfbn.recording import records
from tfbn.recording.records import RecordWriter
from tfbn.training.run_directory import RunDirectory

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
_CONFIGS = os.path.join(_SCRIPTS, "configs")
sys.path.insert(0, _SCRIPTS)

import _quiet_tensorflow  # noqa: E402
import train  # noqa: E402

from tfbn.commands import cli  # noqa: E402
from tfbn.commands import flagfiles  # noqa: E402

_TRAIN = os.path.join(_SCRIPTS, "train.py")

if "train_steps" not in flags.FLAGS:
    flagfiles.define()

_build_dataset = builders.build_dataset  # tests put a small one in its place

# A run of a second: two steps of a small network on few images.
_TINY = ("--train_steps=2", "--batch_size=8", "--ics_every=0", "--noprogress")
_SMALL = {
    "vgg": ("--width=0.05",),
    "quickstart": ("--width=0.05",),
    "resnet": ("--width=0.1", "--resnet_depth=8"),
    "dln": ("--linear_depth=3",),
    "mlp": (),
}


class ScriptTest(tf.test.TestCase, parameterized.TestCase):
    """Runs `train.main` as the shell would, on small data; the MLP has one layer."""

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        self.run_dir = os.path.join(self.folder, "run")
        self.enter_context(flagsaver.flagsaver())
        self.enter_context(testing_utils.graphs_as_traced())
        mlp = functools.partial(models.mlp, hidden_units=(4,))
        self.enter_context(mock.patch.object(models, "mlp", mlp))
        patch = mock.patch.object(builders, "build_dataset", _small_dataset)
        self.enter_context(patch)

    def run_script(self, *arguments):
        """Returns exit status, stdout and stderr."""
        out, err = io.StringIO(), io.StringIO()
        argv = ["train.py", *arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with mock.patch.object(sys, "argv", argv):
                with self.assertRaises(SystemExit) as exit_:
                    cli.run(train.main, prepare=flagfiles.expand_flagfiles)
        return exit_.exception.code or 0, out.getvalue(), err.getvalue()


class FlagfilesTest(ScriptTest):
    def test_each_describes_a_run_with_the_norm_of_its_name(self):
        norms = {
            "none": "none",
            "bn": "batch_norm",
            "renorm": "batch_renorm",
            "noisy": "noisy_batch_norm",
            "quickstart": "batch_renorm",
        }
        for name in os.listdir(_CONFIGS):
            if not name.startswith("_"):
                config = flagfiles.from_file(os.path.join(_CONFIGS, name))
                norm = name.removesuffix(".cfg").partition("_")[2] or "quickstart"
                self.assertEqual(config.norm, norms.get(norm, norm), name)
                builders.build_norm(config)

    # One of each file that the others include.
    @parameterized.parameters("dln_l2", "mlp_bn", "quickstart", "resnet_none", "vgg_bn")
    @pytest.mark.long
    def test_flagfile_trains(self, name):
        # What is tested is the file: two convolutions will do, and one figure.
        if name != "quickstart":
            self.enter_context(mock.patch.object(plots, "figures", return_value={}))
        stages = {"A": (1, 0, 0, 0, 1)}
        self.enter_context(mock.patch.dict(_vgg._STAGES, stages))
        status, out, err = self.run_script(
            f"--flagfile={name}.cfg",
            *_TINY,
            *_SMALL[re.match("[a-z]+", name)[0]],
            f"--run_dir={self.run_dir}",
        )
        self.assertEqual(status, 0, err)
        self.assertIn("Test split after 2 steps: loss ", out)
        for file in ("flags.cfg", "records.jsonl", "model.keras"):
            self.assertTrue(os.path.isfile(os.path.join(self.run_dir, file)), file)
        curves = os.path.join(self.run_dir, "figures", "learning_curves.png")
        in_tensorboard = any(f.endswith("figures.v2") for f in os.listdir(self.run_dir))
        written = (curves in out.splitlines(), os.path.isfile(curves), in_tensorboard)
        for found in written:
            self.assertEqual(found, name == "quickstart")

    def test_flags_behind_a_flagfile_win(self):
        arguments = flagfiles.expand_flagfiles(["--flagfile=vgg_bn.cfg", "--norm=none"])
        self.assertLess(
            arguments.index("--norm=batch_norm"), arguments.index("--norm=none")
        )

    def test_included_file_is_looked_up_beside_the_one_that_includes_it(self):
        self._write("common.cfg", "--seed=5\n")
        outer = self._write("outer.cfg", "# a comment\n\n--flagfile=common.cfg\n")
        self.assertEqual(
            flagfiles.expand_flagfiles(["x", "--flagfile", outer, "--width=2"]),
            ["x", "--seed=5", "--width=2"],
        )

    def _write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path


class FlagsTest(ScriptTest):
    def test_help_lists_the_options_alone_by_section(self):
        status, out, err = testing_utils.run_script(_TRAIN, "--help")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("python scripts/train.py --flagfile=NAME.cfg", out)
        self.assertNotIn("--pdb", out)
        places = [out.index(f"\n{s.title}:\n") for s in config_lib.SECTIONS]
        self.assertEqual(places, sorted(places))
        self.assertBetween(out.index("--ics_every"), places[-1], len(out))
        self.assertBetween(out.index("--norm_groups"), places[1], places[2])

    def test_one_flag_for_each_option(self):
        for name, option in config_lib.OPTIONS.items():
            self.assertEndsWith(flags.FLAGS[name].help, option.help)
        flags.FLAGS(["train.py"])
        self.assertEqual(flagfiles.from_flags(), TrainConfig())

    def test_values_reach_the_config(self):
        flags.FLAGS(["train.py", "--norm_after=4,5", "--nodeterministic", "--rmax=2.5"])
        config = flagfiles.from_flags()
        self.assertEqual(config.norm_after, (4, 5))
        self.assertEqual((config.deterministic, config.rmax), (False, 2.5))

    def test_some_of_the_options(self):
        values = flags.FlagValues()
        flagfiles.define(["width", "norm_after"], values)
        self.assertEqual({"width", "norm_after"}, set(values))
        values(["script", "--norm_after=4,5"])
        names = ("norm_after", "width")
        self.assertEqual(flagfiles.given(names, values), {"norm_after": (4, 5)})
        default = TrainConfig().width
        values(["script", f"--width={default}"])  # given, though it is the default
        self.assertEqual(flagfiles.given(names, values)["width"], default)
        self.assertEqual(flagfiles.given([], values), {})

    def test_config_of_a_file(self):
        config = TrainConfig(
            dataset="shapes",
            norm_after=(4, 5),
            deterministic=True,
            rmax=2.5,
            kernel_initializer="he_normal",
        )
        path = self._write_flags(config_lib.to_flags(config))
        before = flags.FLAGS.flag_values_dict()
        self.assertEqual(flagfiles.from_file(path), config)
        self.assertEqual(flags.FLAGS.flag_values_dict(), before)

    def test_flags_of_a_run_that_do_not_apply_are_left_out(self):
        """tfbn 0.1.0 wrote all flags; flags of a user's own file are refused."""
        lines = ["--norm=none", "--norm_momentum=0.5", "--linear_depth=2", "--width=2"]
        path = self._write_flags(lines)
        with self.assertLogs("absl", level="INFO") as logs:
            self.assertEqual(
                flagfiles.from_file(path), TrainConfig(norm="none", width=2.0)
            )
        self.assertIn("--norm_momentum=0.5 --linear_depth=2", logs.output[0])
        # Behind the file, another norm takes the momentum; a network not the width.
        for argument, flag in {"norm=l1": "width=2", "model=mlp": "norm=none"}.items():
            arguments = [f"--flagfile={path}", f"--{argument}", "--seed=1"]
            expanded = flagfiles.expand_flagfiles(arguments)
            self.assertIn(f"--{flag}", expanded)
            kept = "--norm_momentum=0.5" in expanded
            self.assertEqual(kept, argument == "norm=l1")
        own = self._write_flags(lines, "own.cfg")
        with self.assertRaisesRegex(ValueError, "own.cfg: .*not an option of"):
            flagfiles.from_file(own)
        status, _, err = self.run_script(f"--flagfile={path}", "--norm_epsilon=0.5")
        self.assertEqual(status, 2)
        self.assertIn("train.py: error: norm_epsilon is not an option of norm=n", err)

    def _write_flags(self, lines, name="flags.cfg"):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(["# A run.", *lines]))
        return path

    @parameterized.parameters(
        ("--lerning_rate=1", "flags.cfg: Unknown command line flag 'lerning_rate'"),
        ("--train_steps=many", "flags.cfg: .*many"),
        ("--train_steps=0", "train_steps=0"),
        ("--norm_after=x", "norm_after='x'"),
        ("text", "line 1 must be a flag"),
    )
    def test_file_that_describes_no_config(self, text, message):
        path = os.path.join(self.folder, "flags.cfg")
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        with self.assertRaisesRegex(ValueError, message):
            flagfiles.from_file(path)
        with self.assertRaisesRegex(ValueError, "must name a file"):
            flagfiles.from_file(os.path.join(self.folder, "missing.cfg"))

    def test_run_dir_that_holds_a_run_of_other_flags_is_refused(self):
        arguments = ["--dataset=shapes", "--model=mlp", "--norm=none", *_TINY]
        arguments.append(f"--run_dir={self.run_dir}")
        self.assertEqual(self.run_script(*arguments)[0], 0)
        path = os.path.join(self.run_dir, "records.jsonl")
        before = os.stat(path)
        # The same flags find it complete.
        status, out, err = self.run_script(*arguments, "--progress")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("The run is complete (of 2).", out)
        status, _, err = self.run_script(*arguments, "--learning_rate=0.2")
        self.assertEqual(status, 2)
        self.assertIn(
            f"Received: run_dir={self.run_dir} and --learning_rate=0.2 (the run: 0.1)",
            err,
        )
        self.assertEqual(os.stat(path).st_mtime_ns, before.st_mtime_ns)

    def test_loss_that_is_not_finite_is_one_line(self):
        status, _, err = self.run_script(
            "--flagfile=dln_none.cfg",
            *_TINY,
            "--linear_depth=3",
            "--learning_rate=1e30",
            f"--run_dir={self.run_dir}",
        )
        self.assertEqual(status, 1)
        (line,) = err.splitlines()
        self.assertStartsWith(line, "train.py: error: The loss is ")
        self.assertIn("at step 1; first not finite: the output of linear", line)

    def test_damaged_data_are_one_line(self):
        data_dir = os.path.join(self.folder, "data")
        drawn = prepared.draw("mnist", 3, seed=0)
        folder = prepared.write(data_dir, "mnist", {"train": drawn, "test": drawn})
        path = folder / "mnist-train.tfrecord-00000-of-00001"
        path.write_bytes(path.read_bytes()[:-1])
        line = self._refused("mlp_bn.cfg", data_dir)
        self.assertStartsWith(line, f"train.py: error: {path} cannot be read (DataLoss")
        self.assertEndsWith(line, f"run: tfds build mnist --data_dir={data_dir}")

    def test_missing_data_set(self):
        data_dir = os.path.join(self.folder, "empty")
        line = self._refused("vgg_bn.cfg", data_dir)
        self.assertRegex(line, f"^train.py: error: .* hold cifar10.*{data_dir}")
        self.assertFalse(os.path.exists(data_dir))

    def _refused(self, flagfile, data_dir):
        """The one line that a run on those data ends with, having made nothing."""
        with mock.patch.object(builders, "build_dataset", _build_dataset):
            status, out, err = self.run_script(
                f"--flagfile={flagfile}",
                f"--data_dir={data_dir}",
                f"--run_dir={self.run_dir}",
            )
        self.assertEqual((status, out), (2, ""), err)
        self.assertFalse(os.path.exists(self.run_dir))
        (line,) = err.splitlines()
        return line


class StartTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters((True, "TensorFlow\r\x1b[K"), (False, ""))
    def test_a_terminal_is_told_what_it_waits_for(self, is_terminal, expected):
        stream = io.StringIO()
        stream.isatty = lambda: is_terminal
        with mock.patch.dict(os.environ, TERM="xterm"):
            with self.assertRaises(ImportError):
                with _quiet_tensorflow.saying("TensorFlow", stream):
                    raise ImportError
        self.assertEqual(stream.getvalue(), expected)


@pytest.mark.long
class FullDiskTest(ScriptTest):
    @parameterized.parameters(
        (RunDirectory, "_write_flags", "flags.cfg"),
        (RecordWriter, "write", "records.jsonl"),
        (RunDirectory, "save_model", "model.keras"),
        (plots, "save", "learning_curves.png"),
    )
    def test_one_line_and_nothing_half_written(self, owner, name, file):
        arguments = ["--dataset=shapes", "--model=mlp", "--norm=none", *_TINY]
        arguments.append(f"--run_dir={self.run_dir}")
        original = getattr(owner, name)

        def on_a_full_disk(*args, **kwargs):
            with testing_utils.files_of_at_most(50):
                return original(*args, **kwargs)

        with mock.patch.object(owner, name, on_a_full_disk):
            status, _, err = self.run_script(*arguments)
        (line,) = err.splitlines()
        self.assertEqual(status, 2)
        self.assertRegex(line, f"^train.py: error: File too large: .*{file}$")
        left = [n for _, _, names in os.walk(self.run_dir) for n in names]
        self.assertEmpty([n for n in left if "partial" in n or "temp" in n])
        if "records.jsonl" in left:
            with self.assertNoLogs(level="WARNING"):  # of a line that is not complete
                records.read_records(self.run_dir)
        # With room it goes on, and comes to its end.
        status, out, err = self.run_script(*arguments)
        self.assertEqual((status, err), (0, ""))
        steps = [r["step"] for r in records.read_records(self.run_dir)]
        self.assertEqual(steps, [2, 2])  # train and eval
        self.assertIn(os.path.join("figures", "learning_curves.png"), out)


@pytest.mark.long
class FromTheShellTest(tf.test.TestCase):
    def test_a_deterministic_run_is_repeated_to_the_bit_from_its_flagfile(self):
        """By another process, and by this one, which has done other things before."""
        first, second = (os.path.join(self.get_temp_dir(), name) for name in "ab")
        done = self._train(
            "--flagfile=dln_none.cfg",
            "--linear_depth=2",
            "--norm=noisy_batch_norm",
            "--batch_size=16",
            "--train_steps=6",
            "--ics_every=3",
            "--deterministic",
            f"--run_dir={first}",
        )
        flagfile = os.path.join(first, "flags.cfg")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.addCleanup(tf_config.disable_op_determinism)
        status, _, err = testing_utils.run_script(
            _TRAIN, f"--flagfile={flagfile}", f"--run_dir={second}"
        )
        self.assertEqual((status, err), (0, ""))
        for name in ("records.jsonl", "flags.cfg"):
            same = filecmp.cmp(*(os.path.join(d, name) for d in (first, second)), False)
            self.assertTrue(same, name)
        for a, b in zip(_weights(first), _weights(second), strict=True):
            self.assertAllEqual(a, b)

    def test_ctrl_c_ends_a_run_that_can_go_on(self):
        """SIGTERM is in interruption_test, what goes on in resumption_test."""
        run_dir = os.path.join(self.get_temp_dir(), "interrupted")
        process = subprocess.Popen(
            [
                sys.executable,
                _TRAIN,
                "--flagfile=dln_none.cfg",
                "--linear_depth=2",
                "--train_steps=10000000",
                "--log_every=1",
                "--eval_every=0",
                f"--run_dir={run_dir}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            # A shell starts background jobs, and so this test's, with SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        for line in process.stdout:
            if line.startswith("step "):
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        saved = r"Saved at step (\d+); start again with .* run_dir=\S+ to resume"
        self.assertRegex(err, rf"^\nCtrl-C: stopping .*\n{saved}.\ntrain.py: interr")
        step = int(re.search(saved, err)[1])
        steps = [r["step"] for r in records.read_records(run_dir, "train")]
        self.assertEqual(steps, list(range(1, step + 1)))

    def _train(self, *arguments):
        return subprocess.run(
            [sys.executable, _TRAIN, *arguments],
            capture_output=True,
            text=True,
            cwd=_ROOT,
        )


def _small_dataset(config):
    if config.dataset == "gaussian":
        return data.gaussian(num_examples=50)
    return _small_shapes()


@functools.cache
def _small_shapes():
    return data.shapes(num_train=64, num_test=16)


def _weights(run_dir):
    import keras

    model = keras.models.load_model(os.path.join(run_dir, "model.keras"))
    return [variable.numpy() for variable in model.weights]


if __name__ == "__main__":
    tf.test.main()
