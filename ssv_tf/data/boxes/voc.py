"""Boxes of Pascal VOC files: one XML file a picture, one `object` a box."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data import folder
from ssv_tf.data.boxes.box import Box, number
from ssv_tf.data.boxes.names import PictureNames

_MOST_BYTES = 50_000_000


class _NoDocumentType(ElementTree.TreeBuilder):
    """Refuses what can define entities, which grow without bound or read other files."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("it holds a DOCTYPE, which no file of boxes needs")


def read(path: Path, names: PictureNames) -> Iterator[Box]:
    """The boxes of a file, or of all XML files of a folder.

    The picture is the one named in the file; else the one of the file's own name. Pixels count
    from 1 and the last one belongs to the box, as VOC has it.

    Raises:
      UserError: a file that is no such XML.
    """
    top = path if path.is_dir() else path.parent
    for file in sorted(files_of(path)):
        root = _root(file)
        name, problem = names.find(root.findtext("filename"))
        if problem:
            by_stem = names.find_stem(file.relative_to(top).as_posix())
            name, problem = by_stem if not by_stem[1] else (name, problem)
        for element in root.findall("object"):
            yield _box(name, element, _size(root), problem)


def files_of(path: Path) -> list[Path]:
    """The XML files: `path` itself, or those below it."""
    if not path.is_dir():
        return [path]
    return [file for file in folder.walk(path) if file.suffix.lower() == ".xml"]


def _root(path: Path) -> ElementTree.Element:
    try:
        content = files.read_regular(path, _MOST_BYTES)
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # before the parser sees it
            raise ValueError("it holds a DOCTYPE, which no file of boxes needs")
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDocumentType()))
    except files.Unreadable as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding
        raise UserError(f"{path}: no XML that can be read ({error})") from None
    if root.tag != "annotation":
        raise UserError(f"{path}: no Pascal VOC file, whose outermost tag is <annotation>")
    return root


def _box(name: str, element: ElementTree.Element, size: tuple | None, problem: str) -> Box:
    edges = None
    try:
        texts = (element.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
        left, top, right, bottom = map(number, texts)
        edges = (left - 1, top - 1, right, bottom)
    except ValueError as error:
        problem = problem or str(error)
    return Box(
        name,
        edges,
        class_name=(element.findtext("name") or "").strip(),
        is_truncated=(element.findtext("truncated") or "").strip() == "1",
        picture_size=size,
        problem=problem,
    )


def _size(root: ElementTree.Element) -> tuple[float, float] | None:
    try:
        size = number(root.findtext("size/width")), number(root.findtext("size/height"))
    except ValueError:
        return None
    return size if all(size) else None  # some tools write 0
