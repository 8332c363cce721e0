"""Tests of scripts/ahead_of_time.py.

What needs XLA's compilers for accelerators is skipped where JAX is not installed.
"""

import importlib.util
import os
import signal
import stat
import sys

import tensorflow as tf
from absl.testing import parameterized

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SCRIPTS = os.path.join(_ROOT, "scripts")
sys.path.insert(0, _SCRIPTS)

from _ahead_of_time import compilation  # noqa: E402
from _ahead_of_time import hlo  # noqa: E402
from _ahead_of_time import programs  # noqa: E402
from _ahead_of_time import tables  # noqa: E402

from tfbn import ops  # noqa: E402

# A kernel that reads 2 of 4 rows of x, and all of y; and a sum over replicas.
_HLO = """HloModule step

%fused (p0: f32[4,8], p1: bf16[4,8]) -> f32[2,8] {
  %p0 = f32[4,8]{1,0} parameter(0)
  %p1 = bf16[4,8]{1,0} parameter(1)
  %part = f32[2,8]{1,0} slice(%p0), slice={[0:2], [0:8]}
  %wide = f32[4,8]{1,0} convert(%p1)
  %sum = f32[8]{0} reduce(%wide, %zero), dimensions={0}
  ROOT %out = f32[2,8]{1,0} add(%part, %sum)
}

ENTRY %main (x: f32[4,8], y: bf16[4,8]) -> f32[2,8] {
  %x = f32[4,8]{1,0} parameter(0)
  %y = bf16[4,8]{1,0} parameter(1)
  %kernel = f32[2,8]{1,0} fusion(%x, %y), kind=kLoop, calls=%fused
  %start = f32[2,8]{1,0} all-reduce-start(%kernel), to_apply=%add
  ROOT %done = f32[2,8]{1,0} all-reduce-done(%start)
}
"""


class HloTest(tf.test.TestCase):
    def test_kernels(self):
        kernel = 2 * 8 * 4 + 4 * 8 * 2 + 2 * 8 * 4
        # What starts an all-reduce and what waits for it each read and write.
        self.assertEqual(hlo.kernels(_HLO), (3, kernel + 2 * (2 * 2 * 8 * 4)))
        pairs = _HLO.replace("bf16[4,8]", "c64[4,8]")
        more = 4 * 8 * (8 - 2)
        self.assertEqual(hlo.kernels(pairs), (3, kernel + 2 * (2 * 2 * 8 * 4) + more))
        self.assertEqual(hlo.largest_argument(_HLO), 4 * 8 * 4)
        self.assertEqual(hlo.num_collectives(_HLO), 1)


class ProgramsTest(tf.test.TestCase, parameterized.TestCase):
    def test_each_has_a_name_of_its_own(self):
        for section in tables.SECTIONS:
            names = [program.name for program in programs.all_programs([section])]
            self.assertNotEmpty(names)
            self.assertLen(set(names), len(names))

    @parameterized.parameters(
        ("passes", "batch_norm", "backward", (1024, 256)),
        ("layers", "tfbn_noisy", "training", (1024, 256)),
        ("layers", "tfbn_renorm", "inference", programs.VARIANT_SHAPE),
        ("layers", "tfbn_lp", "mask", programs.VARIANT_SHAPE),
    )
    def test_text(self, section, what, variant, shape):
        (program,) = (
            program
            for program in programs.all_programs([section])
            if (program.what, program.variant) == (what, variant)
            and (program.shape, program.dtype) == (shape, "bfloat16")
        )
        text = program.text("tpu")
        self.assertIn(f"tensor<{'x'.join(map(str, shape))}xbf16>", text)
        self.assertNotIn("loc(", text)


