"""`Option`: one named setting with its default, its help and its rule.

Models, norms, data sets and diagnostics declare their settings with it; the fields of
`tfbn.experiment.TrainConfig` and the flags of the scripts are made from them.
"""

import dataclasses
from typing import Any

from tfbn import validation


@dataclasses.dataclass(frozen=True)
class Option:
    """A setting whose type is that of its default.

    Attributes:
        name: str, a Python identifier.
        default: bool, int, float, str or tuple of ints.
        help: str, one or two sentences.
        choices: tuple of str or None, the only values of a str.
        minimum, maximum: inclusive bounds of a number, or of each int of a tuple; an
            int has a minimum of 0 unless stated.
        above, below: exclusive bounds of a float.
        affects_results: bool, whether two runs that differ in it can differ in a
            weight or a record. If not, a run can be resumed with another value.
    """

    name: str
    default: bool | int | float | str | tuple[int, ...]
    help: str
    choices: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    affects_results: bool = True

    @property
    def type(self) -> type:
        """bool, int, float, str or tuple."""
        return type(self.default)

    def checked(self, value: Any) -> Any:
        """Returns `value` as the option's type.

        Raises:
            ValueError: if it has another type or breaks the rule.
        """
        if self.type is bool:
            return validation.boolean(self.name, value)
        if self.type is float:
            return validation.number(self.name, value, **self._bounds())
        if self.type is str:
            if self.choices is not None:
                return validation.choice(self.name, value, self.choices)
            return validation.string(self.name, value)
        check = validation.integer if self.type is int else validation.integers
        return check(self.name, value, **{"minimum": 0, **self._bounds()})

    def text(self, value: Any) -> str:
        """Returns `value` as a flag spells it: `true`, `0.5`, `4,5`."""
        if self.type is bool:
            return str(value).lower()
        if self.type is tuple:
            return ",".join(map(str, value))
        return str(value)

    def _bounds(self):
        names = ("minimum", "maximum", "above", "below")
        bounds = {name: getattr(self, name) for name in names}
        return {name: bound for name, bound in bounds.items() if bound is not None}
