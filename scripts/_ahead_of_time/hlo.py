"""Counts in XLA's programs, as their text (HLO) shows them."""

import math
import re

_COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all")
# Operations of a GPU program that move nothing.
_FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant")
_BYTES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4}
_BYTES |= {"c64": 8, "c128": 16}
_BYTES |= {"bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s8": 1, "u8": 1, "pred": 1}
_LINE = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+)\s+([\w\-]+)\((.*)")


class Instruction:
    """A line of HLO.

    Attributes:
        name, operation: strs.
        size: int, bytes of the result, of a tuple those of all of its parts.
        operands: names.
        rest: str, what stands behind the operation.
    """

    def __init__(self, name, shape, operation, rest):
        self.name, self.operation, self.rest = name, operation, rest
        self.size = sum(
            _BYTES[dtype] * math.prod(int(n) for n in sizes.split(",") if n)
            for dtype, sizes in re.findall(r"(\w+)\[([\d,]*)\]", shape)
            if dtype in _BYTES
        )
        self.operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])

    @property
    def called(self):
        """The name of the fused computation, or None."""
        match = re.search(r"calls=%?([\w.\-]+)", self.rest)
        return match and match.group(1)


def instructions(lines):
    """The `Instruction`s among the lines."""
    return [Instruction(*match.groups()) for match in map(_LINE.match, lines) if match]


def kernels(hlo):
    """`(number, bytes)` of a GPU program's kernels, and what they read and write."""
    blocks = re.split(r"\n(?=%|ENTRY)", hlo)
    fused = {
        re.match(r"(?:ENTRY )?%?([\w.\-]+)", block).group(1): instructions(
            block.splitlines()[1:]
        )
        for block in blocks
    }
    entry = next(block for block in blocks if block.startswith("ENTRY"))
    sizes, number, total = {}, 0, 0
    for instruction in instructions(entry.splitlines()[1:]):
        sizes[instruction.name] = instruction.size
        if instruction.operation in _FREE:
            continue
        number += 1
        total += instruction.size
        computation = fused.get(instruction.called)
        for index, operand in enumerate(instruction.operands):
            whole = sizes.get(operand, 0)
            if computation is not None and instruction.operation == "fusion":
                whole = min(whole, bytes_read(computation, index, whole))
            total += whole
    return number, total


def bytes_read(computation, index, whole):
    """What a fused computation reads of an operand: less than all if only slices."""
    names, parts = set(), 0
    for instruction in computation:
        if instruction.operation == "parameter":
            if instruction.rest.startswith(f"{index})"):
                names.add(instruction.name)
        elif names.intersection(instruction.operands):
            if instruction.operation in ("bitcast", "convert", "reshape"):
                names.add(instruction.name)
            elif instruction.operation in ("slice", "dynamic-slice", "gather"):
                parts += instruction.size
            else:
                return whole
    return parts


def largest_argument(text):
    """The bytes of the program's largest argument."""
    entry = instructions(text[text.index("ENTRY") :].splitlines())
    return max(i.size for i in entry if i.operation == "parameter")


def num_collectives(text):
    """How many operations combine replicas."""
    operations = (i.operation for i in instructions(text.splitlines()))
    return sum(name.removesuffix("-start") in _COLLECTIVES for name in operations)
