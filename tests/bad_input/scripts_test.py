"""Bad flags, flagfiles and files of the scripts: one line, status 2, nothing written.

The scripts run in this process, as `__main__`, with flags of their own.
"""

import contextlib
import os
import sys
import tempfile
from unittest import mock

import keras
import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn import data
from tfbn.experiment import builders

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

# Files in the folder where the scripts run.
_FILES = {
    "binary.cfg": b"\xff\xfe\x00\x01",
    "control.cfg": b"\x00\x01\x02",
    "folder.cfg/file": b"",
    "loop.cfg": b"--flagfile=loop.cfg\n",
    "ring.cfg": b"--flagfile=sub/ring.cfg\n",
    "sub/ring.cfg": b"--flagfile=../ring.cfg\n",
    "text.cfg": b"--seed=1\nnorm=none\n",
    "trailing.cfg": b"--seed=1  # the first\n",
    "typo.cfg": b"--dataset=shapes\n--lerning_rate=1\n",
    "empty_value.cfg": b"--train_steps=\n",
    "includes_none.cfg": b"--flagfile=none.cfg\n",
    "long.cfg": b"x" * 10_000,
    "text.keras": b"no model",
    "empty.keras": b"",
    "text.json": b"{",
    "list.json": b"[1, 2]",
    "number.json": b"3",
    "file": b"",
    "bad_run/flags.cfg": b"--lerning_rate=1\n",
    "bad_run/model.keras": b"no model",
    "bad_model/flags.cfg": b"--dataset=shapes\n",
    "bad_model/model.keras": b"no model",
    "bad_model/records.jsonl": b"",
    "no_records/flags.cfg": b"--dataset=shapes\n",
    "no_records/model.keras": b"no model",
}

_TRAIN = [
    (["--lerning_rate=1"], "'lerning_rate'. Did you mean: learning_rate"),
    (["--xyz"], "Unknown command line flag 'xyz'"),
    (["-batch_size"], "Missing value for flag"),
    (["--norm=batchnorm"], "Received: norm='batchnorm'. Did you mean 'batch_norm'?"),
    (["--norm="], "norm must be one of 'none', 'batch_norm'"),
    (["--model=vgg16"], "Received: model='vgg16'. Did you mean 'vgg'?"),
    (["--optimizer=Adm"], "Did you mean 'adam'?"),
    (["--train_steps=1e3"], "--train_steps=1e3: must be an integer. Received: '1e3'"),
    (["--train_steps=0"], "train_steps must be at least 1. Received: train_steps=0"),
    (["--batch_size=1000000"], "at most the number of examples, 64"),
    (["--learning_rate=fast"], "--learning_rate=fast: must be a number. Received"),
    (["--deterministic=maybe"], "--deterministic=maybe"),
    (["--hidden_units=8,x"], "hidden_units must be integers separated by commas"),
    (["--norm_after=9"], "Received: norm_after=(9,)"),
    (["--model=deep_linear"], "Received: model=deep_linear, dataset=shapes"),
    (["--sampling=class_biased", "--batch_size=7"], "a multiple of images_per_label"),
    (["--theory_every=1"], "Received: theory_every=1, norm=batch_renorm"),
    (["learning_rate=0.3"], "'learning_rate=0.3' is no flag"),
    (["--run_dir=file"], "Received: run_dir=file"),
    (["--run_dir=file/run"], "Received: run_dir=file/run"),
    (["--flagfile=vgg_ben.cfg"], "Did you mean 'vgg_bn.cfg'?"),
    (["--flagfile=vgg_batchnorm.cfg"], "Received: flagfile='vgg_batchnorm.cfg'"),
    (["--flagfile="], "Received: flagfile=''"),
    (["--flagfile"], "Received: flagfile=''"),
    (["--flagfile=folder.cfg"], "flagfile must name a file"),
    (["--flagfile=binary.cfg"], "must be a text file in UTF-8. Received: flagfile=bin"),
    (["--flagfile=control.cfg"], "control.cfg, line 1 must be a flag"),
    (["--flagfile=loop.cfg"], "must not include itself. Received: flagfile=loop.cfg"),
    (["--flagfile=text.cfg"], "text.cfg, line 2 must be a flag"),
    (["--flagfile=long.cfg"], "long.cfg, line 1 must be a flag"),
    (["--flagfile=trailing.cfg"], "--seed=1 # the first: must be an integer"),
    (["--flagfile=typo.cfg"], "'lerning_rate'. Did you mean: learning_rate"),
    (["--flagfile=empty_value.cfg"], "--train_steps=: must be an integer"),
    (["--flagfile=includes_none.cfg"], "Received: flagfile='none.cfg'"),
]

