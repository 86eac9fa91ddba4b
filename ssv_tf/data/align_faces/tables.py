"""What was done and what was skipped, row by row, so that a stopped command can go on.

A row is written when its picture is, and a last line that was cut off by a crash counts for
nothing. In the end both tables are sorted, so that they do not depend on who was quicker.
"""

import csv
import io
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data.align_faces.worker import Done

FACES, SKIPPED, LABELS = "faces.csv", "skipped.csv", "labels.csv"
_COLUMNS = {
    FACES: (
        "filename", "rotation_deg", "centre_x_px", "centre_y_px", "side_px", "confidence", "faces",
    ),
    SKIPPED: ("filename", "reason"),
}  # fmt: skip


class Tables:
    """faces.csv and skipped.csv of a folder, opened to go on.

    Attributes:
      rows: per table, filename -> row.

    Raises:
      UserError: a table cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, dict[str, list[str]]] = {
            name: _read(folder / name, columns) for name, columns in _COLUMNS.items()
        }
        faces = self.rows[FACES]
        self.rows[FACES] = {n: row for n, row in faces.items() if (folder / n).is_file()}
        self.sort()
        try:
            self._streams = {name: (folder / name).open("a", encoding="utf-8") for name in _COLUMNS}
        except OSError as error:
            raise UserError(f"cannot write {folder}: {error.strerror}") from error

    def __contains__(self, name: str) -> bool:
        return any(name in rows for rows in self.rows.values())

    def add(self, done: Done) -> None:
        """Writes the row of a picture, at once."""
        if done.alignment is None:
            self._append(SKIPPED, [done.name, done.reason])
            return
        alignment = done.alignment
        numbers = (
            alignment.rotation_deg,
            alignment.centre_x_px,
            alignment.centre_y_px,
            alignment.side_px,
        )
        cells = [*(f"{number:.3f}" for number in numbers), f"{done.confidence:.4f}"]
        self._append(FACES, [done.name, *cells, str(done.faces)])

    def _append(self, table: str, row: list[str]) -> None:
        self.rows[table][row[0]] = row
        try:
            self._streams[table].write(_lines([row]))
            self._streams[table].flush()
        except OSError as error:
            raise UserError(f"cannot write {self.folder / table}: {error.strerror}") from error

    def rotations_deg(self) -> dict[str, float]:
        """Rotation of every aligned picture, clockwise."""
        return {name: float(row[1]) for name, row in self.rows[FACES].items()}

    def sort(self) -> None:
        """Writes both tables anew, sorted by filename."""
        for table, columns in _COLUMNS.items():
            rows = [self.rows[table][name] for name in sorted(self.rows[table])]
            files.write_atomically(self.folder / table, _lines([columns, *rows]))

    def close(self) -> None:
        """Sorts and closes."""
        for stream in self._streams.values():
            stream.close()
        self.sort()


def write_labels(path: Path, rows: list[tuple]) -> None:
    """The table of carried labels, as `ssv_tf.data.labels.read_labels` reads it."""
    columns = ("filename", "azimuth_deg", "elevation_deg", "tilt_deg")
    cells = [
        (name, *("" if math.isnan(a) else f"{a:.3f}" for a in angles)) for name, *angles in rows
    ]
    files.write_atomically(path, _lines([columns, *cells]))


def _lines(rows: Iterable[Iterable[Any]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def _read(path: Path, columns: tuple[str, ...]) -> dict[str, list[str]]:
    try:
        text = path.read_text(encoding="utf-8") if os.path.exists(path) else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    whole = text[: text.rfind("\n") + 1]
    rows = list(csv.reader(io.StringIO(whole)))
    if rows and tuple(rows[0]) != columns:
        raise UserError(f"{path} has other columns than {', '.join(columns)}")
    return {row[0]: row for row in rows[1:] if len(row) == len(columns)}
