"""Tables of angles: a CSV file with a row a picture, and conditions that choose rows by column."""

import contextlib
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
from ssv_tf.base import files
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import read_policy

ANGLE_COLUMNS = tuple(f"{angle}_deg" for angle in viewpoint.ANGLES)
# Azimuth is accepted over any full turn and wrapped; the others have one place for each value.
_LARGEST_DEG = {"azimuth_deg": 360.0, "elevation_deg": 90.0, "tilt_deg": 180.0}
MAX_BYTES = 500_000_000  # some ten million rows
_CONDITION = re.compile(
    r"\s*([^\s%=!<>]+)\s*(?:%\s*([0-9]+)\s*)?([!=]=)\s*([^\s=!<>]([^=!<>]*\S)?)\s*"
)
# Python also takes 1_0 and the digits of every script, which no table means.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_LONGEST_WHOLE = 18  # digits
_ANGLE_ENDING = r"[ _-]?[(\[]?(deg|degrees?|rad|radians?|\u00b0)?[)\]]?"


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


def read_labels(
    path: str | os.PathLike, where: str | None = None, bad_rows: str = read_policy.STOP
) -> dict[str, np.ndarray]:
    """Angles of the labelled pictures.

    An empty cell is an angle that is not known. Rows without any angle, or with 1 in a column
    `suspect`, are left out; how many is logged, and how many rows know which angle.

    Args:
      path: CSV in UTF-8 with the column filename and at least one of azimuth_deg, elevation_deg,
        tilt_deg, in any order and beside any others. `filename` is the path below the data folder.
      where: only rows for which this holds, see `parse_condition`.
      bad_rows: "stop" at a row with a mistake, or "skip" it; each is then named and counted in the
        log. Of two rows for one filename the first counts.

    Returns:
      filename -> float32 [3], degrees; azimuth in (-180, 180]; NaN where an angle is not known.

    Raises:
      UserError: no such file, no column of angles, or a cell that is no angle; it names the file,
        line and column. With bad_rows="skip" only what makes the table as a whole unreadable.
    """
    labels: dict[str, np.ndarray] = {}
    left_out = 0
    mistakes = _Mistakes(path, bad_rows)
    for row in _chosen_rows(path, where, mistakes, ANGLE_COLUMNS):
        with mistakes.caught():
            if _is_suspect(row) or not any(row.cells.get(c, "").strip() for c in ANGLE_COLUMNS):
                left_out += 1
            else:
                labels[row.filename] = _angles(row)
    mistakes.report()
    if left_out:
        logging.info("%s: left out %d rows, suspect or without an angle", path, left_out)
    _report_unknown(path, labels)
    return labels


def _report_unknown(path: str | os.PathLike, labels: dict[str, np.ndarray]) -> None:
    """Logs how many rows know which angle, where some know not all of them."""
    known = viewpoint.known(list(labels.values()) or np.zeros((0, 3)))
    if known.all():
        return
    counts = zip(viewpoint.ANGLES, known.sum(axis=0), strict=True)
    said = ", ".join(f"{name} {count}" for name, count in counts)
    logging.info("%s: angles known of %d rows: %s", path, len(labels), said)


def select_filenames(
    path: str | os.PathLike, where: str, bad_rows: str = read_policy.STOP
) -> set[str]:
    """Filenames of the rows for which `where` holds; no angle is looked at.

    Raises:
      UserError: as `read_labels`, but the columns of the angles are not needed.
    """
    mistakes = _Mistakes(path, bad_rows)
    chosen = {row.filename for row in _chosen_rows(path, where, mistakes)}
    mistakes.report()
    return chosen


class _Mistakes:
    """Rows that cannot be used: the first ends the reading, or all are kept for the log."""

    def __init__(self, path: str | os.PathLike, policy: str) -> None:
        read_policy.check_policy(policy)
        self._path, self._policy = path, policy
        self._found: list[str] = []

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            if self._policy == read_policy.STOP:
                raise
            self._found.append(str(error))

    def report(self) -> None:
        for mistake in self._found:
            logging.warning("skipped %s", files.one_line(mistake))
        if self._found:
            logging.warning("%s: skipped %d rows with mistakes", self._path, len(self._found))


