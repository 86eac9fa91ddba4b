"""From pictures and boxes to a folder of crops: planned, cut by threads, and put into tables."""

import collections
import contextlib
import csv
import dataclasses
import io
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from tqdm import tqdm

from ssv_tf.base import files
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import begun, cutting, folder, labels
from ssv_tf.data.boxes import kinds, masks, yolo
from ssv_tf.data.boxes.box import Box
from ssv_tf.data.boxes.choosing import Rules
from ssv_tf.data.framing import Framing

CROPS_TABLE, LABELS_TABLE, LEFT_OUT_TABLE = "crops.csv", "labels.csv", "left_out.csv"
_LONGEST_STEM = 200  # bytes; a file's name has at most 255
_EDGES = ("left", "top", "right", "bottom")


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A box that gave no crop.

    Attributes:
      filename: its picture, below the folder of pictures.
      edges: left, top, right, bottom as they were given; None: it has none, or the whole picture
        cannot be read.
      reason: a few words; what stands in brackets is about this box alone.
      is_picture: the whole picture cannot be read.
    """

    filename: str
    edges: tuple[float, ...] | None
    reason: str
    is_picture: bool = False


@dataclasses.dataclass(frozen=True)
class Crops:
    """What `crop` did.

    Attributes:
      folder: holds the crops, crops.csv, left_out.csv and, where angles are known, labels.csv.
      names: of the crops below the folder.
      written: how many of them this call wrote; the others were there.
      left_out: each box that gave no crop, and each picture that cannot be read.
      labels: the table of angles, or None.
      earlier: crops of an earlier call in the folder that these boxes do not give.
    """

    folder: Path
    names: list[str]
    written: int
    left_out: list[LeftOut]
    labels: Path | None
    earlier: list[str]

    def counts(self) -> dict[str, int]:
        """How many boxes were left out for what reason, commonest first."""
        reasons = (left.reason.split(" (")[0] for left in self.left_out)
        return dict(collections.Counter(reasons).most_common())

    def __str__(self) -> str:
        return (
            f"{self.folder}: {len(self.names)} crops, {self.written} of them new; "
            f"{len(self.left_out)} boxes or pictures left out"
        )


def crop(
    pictures: str | os.PathLike,
    out: str | os.PathLike,
    boxes: str | os.PathLike | None = None,
    *,
    boxes_kind: str = kinds.AUTO,
    class_names: str | os.PathLike | None = None,
    classes: Sequence[str] = (),
    min_side: int = Rules.min_side,
    max_overlap: float = Rules.max_overlap,
    keep_truncated: bool = False,
    backgrounds: str | os.PathLike = cutting.KEEP,
    surroundings: bool = False,
    crop: str = "height",
    canvas_heights: float = Framing.canvas_heights,
    workers: int = 0,
    quiet: bool = False,
) -> Crops:
    """Cuts the objects out of pictures, a file each, as `train` and `predict` want them.

        done = ssv_tf.crop("photos", "crops", "instances.json", classes=["car"])
        done.names, done.counts()       # the crops, and why the other boxes gave none

    The same call goes on where it was stopped and writes what is missing. Nothing is written among
    the pictures, and no file that another program wrote is replaced.

    Args:
      pictures: a folder of pictures.
      out: a new folder, or one that was begun with the same settings.
      boxes: a COCO file, a CSV table, YOLO or Pascal VOC files or a folder of them, or a folder
        of masks; None: what lies beside the pictures, else their transparency.
      boxes_kind: "coco", "csv", "yolo", "voc", "masks" or "alpha"; "auto": by what is there.
      class_names: for YOLO, a file with a name a line, the first for class 0; None: classes.txt
        (or obj.names, classes.names) beside the boxes or up to two folders above them.
      classes: names of the classes to keep; empty: all.
      min_side: of a box's shorter side in pixels; smaller ones are left out.
      max_overlap: share of a box that another one may cover.
      keep_truncated: keep objects that the picture's border cuts off.
      backgrounds: "keep"; or, where there are masks, "black", "mean" (of what is taken out) or a
        folder of pictures to put behind.
      surroundings: fill the sides of the framing's square from the picture, where that changes
        neither the object's scale nor its place.
      crop: for `surroundings`, the training's: "height" or "longest".
      canvas_heights: for `surroundings`, the training's.
      workers: threads; 0: one a core.
      quiet: no progress bar.

    Returns:
      the crops' names and what was left out.

    Raises:
      UserError: pictures or boxes that cannot be read, not one crop, or a disk that is full.
      ValueError: a setting out of its range, a folder that is in use.
    """
    rules = Rules(_names(classes), min_side, max_overlap, keep_truncated)
    around = Framing(1, crop, canvas_heights) if surroundings else None
    how = cutting.Cut(rules, around, os.fspath(backgrounds), _behind(backgrounds))
    source, target = Path(pictures), Path(out)
    paths, unnamed = folder.named(folder.find_pictures(source), source)
    if not paths:
        raise UserError(f"no picture below {source}")
    kind, path = _kind_and_path(boxes_kind, Path(boxes or source), source)
    _refuse_nested(target, (source, path, backgrounds))
    all_boxes = list(kinds.read(kind, path, paths, Path(class_names) if class_names else None))
    if not all_boxes:
        raise UserError(f"no box in {path}")
    if kind == "yolo" and rules.classes and not class_names:
        yolo.check_named(path, all_boxes, rules.classes)
    if how.background != cutting.KEEP:
        masks.check_installed(box.mask for box in all_boxes)
    tasks, left_out = planned(all_boxes, paths, target)
    left_out += [LeftOut(name, None, reason, is_picture=True) for name, reason in unnamed]
    begun.begin(target, _settings(how))
    with files.held(target, "writes to"):
        return _cut(tasks, how, left_out, workers, quiet).written_to(target)


def _cut(
    tasks: list[cutting.Task], how: cutting.Cut, left_out: list[LeftOut], workers: int, quiet: bool
) -> "_Book":
    for parent in {task.targets[0].parent for task in tasks}:
        files.remove_leftovers(parent, "*.png")
    book = _Book(left_out)
    with contextlib.closing(
        folder.in_threads(lambda task: cutting.cut_all(task, how), tasks, workers or None)
    ) as results:
        bar = tqdm(results, total=len(tasks), unit="picture", file=sys.stderr,
                   dynamic_ncols=True, disable=True if quiet else None)  # fmt: skip
        for task, result in zip(tasks, bar, strict=True):
            book.add(task, result)
    return book


def _kind_and_path(kind: str, path: Path, pictures: Path) -> tuple[str, Path]:
    if kind not in kinds.KINDS:
        raise SettingError(f"`boxes_kind={kind}` is none of {', '.join(kinds.KINDS)}")
    return kinds.recognised(path, pictures) if kind == kinds.AUTO else (kind, path)


def planned(
    boxes: Iterable[Box], paths: Mapping[str, Path], target: Path
) -> tuple[list[cutting.Task], list[LeftOut]]:
    """A task for each picture that has boxes, sorted by name; the boxes of no picture.

    The crop of a.jpg's second box is a-2.png, whichever boxes are left out.
    """
    by_picture: dict[str, list[Box]] = {}
    lost = []
    for box in boxes:
        if box.picture in paths:
            by_picture.setdefault(box.picture, []).append(box)
        else:
            lost.append(LeftOut(files.printable(box.picture), box.edges, box.problem))
    taken: set[str] = set()
    tasks = []
    for name in sorted(by_picture):
        stem = _stem(name, len(by_picture[name]), taken)
        targets = [target / f"{stem}-{i + 1}.png" for i in range(len(by_picture[name]))]
        tasks.append(cutting.Task(name, paths[name], tuple(by_picture[name]), tuple(targets)))
    return tasks, lost


def _stem(name: str, count: int, taken: set[str]) -> str:
    """What the names of a picture's crops begin with; no two crops share a name."""
    stem = _shortened(PurePosixPath(name).with_suffix(""))
    if any(f"{stem}-{i + 1}" in taken for i in range(count)):
        stem = _shortened(PurePosixPath(name))
    while any(f"{stem}-{i + 1}" in taken for i in range(count)):
        stem += "_"
    taken.update(f"{stem}-{i + 1}" for i in range(count))
    return stem


