"""In what form a table gives angles: names of its columns, convention, tolerance of its labels."""

import dataclasses
from collections.abc import Mapping

from ssv_tf import viewpoint
from ssv_tf.base.errors import SettingError
from ssv_tf.data import conventions

FILENAME = "filename"
ANGLE_COLUMNS = tuple(f"{angle}_deg" for angle in viewpoint.ANGLES)
# What a part of `columns` may begin with, and the column it stands for.
_ROLES = {"file": FILENAME, FILENAME: FILENAME} | {
    word: column
    for angle, column in zip(viewpoint.ANGLES, ANGLE_COLUMNS, strict=True)
    for word in (angle, column)
}
Columns = str | Mapping[str, str] | None


@dataclasses.dataclass(frozen=True)
class Form:
    """How a table is to be read.

    Attributes:
      columns: the table's own names, by filename, azimuth_deg, elevation_deg, tilt_deg; one that is
        not there has that name itself.
      convention: of its numbers.
      tolerance_deg: how far a true azimuth may be from its label; None: half the width of a class
        in words, 0 of numbers.
      settable: whether the caller has the settings `columns` and `convention`, so that errors
        speak of them.
    """

    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    convention: conventions.Convention = dataclasses.field(default_factory=conventions.Convention)
    tolerance_deg: float | None = None
    settable: bool = False

    def column(self, role: str) -> str:
        """The table's name of filename, azimuth_deg, elevation_deg or tilt_deg."""
        return self.columns.get(role, role)

    @property
    def angle_columns(self) -> tuple[str, ...]:
        """The table's names of the angles."""
        return tuple(self.column(role) for role in ANGLE_COLUMNS)


PLAIN = Form()


def parse(
    columns: Columns = None, convention: str | None = None, tolerance_deg: float | None = None
) -> Form:
    """The form that settings describe.

    Args:
      columns: `azimuth=yaw,file=image` or a dictionary; of file, azimuth, elevation and tilt.
      convention: words of `conventions.WORDS`, separated by commas.
      tolerance_deg: see `Form`.

    Raises:
      SettingError: a part that cannot be read, or a tolerance that is not from 0 to below 180.
    """
    if tolerance_deg is not None and not 0 <= tolerance_deg < 180:  # NaN too
        raise SettingError(
            f"`label_tolerance_deg` is from 0 to below 180 degrees, not {tolerance_deg}"
        )
    return Form(_columns(columns), conventions.parse(convention), tolerance_deg, settable=True)


def tolerance_deg(form: Form, class_widths_deg: set[float]) -> float:
    """The tolerance of labels, of which some are classes of these widths."""
    if form.tolerance_deg is not None:
        return float(form.tolerance_deg)
    return min(class_widths_deg, default=0.0) / 2


def _columns(given: Columns) -> dict[str, str]:
    pairs = given.items() if isinstance(given, Mapping) else map(_pair, _parts(given or ""))
    columns: dict[str, str] = {}
    for word, name in pairs:
        role = _ROLES.get(word)
        if role is None or not name:
            raise SettingError(
                f"`columns` cannot read {word}={name}; it takes file, azimuth, elevation and tilt, "
                "as in azimuth=yaw,file=image"
            )
        if columns.setdefault(role, name) != name or list(columns.values()).count(name) > 1:
            raise SettingError(f"`columns` names {word}={name} beside another of the same")
    return columns


def _parts(text: str) -> list[str]:
    return [part for part in text.split(",") if part.strip()]


def _pair(part: str) -> tuple[str, str]:
    word, _, name = part.partition("=")
    return word.strip(), name.strip()
