"""TFDS builder of crops of Open Images: whole buses and trains, without angles."""

import collections
import csv
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath

from ssv_tf.data import folder, published

_SMALLEST_PX = 64  # of a crop's shorter side
# What says that a box does not show one whole real object from outside.
_REFUSED = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")

_DESCRIPTION = """
Boxes of one class of Open Images that show one whole object from outside: none that is occluded,
truncated, a group, a drawing or an inside, and none with a side below 64 pixels. There are no
angles: the crops are for training without labels, as in the SSV paper.
"""

_CITATION = """
@article{kuznetsova2020open,
  title = {The Open Images Dataset V4},
  author = {Kuznetsova, Alina and Rom, Hassan and Alldrin, Neil and Uijlings, Jasper and others},
  journal = {International Journal of Computer Vision},
  year = {2020},
}
"""


@dataclasses.dataclass(eq=False, kw_only=True)
class ClassConfig(tfds.core.BuilderConfig):
    """Boxes of one class.

    Attributes:
      label: the class's machine name in the tables.
    """

    label: str


class OpenImagesCrops(tfds.core.GeneratorBasedBuilder):
    """Crops of Open Images: train, validation, test."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS: ClassVar[list[ClassConfig]] = [
        ClassConfig(name="bus", description="Buses.", label="/m/01bjv"),
        ClassConfig(name="train", description="Trains.", label="/m/07jdr"),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    From https://storage.googleapis.com/openimages/web/download.html get the tables of boxes,
    {train,validation,test}-annotations-bbox.csv (the train table may be called
    oidv6-train-annotations-bbox.csv), and the pictures they name, into open_images in the manual
    folder: open_images/train/IMAGE_ID.jpg, and so on for validation and test. Pictures that are not
    there are left out, so that those of the class are enough.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            citation=_CITATION,
            license="Boxes: CC BY 4.0, Google LLC; pictures: listed as CC BY 2.0.",
            homepage="https://storage.googleapis.com/openimages/web/index.html",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "filename": tfds.features.Text(),
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        root = dl_manager.manual_dir / "open_images"
        tables = {split: _table(root, split) for split in ("train", "validation", "test")}
        existing = {split: table for split, table in tables.items() if table is not None}
        if not existing:
            raise FileNotFoundError(f"no table in {root}: {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        return {
            split: self._generate_examples(root, split, path) for split, path in existing.items()
        }

    def _generate_examples(self, root: epath.Path, split: str, table: epath.Path) -> Any:
        with table.open() as stream:
            boxes = chosen_boxes(csv.DictReader(stream), self.builder_config.label)
        jobs = [
            (str(root / split / f"{name}.jpg"), image_boxes) for name, image_boxes in boxes.items()
        ]
        return published.each(jobs, _crops)


def _table(root: epath.Path, split: str) -> epath.Path | None:
    names = [f"{split}-annotations-bbox.csv", f"oidv6-{split}-annotations-bbox.csv"]
    return next((root / name for name in names if (root / name).exists()), None)


def chosen_boxes(rows: Iterable[dict[str, str]], label: str) -> dict[str, list[tuple[float, ...]]]:
    """Picture -> boxes (x1, y1, x2, y2), as shares of its sides, of whole objects of a class."""
    boxes: dict[str, list[tuple[float, ...]]] = collections.defaultdict(list)
    for row in rows:
        if row["LabelName"] == label and not any(row[flag] == "1" for flag in _REFUSED):
            edges = tuple(float(row[edge]) for edge in ("XMin", "YMin", "XMax", "YMax"))
            boxes[row["ImageID"]].append(edges)
    return dict(boxes)


@published.skipping
def _crops(job: tuple[str, list[tuple[float, ...]]]) -> Iterator[published.Example]:
    path = epath.Path(job[0])
    if not path.exists():
        return
    picture = published.read_picture(path)
    height, width = picture.shape[:2]
    for number, (x1, y1, x2, y2) in enumerate(job[1]):
        box = (x1 * width, y1 * height, x2 * width, y2 * height)
        try:
            cropped = published.crop_box(picture, box)
        except folder.BadPicture:
            continue
        if min(cropped.shape[:2]) >= _SMALLEST_PX:
            key = f"{path.parent.name}/{path.name}#{number}"
            yield key, {"image": cropped, "filename": key}
