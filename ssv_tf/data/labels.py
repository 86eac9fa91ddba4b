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
from ssv_tf.base.errors import UserError
from ssv_tf.data import forms, read_policy
from ssv_tf.data.conditions import Condition, parse_condition
from ssv_tf.data.forms import ANGLE_COLUMNS, FILENAME, PLAIN, Form

# Azimuth is accepted over any full turn and wrapped; the others have one place for each value.
_LARGEST_DEG = {"azimuth_deg": 360.0, "elevation_deg": 90.0, "tilt_deg": 180.0}
_ROUNDED = 1.0001  # a full turn may be written as 6.2832 radians
MAX_BYTES = 500_000_000  # some ten million rows
# Python also takes 1_0 and the digits of every script, which no table means.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?")
_ANGLE_ENDING = r"[ _-]?[(\[]?(deg|degrees?|rad|radians?|\u00b0)?[)\]]?"


@dataclasses.dataclass(frozen=True)
class _Row:
    """One line of the table; `location` names it in errors."""

    location: str
    filename: str
    cells: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Labels:
    """What a table tells.

    Attributes:
      angles_deg: filename -> float32 [3]; azimuth in (-180, 180]; NaN where one is not known.
      tolerance_deg: how far a true azimuth may be from its label.
    """

    angles_deg: dict[str, np.ndarray]
    tolerance_deg: float = 0.0


def read_labels(
    path: str | os.PathLike, where: str | None = None, bad_rows: str = read_policy.STOP
) -> dict[str, np.ndarray]:
    """`read_table`'s angles of a table in degrees of the project's convention."""
    return read_table(path, where, bad_rows).angles_deg


def read_table(
    path: str | os.PathLike,
    where: str | None = None,
    bad_rows: str = read_policy.STOP,
    form: Form = PLAIN,
) -> Labels:
    """Angles of the labelled pictures.

    An empty cell is an angle that is not known. Rows without any angle, or with 1 in a column
    `suspect`, are left out; how many is logged, and how many rows know which angle.

    Args:
      path: CSV in UTF-8 with the column filename and at least one of azimuth_deg, elevation_deg,
        tilt_deg, in any order and beside any others. `filename` is the path below the data folder
        (`names.match_names`). An azimuth is a number, or a class such as front_left
        (`conventions.Convention.of_class`).
      where: only rows for which this holds, see `parse_condition`.
      bad_rows: "stop" at a row with a mistake, or "skip" it; each is then named and counted in the
        log. Of two rows for one filename the first counts.
      form: other names of columns, another convention, the labels' tolerance.

    Returns:
      the angles, and the tolerance of the azimuths.

    Raises:
      UserError: no such file, no column of angles, or a cell that is no angle; it names the file,
        line and column. With bad_rows="skip" only what makes the table as a whole unreadable.
    """
    labels: dict[str, np.ndarray] = {}
    widths: set[float] = set()
    left_out = 0
    mistakes = _Mistakes(path, bad_rows)
    for row in _chosen_rows(path, where, mistakes, form, ANGLE_COLUMNS):
        with mistakes.caught():
            if _is_suspect(row) or not any(_cell(row, form, role) for role in ANGLE_COLUMNS):
                left_out += 1
                continue
            labels[row.filename] = _angles(row, form)
            azimuth_class = form.convention.of_class(_cell(row, form, ANGLE_COLUMNS[0]))
            widths |= {azimuth_class[1]} if azimuth_class else set()
    mistakes.report()
    if left_out:
        logging.info("%s: left out %d rows, suspect or without an angle", path, left_out)
    _report_unknown(path, labels)
    tolerance_deg = forms.tolerance_deg(form, widths)
    if widths:
        logging.info("%s: azimuths are classes, true to +-%g degrees", path, tolerance_deg)
    return Labels(labels, tolerance_deg)


def _report_unknown(path: str | os.PathLike, labels: dict[str, np.ndarray]) -> None:
    """Logs how many rows know which angle, where some know not all of them."""
    known = viewpoint.known(list(labels.values()) or np.zeros((0, 3)))
    if known.all():
        return
    counts = zip(viewpoint.ANGLES, known.sum(axis=0), strict=True)
    said = ", ".join(f"{name} {count}" for name, count in counts)
    logging.info("%s: angles known of %d rows: %s", path, len(labels), said)


