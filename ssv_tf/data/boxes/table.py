"""Boxes of a CSV table: a row a box."""

from collections.abc import Iterator
from pathlib import Path

from ssv_tf.base.errors import UserError
from ssv_tf.data import labels
from ssv_tf.data.boxes.box import Box, angles_of, number, sized
from ssv_tf.data.boxes.names import PictureNames

_FILE = ("file", "filename", "image", "path")
_CLASS = ("class", "class_name", "label")
_SIZED = ("x", "y", "width", "height")
_EDGES = (("left", "top", "right", "bottom"), ("xmin", "ymin", "xmax", "ymax"))


def read(path: Path, names: PictureNames) -> Iterator[Box]:
    """The boxes of a table, in pixels.

    Columns: file; x, y, width, height or left, top, right, bottom; and where known class,
    azimuth_deg (a number or a class such as front_left), elevation_deg, tilt_deg.

    Raises:
      UserError: a table that cannot be read, or lacks a column.
    """
    columns: _Columns | None = None
    for location, cells in labels.lines(path, what="boxes"):
        columns = columns or _Columns(path, cells)
        if None in cells:
            yield Box(cells[columns.file], None, problem=f"more cells than columns ({location})")
        else:
            yield columns.box(cells, names)


class _Columns:
    """Which column means what."""

    def __init__(self, path: Path, cells: dict) -> None:
        header = [name for name in cells if name is not None]
        shapes = [names for names in (_SIZED, *_EDGES) if set(names) <= set(header)]
        files = [name for name in _FILE if name in header]
        if not shapes or not files:
            raise UserError(
                f"{path} line 1: no columns file and x, y, width, height (or left, top, right, "
                f"bottom); the columns are {', '.join(header)[:200]}"
            )
        angles = [f"{name}_deg" for name in ("azimuth", "elevation", "tilt") if name in header]
        if angles:
            raise UserError(f"{path} line 1: angles are in degrees; name them {', '.join(angles)}")
        self.file, self._shape = files[0], shapes[0]
        self._class = next((name for name in _CLASS if name in header), "")

    def box(self, cells: dict, names: PictureNames) -> Box:
        name, problem = names.find(cells[self.file])
        edges, angles = None, {}
        try:
            given = [cells[column].strip() for column in self._shape]
            if self._shape == _SIZED:
                edges = sized(*given)
            else:
                left, top, right, bottom = map(number, given)
                edges = (left, top, right, bottom)
            angles = angles_of(cells)
        except ValueError as error:
            problem = problem or str(error)
        class_name = cells.get(self._class, "").strip()
        return Box(name, edges, class_name=class_name, problem=problem, **angles)
