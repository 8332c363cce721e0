"""Tests of tfbn.diagnostics.reference."""

import re

import tensorflow as tf

from tfbn.diagnostics import reference
from tfbn.diagnostics import registry


class ReferenceTest(tf.test.TestCase):
    def test_names_every_diagnostic_option_and_value(self):
        first, second = reference.diagnostics_table(), reference.records_table()
        for diagnostic in registry.values():
            (row,) = re.findall(rf"^\| `{diagnostic.name}` .*$", first, re.MULTILINE)
            for flag in diagnostic.flags:
                self.assertIn(f"`--{flag}`", row)
            for kind in diagnostic.kinds:
                self.assertIn(f"`{kind.name}`", row)
                rows = re.findall(rf"^\| `{kind.name}` .*$", second, re.MULTILINE)
                self.assertLen(rows, len(kind.values) + len(kind.layer_values))
                for name in (*kind.values, *kind.layer_values):
                    self.assertTrue(any(re.search(rf"[`.]{name}`", r) for r in rows))

    def test_cells_are_not_broken(self):
        for table in (reference.diagnostics_table(), reference.records_table()):
            bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
            self.assertLen(bars, 1)


if __name__ == "__main__":
    tf.test.main()
