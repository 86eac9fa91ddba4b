"""Which pixels of a picture are the object's: opacities of polygons, run lengths and files."""

import dataclasses
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ssv_tf.base.errors import UserError
from ssv_tf.data.reading import read_picture

_LARGEST = 1e9  # pixels
_FARTHEST = 2.0  # polygons reach so many times the picture's sides beyond it, at most


class Mask(Protocol):
    """Gives the opacity of an object; a ValueError or BadPicture says why it cannot."""

    def opacity(self, width: int, height: int) -> np.ndarray:
        """uint8 [height, width], 255 on the object, of a picture of this size."""


@dataclasses.dataclass(frozen=True)
class CocoMask:
    """A `segmentation` of COCO: polygons in pixels, or run lengths, compressed or not."""

    segmentation: Any

    def opacity(self, width: int, height: int) -> np.ndarray:
        shape = self.segmentation
        if isinstance(shape, dict):
            return _of_runs(shape, width, height)
        if isinstance(shape, list) and shape:
            return of_polygons(shape, width, height)
        raise ValueError("its mask is neither polygons nor run lengths")


@dataclasses.dataclass(frozen=True)
class PolygonMask:
    """One polygon, its points [x, y, x, y, ...] as shares of the picture's sides."""

    points: tuple[float, ...]

    def opacity(self, width: int, height: int) -> np.ndarray:
        sides = np.resize([width, height], len(self.points))
        return of_polygons([(np.array(self.points) * sides).tolist()], width, height)


@dataclasses.dataclass(frozen=True)
class FileMask:
    """A picture of the object's pixels: brighter than half of its brightest one."""

    path: Path

    def opacity(self, width: int, height: int) -> np.ndarray:
        values = read_picture(self.path).max(axis=-1)
        if values.shape != (height, width):
            raise ValueError(f"its mask has another size ({values.shape[1]} x {values.shape[0]})")
        return (values * (255.0 / max(1, values.max()))).round().astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class AlphaMask:
    """The picture's own transparency, which whoever reads the picture takes from there."""

    def opacity(self, width: int, height: int) -> np.ndarray:
        raise ValueError("its mask is the picture's alpha")


def check_installed(masks: Iterable[Mask | None]) -> None:
    """Raises UserError where a mask needs the package pycocotools, which is not installed."""
    needs = any(isinstance(mask, (CocoMask, PolygonMask)) for mask in masks)
    if needs and importlib.util.find_spec("pycocotools") is None:
        raise UserError(
            "masks of polygons or run lengths need the package pycocotools: "
            "pip install 'ssv-tf[crop]'"
        )


def of_polygons(polygons: list, width: int, height: int) -> np.ndarray:
    """uint8 [height, width] of polygons [[x, y, x, y, ...], ...] in pixels.

    Raises:
      ValueError: no polygons, or one far outside the picture.
    """
    from pycocotools import mask

    outlines = [_outline(polygon, width, height) for polygon in polygons]
    return 255 * mask.decode(mask.merge(mask.frPyObjects(outlines, height, width)))


def _outline(polygon: Any, width: int, height: int) -> list[float]:
    is_list = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
    if not is_list or not all(_is_coordinate(value) for value in polygon):
        raise ValueError("its mask holds no polygon of three points or more")
    points = np.array(polygon, float).reshape(-1, 2) / (width, height)
    if np.abs(points - 0.5).max() > 0.5 + _FARTHEST:  # its cost grows with the way around
        raise ValueError("its mask lies outside its picture")
    return [float(value) for value in polygon]


def _is_coordinate(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < _LARGEST


def _of_runs(runs: dict, width: int, height: int) -> np.ndarray:
    from pycocotools import mask

    counts, size = runs.get("counts"), runs.get("size")
    if size != [height, width]:
        raise ValueError("its mask has another size")
    try:
        if isinstance(counts, list):
            if (
                not all(isinstance(c, int) and c >= 0 for c in counts)
                or sum(counts) != height * width
            ):
                raise ValueError
            packed = mask.frPyObjects({"counts": counts, "size": size}, height, width)
        else:
            packed = {"counts": str(counts).encode("ascii"), "size": size}
        decoded = mask.decode(packed)
        if not isinstance(counts, list) and mask.encode(decoded) != packed:
            raise ValueError  # they end before the picture does, and the rest is arbitrary
        return 255 * decoded
    except (ValueError, TypeError, AttributeError, OverflowError, MemoryError):
        raise ValueError("its mask's run lengths cannot be read") from None
