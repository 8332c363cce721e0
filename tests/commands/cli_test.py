"""Tests of tfbn.commands.cli by a tiny script, and of scripts/plot.py."""

import os
import sys

import tensorflow as tf
from absl import logging
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
from tfbn.commands import cli
from absl import app, flags
DO = flags.DEFINE_string("do", "None", "An expression.")
COUNT = flags.DEFINE_integer("count", 1, "A number.", lower_bound=0)
flags.DEFINE_string("kind", "a", "A kind.", module_name="Kinds")
cli.add_help_section("Kinds")

def fail(error):
    raise error

def main(argv):
    "Evaluates the expression."
    return eval(DO.value)

if __name__ == "__main__":
    cli.run(main)
'''


class RunTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.path = os.path.join(self.get_temp_dir(), "tiny.py")
        with open(self.path, "w", encoding="utf-8") as file:
            file.write(_TINY.lstrip())
        verbosity = logging.get_verbosity()
        self.addCleanup(logging.set_verbosity, verbosity)

    def _tiny(self, *arguments):
        return testing_utils.run_script(self.path, *arguments)

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

    def test_failed_task_is_one_line_and_status_1(self):
        status, _, err = self._tiny("--do=fail(MemoryError('too much'))")
        self.assertEqual((status, err), (1, "tiny.py: error: too much\n"))

    @parameterized.parameters(
        ("1 / 0", ZeroDivisionError), ("__import__('json').loads('{')", ValueError)
    )
    def test_other_errors_and_those_of_libraries_are_bugs(self, expression, error):
        with self.assertRaises(error):
            self._tiny(f"--do={expression}")

    def test_verbosity_shows_the_traceback_of_a_user_error(self):
        with self.assertLogs("absl", level="DEBUG") as logs:
            status, _, err = self._tiny("--do=fail(ValueError('why'))", "--verbosity=1")
        self.assertEqual((status, err), (2, "tiny.py: error: why\n"))
        self.assertIn("Traceback", logs.output[0])

    def test_interrupt(self):
        status, _, err = self._tiny("--do=fail(KeyboardInterrupt())")
        self.assertEqual((status, err), (130, "tiny.py: interrupted\n"))

    @parameterized.parameters(("None", 0), ("3", 3))
    def test_status_is_what_main_returns(self, expression, expected):
        self.assertEqual(self._tiny(f"--do={expression}"), (expected, "", ""))

    @parameterized.parameters("--help", "-h")
    def test_help_shows_the_script_and_its_sections(self, argument):
        status, out, err = self._tiny(argument)
        self.assertEqual((status, err), (0, ""))
        self.assertStartsWith(out, "Does what --do says.\n\nUsage: tiny.py [flags]")
        self.assertRegex(out, r"(?s)--do: An expression.*\nKinds:\n +--kind: A kind")
        self.assertNotIn("--verbosity", out)
        status, out, _ = self._tiny("--helpfull")
        self.assertEqual(status, 0)
        self.assertIn("--verbosity", out)


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
        arguments = (self.runs[0], "--tensorboard")
        status, out, err = testing_utils.run_script(self.script, *arguments)
        self.assertEqual(status, 0, err)
        folder = os.path.join(self.runs[0], "figures")
        names = ("learning_curves.png", "covariate_shift.png")
        self.assertEqual(
            out.splitlines(), [os.path.join(folder, name) for name in names]
        )
        self.assertCountEqual(os.listdir(folder), names)
        (events,) = set(os.listdir(self.runs[0])) - {"figures", "records.jsonl"}
        self.assertEndsWith(events, ".figures.v2")

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

    def test_user_errors(self):
        among = "--figures must be among learning_curves, covariate_shift, "
        cases = {
            (): "no run given; pass run directories made by scripts/train.py.",
            (self.runs[0], "--layers=three"): "`layers` must be among one, two. ",
            (self.runs[0], "--figures=loss"): among,
            (self.runs[0], "--format=svg", "--tensorboard"): "--format must be png ",
            (self.runs[0], f"--out={self.script}"): f"File exists: {self.script}",
        }
        for arguments, message in cases.items():
            with self.subTest(arguments):
                status, out, err = testing_utils.run_script(self.script, *arguments)
                self.assertEqual((status, out), (2, ""))
                (line,) = err.splitlines()
                self.assertStartsWith(line, f"plot.py: error: {message}")


if __name__ == "__main__":
    tf.test.main()
