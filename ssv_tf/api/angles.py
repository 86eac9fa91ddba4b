"""Angles as a person has them in Python, matched to pictures: arrays, dictionaries, CSV, tables."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ssv_tf import viewpoint
from ssv_tf.base.errors import UserError
from ssv_tf.data import forms, labels
from ssv_tf.data.forms import ANGLE_COLUMNS, FILENAME, PLAIN, Form
from ssv_tf.data.names import examples, match_names, warn_of_file_names

Angles: TypeAlias = Any
"""[n, 3] degrees, [n] azimuths, {name: [3]}, a path of a CSV file or a table of named columns."""

FORMS = (
    "give degrees [n, 3] (NaN: unknown), azimuths [n] in degrees or in words such as front_left, a "
    "dictionary of names, a CSV file or a table with columns such as azimuth_deg"
)


def of_pictures(angles: Angles, names: Sequence[str], form: Form = PLAIN) -> np.ndarray:
    """The angles of pictures, NaN where one is unknown.

    Args:
      angles: one of
        * an array or nested list [n, 3] in degrees, a row a picture; [n] or [n, 1]: azimuths alone,
          in degrees or as classes (`conventions.Convention.of_class`);
        * a dictionary: a picture's name, or the end of its path -> [3], an azimuth, or a dictionary
          with some of azimuth_deg, elevation_deg and tilt_deg;
        * the path of a CSV file (`labels.read_table`);
        * a table with named columns, such as a pandas.DataFrame, or a dictionary of them: at least
          one of azimuth_deg, elevation_deg and tilt_deg and, unless its rows are in the order of
          the pictures, filename.
      names: of the pictures.
      form: other names of columns, another convention.

    Returns:
      float64 [n, 3], azimuth in (-180, 180].

    Raises:
      ValueError: another shape, or a number of rows that is not that of the pictures.
      UserError: a table that cannot be read, a name that fits two pictures, an elevation beyond 90.
    """
    return with_tolerance(angles, names, form)[0]


def with_tolerance(
    angles: Angles, names: Sequence[str], form: Form = PLAIN
) -> tuple[np.ndarray, float]:
    """(`of_pictures`, how far a true azimuth may be from its label)."""
    if isinstance(angles, (str, os.PathLike)):
        table = labels.read_table(angles, form=form)
        return _by_name(table.angles_deg, names), table.tolerance_deg
    reader = _Reader(form)
    rows = _rows(angles, names, reader)
    return rows, forms.tolerance_deg(form, reader.widths_deg)


def _rows(angles: Angles, names: Sequence[str], reader: "_Reader") -> np.ndarray:
    if hasattr(angles, "columns"):
        return _of_table(angles, list(angles.columns), names, reader)
    if isinstance(angles, Mapping):
        known = set(map(str, angles))
        if known & set(reader.form.angle_columns) and not known & set(names):
            return _of_table(angles, list(angles), names, reader)
        rows = {str(key): _checked(reader.row(value), str(key)) for key, value in angles.items()}
        return _by_name(rows, names)
    return _in_order(reader.table(angles), names)


class _Reader:
    """Reads angles in a form.

    Attributes:
      form: the form.
      widths_deg: of the classes that were met.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.widths_deg: set[float] = set()

    def table(self, values: Any) -> np.ndarray:
        """Viewpoints [n, 3] of an array [n, 3], or of azimuths [n] or [n, 1]."""
        array = values if isinstance(values, np.ndarray) else np.array(list(values), object)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim == 1 and not any(_is_list(value) for value in array):
            return self.columns({ANGLE_COLUMNS[0]: array}, len(array))
        rows = _numbers(array.tolist())
        return self.form.convention.to_viewpoint(self.form.convention.degrees(rows)) if (
            rows.shape[-1:] == (3,)
        ) else rows  # fmt: skip

    def row(self, value: Any) -> np.ndarray:
        """Viewpoint [3] of a picture's [3], azimuth or dictionary."""
        if isinstance(value, Mapping):
            there = {role: [value[self.form.column(role)]] for role in ANGLE_COLUMNS
                     if self.form.column(role) in value}  # fmt: skip
            if not there:
                raise ValueError(f"{value!r} has none of {', '.join(self.form.angle_columns)}")
            return self.columns(there, 1)[0]
        rows = self.table([value] if _is_list(value) and len(value) != 1 else np.atleast_1d(value))
        if rows.shape != (1, 3):
            raise ValueError(f"{value!r} is not azimuth, elevation and tilt in degrees")
        return rows[0]

    def columns(self, columns: Mapping[str, Any], count: int) -> np.ndarray:
        """Viewpoints [n, 3] of columns [n] by their role; of azimuth also in words."""
        convention = self.form.convention
        rows, azimuths = np.full((count, 3), np.nan), np.full(count, np.nan)
        for role, values in columns.items():
            cells = list(values)
            if role == ANGLE_COLUMNS[0]:
                cells = [self._number_or_class(cell, azimuths, i) for i, cell in enumerate(cells)]
            rows[:, ANGLE_COLUMNS.index(role)] = _numbers(cells)
        rows = convention.to_viewpoint(convention.degrees(rows))
        rows[:, 0] = np.where(np.isnan(azimuths), rows[:, 0], azimuths)
        return rows

    def _number_or_class(self, cell: Any, azimuths: np.ndarray, i: int) -> Any:
        """The cell, or NaN where it is a class, whose azimuth is put into `azimuths`."""
        if not isinstance(cell, str):
            return np.nan if cell is None else cell
        azimuth_class = self.form.convention.of_class(cell.strip())
        if azimuth_class is None:
            return cell.strip() or np.nan
        azimuths[i] = azimuth_class[0]
        self.widths_deg.add(azimuth_class[1])
        return np.nan


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) > 0


