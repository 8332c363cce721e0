"""Tests of scripts/cli.py, and of scripts/plot.py from the outside.

The helper is tested by a tiny script, for one that imports TensorFlow needs seconds to
start; only the last class runs scripts/plot.py, mostly in this process.
"""

import os
import subprocess
import sys

import tensorflow as tf
from absl.testing import parameterized

from tests import testing_utils
from tfbn.recording import records

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

_TINY = '''
"""Does what --do says.

Usage: tiny.py [flags]
"""
import sys
sys.path.insert(0, {scripts!r})
from tfbn.commands import cli
from absl import app, flags
DO = flags.DEFINE_string("do", "None", "An expression.")
COUNT = flags.DEFINE_integer("count", 1, "A number.", lower_bound=0)

def fail(error):
    raise error

def main(argv):
    "Evaluates the expression."
    return eval(DO.value)

if __name__ == "__main__":
    cli.run(main)
'''


def _run(path, *args, **environment):
    """Returns the exit status, stdout and stderr of a script."""
    inherited = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, path, *args],
        capture_output=True,
        text=True,
        env=inherited | environment,
        cwd=_ROOT,
    )
    return done.returncode, done.stdout, done.stderr


class RunTest(tf.test.TestCase, parameterized.TestCase):
    def _tiny(self, *args, **environment):
        path = os.path.join(self.get_temp_dir(), "tiny.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(_TINY.format(scripts=_SCRIPTS).lstrip())
        return _run(path, *args, **environment)

    @parameterized.named_parameters(
        ("unknown_flag", "--cuont=1", "Unknown command line flag 'cuont'. Did you"),
        ("bad_value", "--count=x", "flag --count=x: must be an integer. .*'x'"),
        ("out_of_bounds", "--count=-3", "flag --count=-3: -3 is not a non-negative"),
        ("no_flagfile", "--flagfile=no.cfg", "Unable to open flagfile: .*no.cfg"),
        ("value_error", "--do=fail(ValueError('one\\n  two'))", "one two$"),
        ("empty_error", "--do=fail(ValueError())", "ValueError$"),
        ("os_error", "--do=open('/no/file')", "No such file or directory: /no/file$"),
        ("usage_error", "--do=fail(app.UsageError('how'))", "how$"),
    )
    def test_user_error_is_one_line_and_status_2(self, argument, message):
        status, out, err = self._tiny(argument)
        self.assertEqual((status, out), (2, ""))
        self.assertRegex(err.rstrip("\n"), r"\Atiny\.py: error: " + message)
        self.assertLen(err.splitlines(), 1)

    def test_program_error_keeps_its_traceback(self):
        status, _, err = self._tiny("--do=1 / 0")
        self.assertEqual(status, 1)
        self.assertIn("Traceback", err)
        self.assertIn("ZeroDivisionError", err)

    def test_value_error_of_a_library_keeps_its_traceback(self):
        status, _, err = self._tiny("--do=__import__('json').loads('{')")
        self.assertEqual(status, 1)
        self.assertIn("Traceback", err)

    def test_verbosity_shows_the_traceback_of_a_user_error(self):
        status, _, err = self._tiny("--do=fail(ValueError('why'))", "--verbosity=1")
        self.assertEqual(status, 2)
        self.assertIn("Traceback", err)
        self.assertEndsWith(err, "tiny.py: error: why\n")

    def test_interrupt(self):
        status, _, err = self._tiny("--do=fail(KeyboardInterrupt())")
        self.assertEqual((status, err), (130, "tiny.py: interrupted\n"))

    @parameterized.parameters(("None", 0), ("3", 3))
    def test_status_is_what_main_returns(self, expression, expected):
        self.assertEqual(self._tiny(f"--do={expression}"), (expected, "", ""))

    def test_help_shows_the_flags_of_the_script_only(self):
        status, out, err = self._tiny("--help")
        self.assertEqual((status, err), (0, ""))
        self.assertStartsWith(out, "Does what --do says.\n\nUsage: tiny.py [flags]")
        self.assertIn("--do: An expression.", out)
        self.assertNotIn("--verbosity", out)

    def test_imports_neither_tensorflow_nor_tfbn(self):
        expression = "print({'tensorflow', 'tfbn', 'keras'} & set(sys.modules))"
        self.assertEqual(self._tiny(f"--do={expression}"), (0, "set()\n", ""))

    def test_tfbn_can_be_found(self):
        expression = "print(cli.importlib.util.find_spec('tfbn').name)"
        self.assertEqual(self._tiny(f"--do={expression}"), (0, "tfbn\n", ""))


class PlotTest(tf.test.TestCase):
    def setUp(self):
        super().setUp()
        self.root = self.get_temp_dir()
        self.script = os.path.join(_SCRIPTS, "plot.py")
        self.runs = [os.path.join(self.root, name) for name in ("a/vgg", "b/vgg")]
        layers = [{"name": n, "distance": 0.5, "cosine": 0.9} for n in ("one", "two")]
        for run in self.runs:
            with records.RecordWriter(run) as writer:
                writer.write("train", 10, loss=2.0, accuracy=0.1)
                writer.write("ics", 10, layers=layers)

    def test_draws_one_run_into_its_directory(self):
        status, out, err = _run(self.script, self.runs[0], "--format=svg")
        self.assertEqual(status, 0, err)
        folder = os.path.join(self.runs[0], "figures")
        names = ("learning_curves.svg", "covariate_shift.svg")
        self.assertEqual(
            out.splitlines(), [os.path.join(folder, name) for name in names]
        )
        self.assertCountEqual(os.listdir(folder), names)

    def test_draws_runs_of_equal_names_over_each_other(self):
        folder = os.path.join(self.root, "out")
        flags = (f"--out={folder}", "--format=svg", "--layers=two", "--log_steps")
        flags += ("--figures=covariate_shift",)
        status, out, err = testing_utils.run_script(self.script, *self.runs, *flags)
        self.assertEqual(status, 0, err)
        self.assertEqual(os.listdir(folder), ["covariate_shift.svg"])
        with open(os.path.join(folder, "covariate_shift.svg")) as file:
            text = file.read()
        self.assertIn("<!-- a/vgg -->", text)
        self.assertIn("<!-- b/vgg -->", text)
        self.assertNotIn("<!-- one: distance -->", text)

    def test_user_error_from_the_shell(self):
        message = "no run given; pass run directories made by scripts/train.py."
        self._assert_refused(_run, (), message)

    def test_user_errors(self):
        among = "--figures must be among learning_curves, covariate_shift, "
        cases = {
            (self.runs[0], "--layers=three"): "`layers` must be among one, two. ",
            (self.runs[0], "--figures=loss"): among,
            (self.runs[0], f"--out={self.script}"): f"File exists: {self.script}",
        }
        for arguments, message in cases.items():
            with self.subTest(arguments):
                self._assert_refused(testing_utils.run_script, arguments, message)

    def _assert_refused(self, run, arguments, message):
        status, out, err = run(self.script, *arguments)
        self.assertEqual((status, out), (2, ""))
        self.assertNotIn("Traceback", err)
        (line,) = err.splitlines()
        self.assertStartsWith(line, f"plot.py: error: {message}")


if __name__ == "__main__":
    tf.test.main()