def _shortened(path: PurePosixPath) -> str:
    last = os.fsdecode(os.fsencode(path.name)[:_LONGEST_STEM])
    return path.with_name(files.printable(last)).as_posix()


class _Book:
    """What was cut and what was left out, in the order of the pictures."""

    def __init__(self, lost: list[LeftOut]) -> None:
        self._left_out = lost
        self._cut: list[tuple[str, cutting.Outcome]] = []

    def add(self, task: cutting.Task, result: list[cutting.Outcome] | str) -> None:
        if isinstance(result, str):
            self._left_out.append(LeftOut(task.name, None, result, is_picture=True))
            return
        for outcome in result:
            if outcome.reason:
                self._left_out.append(LeftOut(task.name, outcome.box.edges, outcome.reason))
            else:
                self._cut.append((task.name, outcome))

    def written_to(self, target: Path) -> Crops:
        """Writes the tables; UserError where there is no crop."""
        rows = [(_below(target, outcome.target), name, outcome) for name, outcome in self._cut]
        names = [name for name, _, _ in rows]
        _write(target / LEFT_OUT_TABLE, ("filename", *_EDGES, "reason"), map(_row, self._left_out))
        _write(
            target / CROPS_TABLE,
            ("filename", "picture", "class", *_EDGES),
            ((name, picture, o.box.class_name, *(o.pixels or ())) for name, picture, o in rows),
        )
        known = [
            (name, *_angles_written(o.box))
            for name, _, o in rows
            if not all(map(math.isnan, o.box.angles_deg))
        ]
        if known:
            _write_labels(target / LABELS_TABLE, known)
        there = {_below(target, path) for path in folder.find_pictures(target)}
        crops = Crops(
            target, names, sum(o.is_new for _, o in self._cut), self._left_out,
            target / LABELS_TABLE if known else None, sorted(there - set(names)),
        )  # fmt: skip
        if not names:
            said = ", ".join(f"{count} {reason}" for reason, count in crops.counts().items())
            hint = "; `keep_truncated` keeps what the border cuts off" * ("border" in said)
            raise UserError(f"not one crop: {said} ({target / LEFT_OUT_TABLE}){hint}")
        return crops


