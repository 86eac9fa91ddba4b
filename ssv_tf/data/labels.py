"""Tables of angles: a CSV file with a row a picture, and conditions that choose rows by column."""

import csv
import dataclasses
import io
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from absl import logging

from ssv_tf import viewpoint
from ssv_tf.errors import FlagError, UserError

ANGLE_COLUMNS = tuple(f"{angle}_deg" for angle in viewpoint.ANGLES)
# Azimuth is accepted over any full turn and wrapped; the others have one place for each value.
_LARGEST_DEG = {"azimuth_deg": 360.0, "elevation_deg": 90.0, "tilt_deg": 180.0}
_CONDITION = re.compile(
    r"\s*([^\s%=!<>]+)\s*(?:%\s*([0-9]+)\s*)?([!=]=)\s*([^\s=!<>]([^=!<>]*\S)?)\s*"
)


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
        try:
            same = float(cell) == float(self.value)
        except ValueError:
            same = cell.strip() == self.value
        return same == self.equal


@dataclasses.dataclass(frozen=True)
class _Row:
    """One line of the table; `place` names it in errors."""

    place: str
    filename: str
    cells: dict[str, str]


def parse_condition(text: str) -> Condition:
    """Reads COLUMN==VALUE, COLUMN!=VALUE, COLUMN%N==K or COLUMN%N!=K.

    `class_id % 4 == 1` chooses every fourth class, so that training (`!= 1`) and scoring share
    no car model. Numbers compare as numbers, all else as text.

    Raises:
      FlagError: anything else.
    """
    match = _CONDITION.fullmatch(text)
    if not match:
        raise FlagError(
            f"cannot read the condition {text!r}; write COLUMN==VALUE, COLUMN!=VALUE, "
            "COLUMN%N==K or COLUMN%N!=K"
        )
    column, modulus, operator, value, _ = match.groups()
    if modulus is None:
        return Condition(column, None, operator == "==", value)
    if int(modulus) == 0 or not value.isdecimal() or int(value) >= int(modulus):
        raise FlagError(f"in the condition {text!r}, N must be above 0 and K from 0 to N - 1")
    return Condition(column, int(modulus), operator == "==", value)


def read_labels(path: str | os.PathLike, where: str | None = None) -> dict[str, np.ndarray]:
    """Angles of the labelled pictures.

    Rows with an empty angle, or with 1 in a column `suspect`, are left out; how many is logged.

    Args:
      path: CSV in UTF-8 with the columns filename, azimuth_deg, elevation_deg, tilt_deg, in any
        order and beside any others. `filename` is the path below the data folder.
      where: only rows for which this holds, see `parse_condition`.

    Returns:
      filename -> float32 [3], degrees; azimuth in (-180, 180].

    Raises:
      UserError: no such file, a missing column, or a cell that is no angle; it names the file,
        line and column.
    """
    labels, left_out = {}, 0
    for row in _chosen_rows(path, where, required=ANGLE_COLUMNS):
        if _is_suspect(row) or not all(row.cells[column].strip() for column in ANGLE_COLUMNS):
            left_out += 1
            continue
        labels[row.filename] = _angles(row)
    if left_out:
        logging.info("%s: left out %d rows, suspect or without an angle", path, left_out)
    return labels


def select_filenames(path: str | os.PathLike, where: str) -> set[str]:
    """Filenames of the rows for which `where` holds; no angle is looked at.

    Raises:
      UserError: as `read_labels`, but the columns of the angles are not needed.
    """
    return {row.filename for row in _chosen_rows(path, where, required=())}


def _chosen_rows(
    path: str | os.PathLike, where: str | None, required: tuple[str, ...]
) -> Iterator[_Row]:
    condition = parse_condition(where) if where else None
    needed = ("filename", *required, *((condition.column,) if condition else ()))
    lines: dict[str, str] = {}
    for row in _rows(Path(path), needed):
        if row.filename in lines:
            raise UserError(
                f"{row.place}: {row.filename} is there twice, see {lines[row.filename]}"
            )
        lines[row.filename] = row.place
        if condition is None or _holds(condition, row):
            yield row


def _rows(path: Path, needed: tuple[str, ...]) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True, restval="")
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        missing = [name for name in needed if name not in header]
        if missing:
            raise UserError(
                f"{path} line 1: no column {', '.join(missing)}; the columns are "
                f"{', '.join(header) or 'none, the file is empty'}"
            )
        reader.fieldnames = header
        for cells in reader:
            place = f"{path} line {reader.line_num}"
            if None in cells:
                raise UserError(f"{place}: more cells than the {len(header)} columns of line 1")
            yield _Row(place, _filename(cells["filename"], place), cells)
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: {error}") from error


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the labels {path}: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} line {line}: not UTF-8; save the table as UTF-8") from None


def _filename(cell: str, place: str) -> str:
    if not cell.strip():
        raise UserError(f"{place}: column filename is empty")
    return PurePosixPath(cell.strip().replace("\\", "/")).as_posix()


def _holds(condition: Condition, row: _Row) -> bool:
    cell = row.cells[condition.column]
    try:
        return condition.holds(cell)
    except ValueError:
        raise UserError(
            f"{row.place}: column {condition.column} holds {cell!r}, no whole number"
        ) from None


def _is_suspect(row: _Row) -> bool:
    cell = row.cells.get("suspect", "").strip()
    if cell not in ("", "0", "1"):
        raise UserError(f"{row.place}: column suspect holds {cell!r}, not 0 or 1")
    return cell == "1"


def _angles(row: _Row) -> np.ndarray:
    angles = np.array([_angle(row, column) for column in ANGLE_COLUMNS])
    angles[0] = viewpoint.wrap_deg(angles[0])
    return angles.astype(np.float32)


def _angle(row: _Row, column: str) -> float:
    cell, largest = row.cells[column].strip(), _LARGEST_DEG[column]
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{row.place}: column {column} holds {cell!r}, no finite number")
    if abs(value) > largest:
        raise UserError(
            f"{row.place}: column {column} holds {cell}, "
            f"outside {-largest:g} to {largest:g} degrees"
        )
    return value
