"""What kind of boxes lies at a path, and reading them."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import folder
from ssv_tf.data.boxes import coco, table, voc, yolo
from ssv_tf.data.boxes.box import Box
from ssv_tf.data.boxes.masks import AlphaMask, FileMask
from ssv_tf.data.boxes.names import PictureNames

AUTO = "auto"
KINDS = (AUTO, "coco", "yolo", "voc", "csv", "masks", "alpha")
_BY_SUFFIX = {".json": "coco", ".txt": "yolo", ".xml": "voc", ".csv": "csv"}
_NOT_BOXES = {*yolo.NAMES_FILES, "labels.csv"}
_LOOKED_AT = 100_000  # files of a folder


def recognised(path: Path, pictures: Path) -> tuple[str, Path]:
    """(kind, the file or folder to read) of boxes at a path.

    Args:
      path: a file, or a folder of them.
      pictures: the folder of pictures; as `path` it may hold the boxes too.

    Raises:
      UserError: nothing there, or what no kind of boxes looks like.
      SettingError: several kinds.
    """
    if not path.is_dir():
        kind = _BY_SUFFIX.get(path.suffix.lower())
        if not path.exists() or kind is None:
            there = "is missing" if not path.exists() else "is no .json, .xml, .txt or .csv file"
            raise UserError(f"the boxes {path}: it {there}")
        return kind, path
    by_kind: dict[str, Path] = {}
    for file in itertools.islice(folder.walk(path), _LOOKED_AT):
        kind = _BY_SUFFIX.get(file.suffix.lower())
        if kind and file.name not in _NOT_BOXES:
            if kind in ("coco", "csv") and kind in by_kind:
                raise SettingError(f"{path} holds several {file.suffix} files; name one as `boxes`")
            by_kind[kind] = file if kind in ("coco", "csv") else path
    if len(by_kind) > 1:
        raise SettingError(
            f"{path} holds boxes of several kinds ({', '.join(sorted(by_kind))}); give "
            "`boxes_kind`, or one file as `boxes`"
        )
    if by_kind:
        return by_kind.popitem()
    return ("alpha" if path.resolve() == pictures.resolve() else "masks"), path


def read(
    kind: str, path: Path, pictures: Mapping[str, Path], class_names: Path | None = None
) -> Iterator[Box]:
    """The boxes of a kind at a path, in the order of its files.

    Args:
      kind: one of `KINDS`, not "auto".
      path: the file or folder.
      pictures: name below the pictures' folder -> file.
      class_names: see `yolo.read`.

    Raises:
      UserError: a file that cannot be read.
    """
    names = PictureNames(pictures)
    if kind == "alpha":
        return (Box(name, None, mask=AlphaMask()) for name in pictures)
    if kind == "masks":
        return _of_masks(path, names)
    if kind in ("coco", "csv") and path.is_dir():
        raise SettingError(f"{path} is a folder; name one file as `boxes`")
    if kind == "yolo":
        return yolo.read(path, names, class_names)
    return {"coco": coco, "voc": voc, "csv": table}[kind].read(path, names)


def _of_masks(path: Path, names: PictureNames) -> Iterator[Box]:
    for file in folder.find_pictures(path):
        name, problem = names.find_stem(file.relative_to(path).as_posix())
        yield Box(name, None, mask=FileMask(file), problem=problem)