def select_filenames(
    path: str | os.PathLike,
    where: str,
    bad_rows: str = read_policy.STOP,
    form: Form = PLAIN,
) -> set[str]:
    """Filenames of the rows for which `where` holds; no angle is looked at.

    Raises:
      UserError: as `read_table`, but the columns of the angles are not needed.
    """
    mistakes = _Mistakes(path, bad_rows)
    chosen = {row.filename for row in _chosen_rows(path, where, mistakes, form)}
    mistakes.report()
    return chosen


class _Mistakes:
    """Rows that cannot be used: the first ends the reading, or all are kept for the log."""

    def __init__(self, path: str | os.PathLike, policy: str) -> None:
        read_policy.check_policy(policy)
        self._path, self._policy = path, policy
        self._messages: list[str] = []

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        try:
            yield
        except UserError as error:
            if self._policy == read_policy.STOP:
                raise
            self._messages.append(str(error))

    def report(self) -> None:
        for mistake in self._messages:
            logging.warning("skipped %s", files.one_line(mistake))
        if self._messages:
            logging.warning("%s: skipped %d rows with mistakes", self._path, len(self._messages))


def _chosen_rows(
    path: str | os.PathLike,
    where: str | None,
    mistakes: _Mistakes,
    form: Form,
    any_of: tuple[str, ...] = (),
) -> Iterator[_Row]:
    """The rows that `where` chooses, of a table with at least one of the columns `any_of`."""
    condition = parse_condition(where) if where else None
    name = form.column(FILENAME)
    needed = (name, *((condition.column,) if condition else ()))
    locations: dict[str, str] = {}
    for location, cells in lines(Path(path), needed, any_of, form=form):
        with mistakes.caught():
            row = _row(location, cells, locations, name)
            if condition is None or _holds(condition, row):
                yield row


def lines(
    path: Path,
    needed: tuple[str, ...] = (),
    any_of: tuple[str, ...] = (),
    what: str = "labels",
    form: Form = PLAIN,
) -> Iterator[tuple[str, dict]]:
    """(location, cell by column) of each line below the header; surplus cells under None.

    Args:
      path: CSV in UTF-8.
      needed: columns that must be there.
      any_of: columns one of which must be there, under exactly this name.
      what: the table is of, for a message.
      form: its columns' names.

    Raises:
      UserError: a table that cannot be read; it names the line.
    """
    text = _text(path, what)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
    try:
        header = [name.strip() for name in reader.fieldnames or ()]
        _check_header(header, path, needed, form, any_of)
        reader.fieldnames = header
        for cells in reader:
            yield f"{path} line {reader.line_num}", cells
    except csv.Error as error:
        raise UserError(f"{path} line {reader.line_num}: {error}") from error


def _check_header(
    header: list[str], path: Path, needed: tuple[str, ...], form: Form, any_of: tuple[str, ...]
) -> None:
    wanted = [form.column(role) for role in any_of]
    missing = [name for name in needed if name not in header]
    if not missing and wanted and not set(wanted) & set(header):
        missing = [" or ".join(wanted)]
    elif wanted:
        missing += [form.columns[role] for role in any_of
                    if role in form.columns and form.columns[role] not in header]  # fmt: skip
    missing += [role for role in any_of if role not in form.columns and _misspelt(role, header)]
    if missing:
        raise UserError(
            f"{path} line 1: no column {', '.join(missing)}; the columns are "
            f"{', '.join(header)[:200] or 'none, the file is empty'}{_hint(header, form)}"
        )
    twice = [name for name in (*needed, *wanted) if header.count(name) > 1]
    if twice:
        raise UserError(f"{path} line 1: the column {twice[0]} is there twice")


def _hint(header: list[str], form: Form) -> str:
    """What to do about a column that is not there."""
    only = header[0] if len(header) == 1 else ""
    mark = next((mark for mark in ";\t|" if mark in only), None)
    if mark:
        return f"; separate the columns by commas, not {mark!r}"
    if form.settable and len(header) > 1:
        return "; tell which is which by `columns=azimuth=NAME,file=NAME`"
    return ""