def _numbers(values: Any) -> np.ndarray:
    try:
        return np.array(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"the angles are no numbers; {FORMS}") from None


def _of_table(table: Any, there: list, names: Sequence[str], reader: _Reader) -> np.ndarray:
    form = reader.form
    column_names = {role: form.column(role) for role in ANGLE_COLUMNS if form.column(role) in there}
    if not column_names:
        raise UserError(
            f"the table has no column {' or '.join(form.angle_columns)}; it has "
            f"{', '.join(map(str, there))}"
        )
    columns = {role: list(table[name]) for role, name in column_names.items()}
    rows = reader.columns(columns, len(next(iter(columns.values()))))
    filename = form.column(FILENAME)
    if filename not in there:
        return _in_order(rows, names)
    keys = list(map(str, table[filename]))
    known = {key: _checked(row, key) for key, row in zip(keys, rows, strict=True)}
    return _by_name(known, names)


def _by_name(known: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    rows = np.full((len(names), 3), np.nan)
    keys = match_names(names, known)
    warn_of_file_names(keys)
    if not keys:
        raise UserError(
            f"no name of the angles is one of the pictures (the angles have {examples(known)}; the "
            f"pictures are {examples(names)})"
        )
    for i, name in enumerate(names):
        if name in keys:
            rows[i] = known[keys[name]]
    return rows


def _in_order(rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
    if rows.shape != (len(names), 3):
        raise ValueError(f"{len(names)} pictures need angles [{len(names)}, 3], got "
                         f"{list(rows.shape)}; {FORMS}")  # fmt: skip
    return np.stack([_checked(row, name) for row, name in zip(rows, names, strict=True)])


def _checked(row: np.ndarray, name: str) -> np.ndarray:
    """A viewpoint [3] with what is not finite unknown and azimuth wrapped; UserError beyond 90."""
    row = np.where(np.isfinite(row), row, np.nan)
    if abs(row[1]) > 90:
        raise UserError(f"{name}: elevation {row[1]:g} is beyond 90 degrees")
    row[0] = viewpoint.wrap_deg(row[0])  # NaN stays
    return row