_PLOT = [
    ([], "no run given"),
    (["nowhere"], "nowhere holds no records.jsonl"),
    (["file"], "file holds no records.jsonl"),
    (["folder.cfg"], "folder.cfg holds no records.jsonl"),
    (["none.jsonl"], "holds no none.jsonl"),
    (["good", "--figures=losses"], "--figures must be among"),
    (["good", "--figures=learning_curve"], "Did you mean 'learning_curves'?"),
    (["good", "--figures="], "--figures must be among"),
    (["good", "--figures=curvature"], "curvature"),
    (["good", "--layers=three"], "among one"),
    (["good", "--format=gif"], "--format=gif: value should be one of <png"),
    (["good", "--out=file"], "File exists: file"),
    (["good", "--log_step=maybe"], "log_step"),
    (["good", "--figurs=a"], "'figurs'. Did you mean: figures"),
]

# Lines in the middle of a records.jsonl, and what is told of them.
_GOOD = b'{"step": 1, "kind": "train", "loss": 2.0}\n'
_LAYERS = b'{"step": 1, "kind": "ics", "layers": [{"name": "one", "distance": 1.0}]}\n'
_DAMAGES = [
    (b'{"step": 2, "kind": "tr', "line 2: "),
    (b"\xff\xfe\x00", "line 2: "),
    (b"[1, 2]", "line 2: a record must hold"),
    (b"3", "line 2: a record must hold"),
    (b"[" * 100_000, "line 2: "),
    (b'{"kind": "train", "loss": 1.0}', "line 2: a record must hold an int `step`"),
    (b'{"step": -1, "kind": "train"}', "line 2: a record must hold an int `step`"),
    (b'{"step": 1.5, "kind": "train"}', "line 2: a record must hold an int `step`"),
    (b'{"step": 1e400, "kind": "train"}', "line 2: a record must hold an int `step`"),
    (b'{"step": 2, "kind": 3}', "line 2: a record must hold"),
    (b'{"step": %d, "kind": "train", "loss": 1.0}' % 10**30, "line 2: "),
    (b'{"step": 2, "kind": "train", "loss": "low"}', "loss must be a number"),
    (b'{"step": 2, "kind": "train", "loss": [1]}', "loss must be a number"),
    (b'{"step": 2, "kind": "train", "loss": {}}', "loss must be a number"),
    (b'{"step": 2, "kind": "ics", "layers": 3}', "layers must be"),
    (b'{"step": 2, "kind": "ics", "layers": ["one"]}', "layers must be"),
    (b'{"step": 2, "kind": "ics", "layers": [{"distance": 1}]}', "layers must be"),
    (b'{"step": 2, "kind": "ics", "layers": [{"name": 1}]}', "layers must be"),
]

_DIAGNOSE = [
    ([], "--model must have a value other than None"),
    (["--model="], "--model must be a run directory or a .keras file"),
    (["--model=nowhere"], "--model=nowhere, which does not exist"),
    (["--model=text.keras"], "must be a file that Keras saved. Received: text.keras"),
    (["--model=empty.keras"], "must be a file that Keras saved. Received: empty.keras"),
    (["--model=folder.cfg"], "which has no flags.cfg"),
    (
        ["--model=bad_run"],
        "bad_run/flags.cfg: Unknown command line flag 'lerning_rate'",
    ),
    (["--model=no_records"], "no_records holds no records.jsonl"),
    (["--model=bad_model"], "must be a file that Keras saved"),
    (["--model=net.keras", "--measure=icss"], "'icss' is none of ics"),
    (["--model=net.keras", "--measure="], "--measure=: "),
    (["--model=net.keras", "--measure=ics,ics"], "each once"),
    (["--model=net.keras", "--surface_radius=nan"], "surface_radius must be"),
    (["--model=net.keras", "--surface_points=x"], "surface_points=x: must be an int"),
    (["--model=net.keras", "--batch=-1"], "--batch=-1"),
    (["--model=net.keras", "--batch_size=100000"], "batch_size must be at most"),
    (["--model=net.keras", "--landscape_low=9"], "landscape_low must be less than"),
    (["--model=net.keras", "--format=gif"], "--format=gif"),
    (["--model=net.keras", "--out=file", "--batch_size=8"], "file"),
    (["--model=net.keras", "more"], "'more' is no flag"),
    (["--modl=net.keras"], "'modl'. Did you mean: model"),
]

