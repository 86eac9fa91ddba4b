"""Boxes of a COCO file: `images`, `annotations` and `categories` in one JSON object."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data.boxes.box import Box, angles_of, number, shown, sized
from ssv_tf.data.boxes.masks import CocoMask
from ssv_tf.data.boxes.names import PictureNames

_MOST_BYTES = 4_000_000_000


def read(path: Path, names: PictureNames) -> Iterator[Box]:
    """The boxes of a file, in its order.

    Angles are attributes of an annotation, or its own keys: azimuth_deg, elevation_deg, tilt_deg.
    So is `truncated`.

    Raises:
      UserError: a file that is no COCO file.
    """
    content = _content(path)
    pictures = {_key(image.get("id")): image for image in _objects(content, "images")}
    pictures.pop(None, None)
    classes = {_key(c.get("id")): _name(c.get("name")) for c in _objects(content, "categories")}
    for position, annotation in enumerate(content["annotations"]):
        if isinstance(annotation, dict):
            yield _box(annotation, pictures, classes, names)
        else:
            yield Box("", None, problem=f"no object (annotation {position})")


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(files.read_regular(path, _MOST_BYTES).decode("utf-8-sig"))
    except files.Unreadable as error:
        raise UserError(f"cannot read the boxes {path}: {error}") from None
    except RecursionError:
        raise UserError(f"{path}: no JSON that can be read, it is nested too deeply") from None
    except ValueError as error:
        raise UserError(f"{path}: no JSON that can be read ({error})") from None
    is_coco = isinstance(content, dict) and all(
        isinstance(content.get(name), list) for name in ("images", "annotations")
    )
    if not is_coco:
        raise UserError(f"{path}: no COCO file, which holds lists `images` and `annotations`")
    return content


def _objects(content: dict[str, Any], name: str) -> Iterator[dict]:
    entries = content.get(name)
    return (
        (entry for entry in entries if isinstance(entry, dict))
        if isinstance(entries, list)
        else iter(())
    )


def _key(value: Any) -> int | str | None:
    """An id, or None for what is none."""
    return value if isinstance(value, (int, str)) else None


def _name(value: Any) -> str:
    return value if isinstance(value, str) else shown(value)


def _box(annotation: dict, pictures: dict, classes: dict, names: PictureNames) -> Box:
    image = pictures.get(_key(annotation.get("image_id")))
    if image is None:
        said = f"image_id {shown(annotation.get('image_id'))}"
        return Box("", None, problem=f"its picture is not in `images` ({said})")
    name, problem = names.find(image.get("file_name"))
    category = _key(annotation.get("category_id"))
    about = _about(annotation)
    edges, angles = None, {}
    try:
        box = annotation.get("bbox")
        if not isinstance(box, list) or len(box) != 4:
            raise ValueError("no bbox of four numbers")
        edges = sized(*box)
        angles = angles_of(about)
    except ValueError as error:
        problem = problem or str(error)
    segmentation = annotation.get("segmentation")
    return Box(
        name,
        edges,
        class_name=classes.get(category, "" if category is None else str(category)),
        mask=CocoMask(segmentation) if segmentation else None,
        is_crowd=annotation.get("iscrowd") in (1, True),
        is_truncated=about.get("truncated") in (1, True, "1", "true", "True"),
        picture_size=_size(image),
        problem=problem,
        **angles,
    )


def _about(annotation: dict) -> dict:
    attributes = annotation.get("attributes")
    return annotation | attributes if isinstance(attributes, dict) else annotation


def _size(image: dict) -> tuple[float, float] | None:
    try:
        return number(image.get("width")), number(image.get("height"))
    except ValueError:
        return None
