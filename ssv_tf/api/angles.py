"""Angles as a person has them in Python, matched to pictures: arrays, dictionaries, CSV, tables."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ssv_tf import viewpoint
from ssv_tf.base.errors import UserError
from ssv_tf.data import labels
from ssv_tf.data.collection import match_names

Angles: TypeAlias = Any
"""[n, 3] degrees, {name: [3]}, a path of a CSV file or a table with named columns."""

FORMS = (
    "give degrees [n, 3] (NaN: unknown), a dictionary of names, a CSV file or a table with the "
    "columns azimuth_deg, elevation_deg and tilt_deg"
)


def of_pictures(angles: Angles, names: Sequence[str]) -> np.ndarray:
    """The angles of pictures, NaN where one is unknown.

    Args:
      angles: one of
        * an array or nested list [n, 3] in degrees, a row a picture; [n]: azimuths alone;
        * a dictionary: a picture's name, or the end of its path -> [3];
        * the path of a CSV file (`labels.read_labels`);
        * a table with named columns, such as a pandas.DataFrame: azimuth_deg, elevation_deg,
          tilt_deg and, unless its rows are in the order of the pictures, filename.
      names: of the pictures.

    Returns:
      float64 [n, 3], azimuth in (-180, 180].

    Raises:
      ValueError: another shape, or a number of rows that is not that of the pictures.
      UserError: a table that cannot be read, a name that fits two pictures, an elevation beyond 90.
    """
    if isinstance(angles, (str, os.PathLike)):
        return _by_name(labels.read_labels(angles), names)
    if hasattr(angles, "columns"):
        return _of_table(angles, names)
    if isinstance(angles, Mapping):
        return _by_name({str(k): _row(v) for k, v in angles.items()}, names)
    try:
        rows = np.asarray(angles, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"the angles are no numbers; {FORMS}") from None
    return _in_order(rows, names)


def _of_table(table: Any, names: Sequence[str]) -> np.ndarray:
    there = list(table.columns)
    columns = [name for name in labels.ANGLE_COLUMNS if name in there]
    if labels.ANGLE_COLUMNS[0] not in columns:
        raise UserError(f"the table has no column azimuth_deg; it has {', '.join(map(str, there))}")
    rows = np.full((len(table), 3), np.nan)
    for column in columns:
        values = np.array(list(table[column]), np.float64)
        rows[:, labels.ANGLE_COLUMNS.index(column)] = values
    if "filename" not in there:
        return _in_order(rows, names)
    return _by_name(dict(zip(map(str, table["filename"]), rows, strict=True)), names)


def _by_name(known: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    rows = np.full((len(names), 3), np.nan)
    keys = match_names(names, known)
    if not keys:
        shown = f"{next(iter(known))} and {names[0]}" if known and names else "none on one side"
        raise UserError(f"no name of the angles is one of the pictures ({shown})")
    for i, name in enumerate(names):
        if name in keys:
            rows[i] = known[keys[name]]
    return _checked(rows, names)


def _in_order(rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
    if rows.ndim == 1 and len(rows) == len(names):
        rows = np.stack([rows, *[np.full(len(rows), np.nan)] * 2], axis=1)
    if rows.shape != (len(names), 3):
        raise ValueError(f"{len(names)} pictures need angles [{len(names)}, 3], got "
                         f"{list(rows.shape)}; {FORMS}")  # fmt: skip
    return _checked(rows, names)


def _row(values: Any) -> np.ndarray:
    row = np.atleast_1d(np.asarray(values, np.float64))
    if row.shape == (1,):
        row = np.array([row[0], np.nan, np.nan])
    if row.shape != (3,):
        raise ValueError(f"{values!r} is not azimuth, elevation and tilt in degrees")
    return row


def _checked(rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
    rows = np.where(np.isfinite(rows), rows, np.nan)
    beyond = np.flatnonzero(np.abs(np.nan_to_num(rows[:, 1])) > 90)
    if len(beyond):
        first = beyond[0]
        raise UserError(f"{names[first]}: elevation {rows[first, 1]:g} is beyond 90 degrees")
    known = np.isfinite(rows[:, 0])
    rows[known, 0] = viewpoint.wrap_deg(rows[known, 0])
    return rows