_BENCHMARK = [
    (["--rounds=0"], "--rounds=0"),
    (["--rounds=1.5"], "--rounds=1.5: must be an integer. Received: '1.5'"),
    (["--sections=layer"], "Did you mean 'layers'?"),
    (["--sections="], "--sections=: "),
    (["--sections=layers,layers"], "each once"),
    (["--shapes=3x"], "'3x' is no shape of 2 to 5 positive sizes"),
    (["--shapes=0x4"], "'0x4' is no shape"),
    (["--dtypes=float31"], "'float31' is none of float32"),
    (["--networks=resnet"], "'resnet' is none of"),
    (["--width=0"], "--width=0"),
    (["--width=wide"], "--width=wide: must be a number. Received: 'wide'"),
    (["--from=none.json"], "No such file or directory: none.json"),
    (["--from=text.json"], "--from must name a file that --out has written"),
    (["--from=list.json"], "--from must name a file that --out has written"),
    (["--from=number.json"], "--from must name a file that --out has written"),
    (["--from=text.json", "--out=new.json"], "Leave out --out"),
    (["--out=file/new.json"], "File exists: file"),
    (["--out=folder.cfg", "--sections=memory"], "folder.cfg"),
    (["layers"], "'layers' is no flag"),
]


class ScriptsTest(tf.test.TestCase, parameterized.TestCase):
    """Runs a script in a folder of its own, with `_FILES`."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dataset = data.shapes(num_train=64, num_test=16)
        cls.model = keras.Sequential(
            [keras.Input((32, 32, 3)), keras.layers.Flatten(), keras.layers.Dense(10)]
        )

    def setUp(self):
        super().setUp()
        self.folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        for path, content in _FILES.items():
            self.write(path, content)
        self.write("good/records.jsonl", _GOOD + _LAYERS)
        self.enter_context(contextlib.chdir(self.folder))
        self.enter_context(
            mock.patch.object(builders, "build_dataset", lambda config: self.dataset)
        )

    def write(self, path, content):
        path = os.path.join(self.folder, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)

    def assert_refused(self, script, arguments, message):
        before = testing_utils.folder_contents(self.folder)
        path = os.path.join(_SCRIPTS, script)
        status, out, err = testing_utils.run_script(path, *arguments)
        self.assertEqual((status, out), (2, ""), err)
        (line,) = err.splitlines()
        self.assertStartsWith(line, f"{script}: error: ")
        self.assertIn(message, line)
        self.assertLess(len(line), 700)
        self.assertEqual(testing_utils.folder_contents(self.folder), before)

    @parameterized.parameters(*_TRAIN)
    def test_train(self, arguments, message):
        arguments = ["--dataset=shapes", "--batch_size=8", "--noprogress", *arguments]
        self.assert_refused("train.py", arguments, message)

    @parameterized.parameters(*_PLOT)
    def test_plot(self, arguments, message):
        self.assert_refused("plot.py", arguments, message)

    @parameterized.parameters(*_DAMAGES)
    def test_plot_of_damaged_records(self, line, message):
        self.write("run/records.jsonl", b"".join([_GOOD, line, b"\n", _GOOD, _LAYERS]))
        self.assert_refused("plot.py", ["run"], message)

    @parameterized.parameters(*_DIAGNOSE)
    def test_diagnose(self, arguments, message):
        self.model.save("net.keras")
        self.assert_refused("diagnose.py", arguments, message)

    @parameterized.parameters(*_BENCHMARK)
    def test_benchmark(self, arguments, message):
        self.assert_refused("benchmark.py", arguments, message)


if __name__ == "__main__":
    tf.test.main()
