"""Every setting of a training run: a tree of frozen dataclasses, one part for each component.

Flat outside, a tree inside: flags and options.json name a setting alone (`--volume_width`), code
asks the part that owns it (`options.synthesis.volume_width`) and hands each component its part.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.config import earlier, method, parts
from ssv_tf.config.setting import Rule, check
from ssv_tf.data.framing import Framing

SELF_SUPERVISED = "self-supervised"
SUPERVISED = "supervised (ceiling, for reference)"


def anchored(training: str, count: int) -> str:
    """Words for a training in which `count` labelled pictures had a part, 0 or more."""
    return f"{training}, then with {count} labelled pictures (anchors)" if count else training


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of a run, saved as options.json in its folder. Units are in the names and helps.

        Options.of(resolution=64, seed=1).replace(steps=100).run.steps

    Attributes:
      earlier: settings of an earlier version which this one no longer has, and which differed from
        what it now always does; {name: value}.
    """

    run: parts.Run = dataclasses.field(default_factory=parts.Run)
    pictures: parts.Pictures = dataclasses.field(default_factory=parts.Pictures)
    framing: Framing = parts.DEFAULT_FRAMING
    viewpoints: parts.ViewpointRange = dataclasses.field(default_factory=parts.ViewpointRange)
    analysis: parts.Analysis = dataclasses.field(default_factory=parts.Analysis)
    synthesis: parts.Synthesis = dataclasses.field(default_factory=parts.Synthesis)
    losses: parts.Losses = dataclasses.field(default_factory=parts.Losses)
    optimizer: parts.Optimizer = dataclasses.field(default_factory=parts.Optimizer)
    earlier: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        if self.run.init_from and self.pictures.supervised:
            raise SettingError(
                f"`init_from={self.run.init_from}` and `supervised` do not go together; begin anew "
                "with `init_from=`"
            )

    @classmethod
    def of(cls, **settings: Any) -> "Options":
        """The defaults, but for these settings by name.

        Raises:
          SettingError: a value that a setting may not have, or values that do not go together.
          TypeError: no such setting.
        """
        return cls().replace(**settings)

    def replace(self, **settings: Any) -> "Options":
        """The same with other values of these settings; raises as `of`."""
        by_part: dict[str, dict[str, Any]] = {}
        for name, value in settings.items():
            if name not in SETTINGS:
                raise TypeError(f"no such setting: {name}")
            check(name, SETTINGS[name].type, SETTINGS[name].rule, value)
            by_part.setdefault(SETTINGS[name].part, {})[name] = value
        changed = {
            part: dataclasses.replace(getattr(self, part), **values)
            for part, values in by_part.items()
        }
        return dataclasses.replace(self, **changed)

    def flat(self) -> dict[str, Any]:
        """All settings by name."""
        return {name: getattr(getattr(self, s.part), name) for name, s in SETTINGS.items()}

    @property
    def method(self) -> method.Method:
        """What --objective chooses."""
        return method.METHODS[self.losses.objective]

    @property
    def training(self) -> str:
        """How V is trained, in words for whoever reads a score."""
        return SUPERVISED if self.pictures.supervised else SELF_SUPERVISED

    def to_json(self) -> str:
        """The settings as JSON text, one per line."""
        return json.dumps(self.flat() | dict(self.earlier), indent=1) + "\n"


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where a setting lies in the tree, and what is known of it."""

    part: str
    type: Any
    rule: Rule


def _settings() -> Iterator[tuple[str, Setting]]:
    for part in dataclasses.fields(Options):
        if part.name == "earlier":
            continue
        for field in dataclasses.fields(part.type):  # type: ignore[arg-type]
            rule = field.metadata.get("rule") or parts.FRAMING_RULES[field.name]
            yield field.name, Setting(part.name, field.type, rule)


SETTINGS: dict[str, Setting] = dict(_settings())


def from_json(text: str, source: str = "options.json") -> Options:
    """Options from the text of an options.json, of this version or of an earlier one.

    Raises:
      UserError: not JSON, an unknown or a wrong setting; names `source`.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        values, gone = earlier.read(values)
        unknown = sorted(set(values) - set(SETTINGS))
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{source} is not an options file: {error}") from error
    if unknown:
        raise UserError(f"{source} has settings this version does not know: {', '.join(unknown)}")
    try:
        return dataclasses.replace(Options.of(**values), earlier=gone)
    except SettingError as error:
        raise UserError(f"{source}: {error}") from error
