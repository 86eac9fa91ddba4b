"""One box around one object, whatever file it was written in."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from ssv_tf.data import conventions, labels
from ssv_tf.data.boxes.masks import Mask

Edges = tuple[float, float, float, float]  # left, top, right, bottom
UNKNOWN_DEG = (math.nan,) * len(labels.ANGLE_COLUMNS)


@dataclasses.dataclass(frozen=True)
class Box:
    """A box as its file gives it; nothing of it has been checked but what `problem` says.

    Attributes:
      picture: name of the picture below the pictures' folder, or the file's own name for one
        that is not there.
      edges: left, top, right, bottom of the picture turned upright, from 0 at its upper left;
        None: those of the mask.
      in_shares: the edges are shares of the picture's sides instead of pixels.
      class_name: what the object is.
      angles_deg: azimuth, elevation, tilt; NaN where not known. Of a class of azimuths its middle.
      azimuth_class: the azimuth as the file gives it, where that is a class such as front_left.
      mask: which pixels are the object's, where that is known.
      is_crowd, is_truncated: what the file says.
      picture_size: width and height of the picture, as the file says; None: it does not.
      problem: why the box cannot be used; empty: nothing is known against it.
    """

    picture: str
    edges: Edges | None
    in_shares: bool = False
    class_name: str = ""
    angles_deg: tuple[float, ...] = UNKNOWN_DEG
    azimuth_class: str = ""
    mask: Mask | None = None
    is_crowd: bool = False
    is_truncated: bool = False
    picture_size: tuple[float, float] | None = None
    problem: str = ""


def number(value: Any) -> float:
    """The number in a cell or in JSON.

    Raises:
      ValueError: no finite number.
    """
    try:
        if isinstance(value, (int, float, str)) and not isinstance(value, bool):
            parsed = float(value)
            if math.isfinite(parsed):
                return parsed
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"no finite number ({shown(value)})")


def shown(value: Any) -> str:
    """A value of JSON for a message: short, whatever it is."""
    is_plain = value is None or isinstance(value, (int, float, str))
    return repr(value)[:40] if is_plain else f"a {type(value).__name__}"


def sized(left: Any, top: Any, width: Any, height: Any) -> Edges:
    """Edges of a box given by a corner and its size; ValueError as `number`."""
    x, y = number(left), number(top)
    return x, y, x + number(width), y + number(height)


def angles_of(cells: Mapping[str, Any]) -> dict[str, Any]:
    """What a box's file says of its viewpoint, under the names of `labels.ANGLE_COLUMNS`.

    Returns:
      angles_deg and azimuth_class of a Box.

    Raises:
      ValueError: a cell that is no angle, nor in azimuth's place a class.
    """
    given = (cells.get(column) for column in labels.ANGLE_COLUMNS)
    texts = ["" if v is None else v if isinstance(v, str) else shown(v) for v in given]
    class_deg = conventions.Convention().of_class(texts[0].strip())
    if class_deg is None:
        return {"angles_deg": tuple(map(labels.parse_angle, texts, labels.ANGLE_COLUMNS))}
    others = map(labels.parse_angle, texts[1:], labels.ANGLE_COLUMNS[1:])
    return {"angles_deg": (class_deg[0], *others), "azimuth_class": texts[0].strip()}
