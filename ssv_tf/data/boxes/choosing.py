"""Which boxes of a picture become crops, and why the others do not."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from ssv_tf.base.errors import SettingError
from ssv_tf.data.boxes.box import Box

_BORDER_PX = 1.0  # a box that comes closer touches the border
_SAME_IOU = 0.9  # boxes that agree so well are of the same object

Pixels = tuple[int, int, int, int]  # left, top, right, bottom


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a box must be.

    Attributes:
      classes: names of classes to keep; empty: all.
      min_side: pixels of the shorter side.
      max_overlap: share of the box that another box may cover.
      keep_truncated: whether the object may be cut off by the picture's border.

    Raises:
      SettingError: a value out of its range.
    """

    classes: tuple[str, ...] = ()
    min_side: int = 32
    max_overlap: float = 0.3
    keep_truncated: bool = False

    def __post_init__(self) -> None:
        if self.min_side < 1:
            raise SettingError(f"`min_side={self.min_side}` must be at least 1")
        if not 0 <= self.max_overlap <= 1:
            raise SettingError(f"`max_overlap={self.max_overlap}` must lie from 0 to 1")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Of one box: the pixels to cut out, and why not."""

    pixels: Pixels | None
    reason: str = ""


def choose(boxes: Sequence[Box], width: int, height: int, rules: Rules) -> list[Verdict]:
    """A verdict for each box of a picture of this size, in pixels.

    Args:
      boxes: all of the picture; of each that has no `problem`, the edges are known.
      width, height: of the picture turned upright.
      rules: what they must be.
    """
    edges = np.array([_edges(box, width, height) for box in boxes], float).reshape(-1, 4)
    inside = np.clip(edges, 0, [width, height, width, height])
    reasons = [
        _alone(box, whole, cut, (width, height), rules)
        for box, whole, cut in zip(boxes, edges, inside, strict=True)
    ]
    is_there = np.array([_is_object(box) for box in boxes], bool)
    is_there &= (inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1])
    chosen = [i for i, reason in enumerate(reasons) if not reason]
    for i in chosen:
        earlier = [j for j in chosen if j < i]
        reasons[i] = _together(inside, i, earlier, is_there, rules.max_overlap)
    return [
        Verdict(_whole_pixels(cut) if known else None, reason)
        for cut, known, reason in zip(inside, is_there, reasons, strict=True)
    ]


def _edges(box: Box, width: int, height: int) -> np.ndarray:
    if box.problem or box.edges is None:
        return np.zeros(4)
    return np.array(box.edges) * ([width, height, width, height] if box.in_shares else 1)


def _is_object(box: Box) -> bool:
    return not box.problem and box.edges is not None and not box.is_crowd


def _alone(
    box: Box, whole: np.ndarray, cut: np.ndarray, size: tuple[int, int], rules: Rules
) -> str:
    """Why a box is left out, whatever others there are; empty: it is not."""
    width, height = whole[2] - whole[0], whole[3] - whole[1]
    shown_width, shown_height = cut[2] - cut[0], cut[3] - cut[1]
    if box.problem:
        return box.problem
    if box.picture_size is not None and tuple(box.picture_size) != size:
        given = " x ".join(f"{side:g}" for side in box.picture_size)
        return f"its file is of a picture of another size ({given}, not {size[0]} x {size[1]})"
    if box.is_crowd:
        return "a crowd region"
    if rules.classes and box.class_name not in rules.classes:
        return f"of another class ({box.class_name})"
    if not (width > 0 and height > 0):
        return f"without a size ({width:g} x {height:g})"
    if not (shown_width > 0 and shown_height > 0):
        return "outside its picture"
    if not rules.keep_truncated:
        if box.is_truncated:
            return "truncated, as its file says"
        if whole[:2].min() < _BORDER_PX or (size - whole[2:]).min() < _BORDER_PX:
            return "touches the picture's border"
    if min(shown_width, shown_height) < rules.min_side:
        return f"smaller than {rules.min_side} px ({shown_width:.0f} x {shown_height:.0f})"
    return ""


def _together(
    edges: np.ndarray, i: int, earlier: Sequence[int], is_there: np.ndarray, most: float
) -> str:
    """Why box `i` is left out for the sake of others; empty: it is not."""
    common = _areas(
        np.concatenate(
            [np.maximum(edges[:, :2], edges[i, :2]), np.minimum(edges[:, 2:], edges[i, 2:])], axis=1
        )
    )
    areas = _areas(edges)
    is_same = common >= _SAME_IOU * (areas + areas[i] - common)
    if any(is_same[j] for j in earlier):
        return "the same as another box"
    covered = np.where(is_there & ~is_same, common, 0.0) / areas[i]
    return f"overlaps another box ({covered.max():.2f} of it)" if covered.max() > most else ""


def _areas(edges: np.ndarray) -> np.ndarray:
    return np.prod(np.maximum(0.0, edges[:, 2:] - edges[:, :2]), axis=1)


def _whole_pixels(edges: np.ndarray) -> Pixels:
    """The nearest whole pixels, at least one each way."""
    left, top, right, bottom = np.floor(edges + 0.5).astype(int)
    if right <= left:
        left, right = int(np.floor(edges[0])), int(np.floor(edges[0])) + 1
    if bottom <= top:
        top, bottom = int(np.floor(edges[1])), int(np.floor(edges[1])) + 1
    return int(left), int(top), int(right), int(bottom)
