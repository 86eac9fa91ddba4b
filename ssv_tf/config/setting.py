"""One setting: its default, what it means, and the values it may have."""

import dataclasses
import math
from typing import Any

from ssv_tf.base.errors import SettingError


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is known of a setting beside its name.

    Attributes:
      default: the value where none is given.
      help: one or two sentences, units included.
      low, high: the least and the largest value, or None.
      choices: all allowed values, or None.
    """

    default: Any
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple | None = None


def setting(
    default: Any,
    help_text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple | None = None,
) -> Any:
    """A field of a `Part`."""
    rule = Rule(default, help_text, low, high, choices)
    return dataclasses.field(default=default, metadata={"rule": rule})


@dataclasses.dataclass(frozen=True)
class Part:
    """Settings of one component; every field is made by `setting`.

    Raises:
      SettingError: a value of the wrong type or out of its range, or ones that do not go together.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(field.name, field.type, field.metadata["rule"], getattr(self, field.name))
        self.check_together()

    def check_together(self) -> None:
        """Raises SettingError where values do not go together."""


def check(name: str, kind: Any, rule: Rule, value: Any) -> None:
    """Raises SettingError where `value` is not one the setting `name` may have.

    Args:
      name: of the setting, as its flag.
      kind: bool, int, float or str; an int will do for a float.
    """
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if type(value) is not kind:
        raise SettingError(f"`{name}` must be {kind.__name__}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingError(f"`{name}` must be finite, got {value}")
    if rule.choices and value not in rule.choices:
        raise SettingError(f"`{name}` must be one of {rule.choices}, got {value!r}")
    if rule.low is not None and value < rule.low:
        raise SettingError(f"`{name}` must be at least {rule.low}, got {value}")
    if rule.high is not None and value > rule.high:
        raise SettingError(f"`{name}` must be at most {rule.high}, got {value}")