def _misspelt(column: str, header: list[str]) -> bool:
    """Whether another column must mean this angle, which would be left out without a word."""
    angle = column.removesuffix("_deg")
    return column not in header and any(
        re.fullmatch(rf"{angle}{_ANGLE_ENDING}", name, re.IGNORECASE) for name in header
    )


def _row(location: str, cells: dict, locations: dict[str, str], name: str) -> _Row:
    if None in cells:
        raise UserError(f"{location}: more cells than the {len(cells) - 1} columns of line 1")
    row = _Row(location, _filename(cells[name], location, name), cells)
    if row.filename in locations:
        raise UserError(f"{location}: {row.filename} is there twice, see {locations[row.filename]}")
    locations[row.filename] = location
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


def _filename(cell: str, location: str, column: str) -> str:
    if not cell.strip():
        raise UserError(f"{location}: column {column} is empty")
    return PurePosixPath(cell.strip().replace("\\", "/")).as_posix()


def _holds(condition: Condition, row: _Row) -> bool:
    cell = row.cells[condition.column]
    try:
        return condition.holds(cell)
    except ValueError:
        raise UserError(
            f"{row.location}: column {condition.column} holds {cell[:80]!r}, no whole number"
        ) from None


def _is_suspect(row: _Row) -> bool:
    cell = row.cells.get("suspect", "").strip()
    if cell not in ("", "0", "1"):
        raise UserError(f"{row.location}: column suspect holds {cell[:80]!r}, not 0 or 1")
    return cell == "1"


def _cell(row: _Row, form: Form, role: str) -> str:
    return row.cells.get(form.column(role), "").strip()


def _angles(row: _Row, form: Form = PLAIN) -> np.ndarray:
    azimuth_class = form.convention.of_class(_cell(row, form, ANGLE_COLUMNS[0]))
    numbers = ANGLE_COLUMNS[1:] if azimuth_class else ANGLE_COLUMNS
    stated = [_angle(row, form, role) if role in numbers else math.nan for role in ANGLE_COLUMNS]
    angles = form.convention.to_viewpoint(stated)
    if azimuth_class:
        angles[0] = azimuth_class[0]
    angles[0] = viewpoint.wrap_deg(angles[0])  # NaN stays
    return angles.astype(np.float32)


def _finite(cell: str) -> float:
    """The number in a cell; NaN where it holds none, or one too large for a float."""
    value = float(cell) if _NUMBER.fullmatch(cell) else math.nan
    return value if math.isfinite(value) else math.nan


def parse_angle(cell: str, column: str) -> float:
    """The angle that a cell of a column holds, in degrees as written; NaN: an empty cell.

    Raises:
      ValueError: no finite number, or one outside the column's range; names the column.
    """
    cell, largest = cell.strip(), _LARGEST_DEG[column]
    if not cell:
        return math.nan
    value = _finite(cell)
    if math.isnan(value):
        raise ValueError(f"{column} holds {cell[:80]!r}, no finite number")
    if abs(value) > largest:
        raise ValueError(f"{column} holds {cell[:80]}, outside {-largest:g} to {largest:g} degrees")
    return value


def _angle(row: _Row, form: Form, role: str) -> float:
    """The degrees of a cell, in the table's own convention; NaN where it is empty."""
    cell, column = _cell(row, form, role), form.column(role)
    if not cell:
        return math.nan
    value = _finite(cell)
    if math.isnan(value):
        other = ", nor a class such as front_left" if role == ANGLE_COLUMNS[0] else ""
        raise UserError(
            f"{row.location}: column {column} holds {cell[:80]!r}, no finite number{other}"
        )
    value = float(form.convention.degrees(value))
    low, high = form.convention.range_deg(role, _LARGEST_DEG[role])
    slack = _ROUNDED if form.convention.in_radians else 1.0
    if not low * slack <= value <= high * slack:
        read = f" ({value:g} degrees, as radians)" if form.convention.in_radians else ""
        raise UserError(
            f"{row.location}: column {column} holds {cell[:80]}{read}, "
            f"outside {low:g} to {high:g} degrees"
        )
    return min(max(value, low), high)