class CompilationTest(tf.test.TestCase):
    def python(self, script):
        """The path of a program that stands in for Python with the compilers."""
        path = os.path.join(self.get_temp_dir(), "python")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"#!{sys.executable}\nimport os, sys\n{script}\n")
        os.chmod(path, os.stat(path).st_mode | stat.S_IXUSR)
        return path

    def test_a_compiler_that_is_killed_loses_one_file(self):
        python = self.python(
            "for path in sys.argv[4:]:\n"
            f"    if path == 'b': os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
            '    print(\'{"error": null, "bytes": %d}\' % ord(path), flush=True)'
        )
        results = list(compilation.measure(python, "v5e", ["a", "b", "c"]))
        self.assertEqual([r.get("bytes") for r in results], [97, None, 99])
        self.assertIn("signal 9", results[1]["error"])

    def test_missing_compilers(self):
        python = self.python("sys.exit('No module named jax')")
        with self.assertRaisesRegex(ValueError, "pip install .*No module named jax"):
            compilation.versions(python)
        with self.assertRaisesRegex(RuntimeError, "for h100: No module named jax"):
            list(compilation.measure(python, "h100", ["a"]))

    def test_compiles(self):
        """The forward pass for both kinds of device, and at the least possible."""
        (program,) = (
            program
            for program in programs.all_programs(["passes"])
            if program.name == "passes_batch_norm_forward_256x56x56x64_float32"
        )
        for target in ("h100", "v5e"):
            result = self.compiled(program, target)
            self.assertBetween(result["bytes"] / result["argument"], 3.0, 3.05)
            self.assertLess(result["temporary"], 1e6)

    def test_a_relu_is_part_of_the_kernels(self):
        """Forward and backward are 7 passes over the input, as without a ReLU."""
        shape, dtype = (256, 32, 32, 64), "bfloat16"

        def step(x, dy, gamma, beta):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y, _ = ops.batch_norm(x, gamma, beta, axis=3, epsilon=1e-3)
                y = tf.nn.relu(y)
            return y, tape.gradient(y, x, dy)

        specs = [tf.TensorSpec(shape, dtype)] * 2 + [tf.TensorSpec([64])] * 2
        program = programs.Program(
            "layers", "batch_norm", "relu", shape, dtype, lambda: (step, specs)
        )
        result = self.compiled(program, "h100")
        self.assertBetween(result["bytes"] / result["argument"], 7.0, 7.1)

    def compiled(self, program, target):
        if not all(map(importlib.util.find_spec, ("jax", "libtpu"))):
            self.skipTest("needs tfbn[aot]")
        path = os.path.join(self.get_temp_dir(), f"{target}.stablehlo")
        with open(path, "w", encoding="utf-8") as file:
            file.write(program.text(compilation.TARGETS[target]))
        (result,) = compilation.measure(sys.executable, target, [path])
        self.assertIsNone(result["error"])
        return result


class TablesTest(tf.test.TestCase):
    def row(self, section, what, size, target="h100", error=None):
        row = {"section": section, "what": what, "variant": "training"}
        row |= {"shape": [4, 8], "dtype": "float32", "target": target, "error": error}
        if error is None:
            row |= {"bytes": size, "argument": 100, "temporary": 2_340_000}
            row["kernels"] = 9 if target == "h100" else None
        return row

    def test_render(self):
        versions = {"python": "3", "tensorflow": "2", "keras": "3", "tfbn": "0"}
        versions |= {"numpy": "2", "onednn": True}
        results = {
            "date": "today",
            "machine": {"cpu": "C", "cores": 2, "platform": "P", "accelerators": []},
            "versions": versions
            | {"jax": "0.1", "libtpu": "0.2", "jax-cuda12-plugin": "0.3"},
            "rows": [
                self.row("layers", "tfbn_bn", 701),
                self.row("layers", "tfbn_bn", 0, "v4", error="no room"),
                self.row("networks", "keras_bn", 200_000_000),
                self.row("networks", "tfbn_bn", 180_000_000),
            ],
        }
        text = tables.render(results)
        lines = [" ".join(line.split()) for line in text.splitlines()]
        self.assertIn(
            "| tfbn_bn | training | 4x8 | float32 | 7.01 | **fails** | 2.3 | 9 |", lines
        )
        self.assertIn(
            "| tfbn_bn | training | 4x8 | float32 | 180 (0.900) | 2.3 | 9 |", lines
        )
        self.assertIn("4x8, float32 for v4 does not compile: no room", text)


if __name__ == "__main__":
    tf.test.main()