def _angles_written(box: Box) -> list[str]:
    """A class of azimuths stays one: its word tells how far the true azimuth may lie from it."""
    numbers = ["" if math.isnan(angle) else f"{angle:.3f}" for angle in box.angles_deg]
    return [box.azimuth_class or numbers[0], *numbers[1:]]


def _names(classes: Sequence[str]) -> tuple[str, ...]:
    return (classes,) if isinstance(classes, str) else tuple(classes)


def _below(target: Path, path: Path) -> str:
    return path.relative_to(target).as_posix()


def _row(left: LeftOut) -> tuple[Any, ...]:
    edges = [f"{edge:.10g}" for edge in left.edges or ()] or [""] * 4
    return (left.filename, *edges, files.one_line(left.reason))


def _write(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    files.write_atomically(path, _table(columns, rows))


def _write_labels(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Somebody may have added angles by hand to those that an earlier call wrote."""
    table = _table(("filename", *labels.ANGLE_COLUMNS), rows)
    if path.exists() and not set(path.read_bytes().splitlines()) <= set(table.splitlines()):
        raise UserError(f"{path} holds angles that the boxes do not; move it and call again")
    files.write_atomically(path, table)


def _table(columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue().encode("utf-8", "backslashreplace")


def _behind(backgrounds: str | os.PathLike) -> tuple[Path, ...]:
    if backgrounds in (cutting.KEEP, cutting.BLACK, cutting.MEAN):
        return ()
    if not os.path.isdir(backgrounds):
        raise SettingError(
            f"`backgrounds={os.fspath(backgrounds)}` is neither keep, black, mean nor a folder"
        )
    paths = tuple(folder.find_pictures(backgrounds))
    if not paths:
        raise UserError(f"no picture below {os.fspath(backgrounds)}")
    return paths


def _refuse_nested(target: Path, sources: Iterable[str | os.PathLike]) -> None:
    for source in filter(os.path.isdir, sources):
        if target.resolve().is_relative_to(Path(source).resolve()):
            raise SettingError(f"the folder for the crops, {target}, must not lie in {source}")


def _settings(how: cutting.Cut) -> dict[str, Any]:
    """What the crops depend on, as JSON gives it back."""
    about = dataclasses.asdict(how.rules) | {"backgrounds": how.background}
    about["classes"] = sorted(how.rules.classes)
    around = how.around
    about["surroundings"] = [around.crop, around.canvas_heights] if around else []
    return about
