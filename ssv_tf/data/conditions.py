"""Conditions that choose the rows of a table by a column, such as `class_id % 4 == 1`."""

import contextlib
import dataclasses
import re

from ssv_tf.base.errors import SettingError

_CONDITION = re.compile(
    r"\s*([^\s%=!<>]+)\s*(?:%\s*([0-9]+)\s*)?([!=]=)\s*([^\s=!<>]([^=!<>]*\S)?)\s*"
)
_LONGEST_WHOLE = 18  # digits


@dataclasses.dataclass(frozen=True)
class Condition:
    """A condition on one column of a table; see `parse_condition`."""

    column: str
    modulus: int | None
    equal: bool
    value: str

    def holds(self, cell: str) -> bool:
        """Whether a row with this cell is chosen; ValueError where `%` meets no whole number."""
        if self.modulus is not None:
            return (int(cell) % self.modulus == int(self.value)) == self.equal
        same = cell.strip() == self.value
        with contextlib.suppress(ValueError):
            same = same or float(cell) == float(self.value)
        return same == self.equal


def parse_condition(text: str) -> Condition:
    """Reads COLUMN==VALUE, COLUMN!=VALUE, COLUMN%N==K or COLUMN%N!=K.

    `class_id % 4 == 1` chooses every fourth class, so that training (`!= 1`) and scoring share
    no car model. Numbers compare as numbers, all else as text.

    Raises:
      SettingError: anything else.
    """
    match = _CONDITION.fullmatch(text)
    if not match:
        raise SettingError(
            f"cannot read the condition {text!r}; write COLUMN==VALUE, COLUMN!=VALUE, "
            "COLUMN%N==K or COLUMN%N!=K"
        )
    column, modulus, operator, value, _ = match.groups()
    if modulus and max(len(modulus), len(value)) > _LONGEST_WHOLE:
        raise SettingError(
            f"in the condition {text!r}, N and K have {_LONGEST_WHOLE} digits at most"
        )
    if modulus is None:
        return Condition(column, None, operator == "==", value)
    if int(modulus) == 0 or not value.isdecimal() or int(value) >= int(modulus):
        raise SettingError(f"in the condition {text!r}, N must be above 0 and K from 0 to N - 1")
    return Condition(column, int(modulus), operator == "==", value)