def _chosen_rows(
    path: str | os.PathLike,
    where: str | None,
    mistakes: _Mistakes,
    any_of: tuple[str, ...] = (),
) -> Iterator[_Row]:
    """The rows that `where` chooses, of a table with at least one of the columns `any_of`."""
    condition = parse_condition(where) if where else None
    needed = ("filename", *((condition.column,) if condition else ()))
    places: dict[str, str] = {}
    for place, cells in lines(Path(path), needed, any_of):
        with mistakes.caught():
            row = _row(place, cells, places)
            if condition is None or _holds(condition, row):
                yield row


def lines(
    path: Path,
    needed: tuple[str, ...] = (),
    any_of: tuple[str, ...] = (),
    what: str = "labels",
) -> Iterator[tuple[str, dict]]:
    """(place, cell by column) of each line below the header; surplus cells under None.

    Args:
      path: CSV in UTF-8.
      needed: columns that must be there.
      any_of: columns one of which must be there, under exactly this name.
      what: the table is of, for a message.

    Raises:
      UserError: a table that cannot be read; it names the line.
    """
    text = _text(path, what)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
    try:
        reader.fieldnames = _header(
            [name.strip() for name in reader.fieldnames or ()], path, needed, any_of
        )
        for cells in reader:
            yield f"{path} line {reader.line_num}", cells
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: {error}") from error


def _header(
    header: list[str], path: Path, needed: tuple[str, ...], any_of: tuple[str, ...]
) -> list[str]:
    missing = [name for name in needed if name not in header]
    if not missing and any_of and not set(any_of) & set(header):
        missing = [" or ".join(any_of)]
    missing += [name for name in any_of if name not in header and _misspelt(name, header)]
    if missing:
        only = header[0] if len(header) == 1 else ""
        mark = next((mark for mark in ";\t|" if mark in only), None)
        hint = f"; separate the columns by commas, not {mark!r}" if mark else ""
        raise UserError(
            f"{path} line 1: no column {', '.join(missing)}; the columns are "
            f"{', '.join(header)[:200] or 'none, the file is empty'}{hint}"
        )
    twice = [name for name in (*needed, *any_of) if header.count(name) > 1]
    if twice:
        raise UserError(f"{path} line 1: the column {twice[0]} is there twice")
    return header


def _misspelt(column: str, header: list[str]) -> bool:
    """Whether another column must mean this angle, which would be left out without a word."""
    angle = column.removesuffix("_deg")
    return any(re.fullmatch(rf"{angle}{_ANGLE_ENDING}", name, re.IGNORECASE) for name in header)


def _row(place: str, cells: dict, places: dict[str, str]) -> _Row:
    if None in cells:
        raise UserError(f"{place}: more cells than the {len(cells) - 1} columns of line 1")
    row = _Row(place, _filename(cells["filename"], place), cells)
    if row.filename in places:
        raise UserError(f"{place}: {row.filename} is there twice, see {places[row.filename]}")
    places[row.filename] = place
    return row


def _text(path: Path, what: str) -> str:
    try:
        content = files.read_regular(path, MAX_BYTES)
    except files.Unreadable as error:
        raise UserError(f"cannot read the {what} {path}: {error}") from None
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise UserError(f"{path} line {line}: a NUL byte; save the table as text in UTF-8")
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
            f"{row.place}: column {condition.column} holds {cell[:80]!r}, no whole number"
        ) from None


def _is_suspect(row: _Row) -> bool:
    cell = row.cells.get("suspect", "").strip()
    if cell not in ("", "0", "1"):
        raise UserError(f"{row.place}: column suspect holds {cell[:80]!r}, not 0 or 1")
    return cell == "1"


def _angles(row: _Row) -> np.ndarray:
    angles = np.array([_angle(row, column) for column in ANGLE_COLUMNS])
    angles[0] = viewpoint.wrap_deg(angles[0])  # NaN stays
    return angles.astype(np.float32)


def _angle(row: _Row, column: str) -> float:
    try:
        return parse_angle(row.cells.get(column, ""), column)
    except ValueError as error:
        raise UserError(f"{row.place}: column {error}") from None


def parse_angle(cell: str, column: str) -> float:
    """The angle that a cell of a column holds, in degrees as written; NaN: an empty cell.

    Raises:
      ValueError: no finite number, or one outside the column's range; names the column.
    """
    cell, largest = cell.strip(), _LARGEST_DEG[column]
    if not cell:
        return math.nan
    value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{column} holds {cell[:80]!r}, no finite number")
    if abs(value) > largest:
        raise ValueError(f"{column} holds {cell[:80]}, outside {-largest:g} to {largest:g} degrees")
    return value
