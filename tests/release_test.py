"""The version stands in tfbn/version.py; other files that name it agree."""

import pathlib
import re

import tensorflow as tf

import tfbn

_ROOT = pathlib.Path(__file__).resolve().parents[1]


class ReleaseTest(tf.test.TestCase):
    def test_version(self):
        version = re.match(r"\d+\.\d+\.\d+", tfbn.__version__)[0]
        patterns = {
            "CITATION.cff": r"^version: (\S+)$",
            "MODULE.bazel": r'^    version = "(.*)",$',
            "CHANGELOG.md": r"^## (\d\S+) - ",
        }
        for name, pattern in patterns.items():
            text = (_ROOT / name).read_text(encoding="utf-8")
            self.assertEqual(re.findall(pattern, text, re.M)[0], version, name)

    def test_date(self):
        citation, changelog = (
            (_ROOT / name).read_text(encoding="utf-8")
            for name in ("CITATION.cff", "CHANGELOG.md")
        )
        date = re.search(r"^date-released: (\S+)$", citation, re.M)[1]
        self.assertEqual(re.search(r"^## .* - (\S+)$", changelog, re.M)[1], date)


if __name__ == "__main__":
    tf.test.main()
