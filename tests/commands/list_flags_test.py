"""Tests of tfbn.commands.list_flags."""

import tensorflow as tf
from absl import flags
from absl.testing import parameterized

from tfbn.commands import list_flags


class ListFlagsTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.values = flags.FlagValues()
        list_flags.define_names(
            "names", ["a"], ("a", "b", "c"), "Names.", flag_values=self.values
        )
        list_flags.define_shapes("shapes", None, "Shapes.", flag_values=self.values)

    def test_default(self):
        self.values(["script"])
        self.assertEqual((self.values.names, self.values.shapes), (["a"], None))

    def test_values(self):
        self.values(["script", "--names=c,a", "--shapes=128x8x8x256,1024x256"])
        self.assertEqual(self.values.names, ["c", "a"])
        self.assertEqual(self.values.shapes, [(128, 8, 8, 256), (1024, 256)])
        shapes = [list_flags.shape_text(shape) for shape in self.values.shapes]
        self.assertEqual(shapes, ["128x8x8x256", "1024x256"])

    def test_values_survive_a_flagfile(self):
        self.values(["script", "--names=c,a", "--shapes=4x3x2,8x5"])
        text = self.values.flags_into_string()
        self.assertIn("--names=c,a\n", text)
        again = self.values.__class__()
        list_flags.define_shapes("shapes", None, "Shapes.", flag_values=again)
        (line,) = (line for line in text.splitlines() if "shapes" in line)
        again(["script", line])
        self.assertEqual(again.shapes, [(4, 3, 2), (8, 5)])

    @parameterized.parameters(
        ("--names=a,d", "'d' is none of a, b, c"),
        ("--names=", "'' is none of a, b, c"),
        ("--names=b,b", "must be names separated by commas, each once"),
        ("--shapes=8", "'8' is no shape of 2 to 5 positive sizes"),
        ("--shapes=8x4,8x0", "'8x0' is no shape"),
        ("--shapes=8xfour", "'8xfour' is no shape"),
        ("--shapes=1x2x3x4x5x6", "'1x2x3x4x5x6' is no shape"),
        ("--shapes=8x4,8x4", "must be shapes separated by commas, each once"),
    )
    def test_wrong_value(self, argument, message):
        with self.assertRaisesRegex(flags.IllegalFlagValueError, message):
            self.values(["script", argument])


if __name__ == "__main__":
    tf.test.main()
