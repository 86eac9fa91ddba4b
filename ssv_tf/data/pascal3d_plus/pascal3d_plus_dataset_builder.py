"""TFDS builder of Pascal3D+: cars, buses and trains with viewpoints, cropped to their boxes."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from ssv_tf.data import conventions, published

CATEGORIES = ("car", "bus", "train")

_DESCRIPTION = """
Objects of PASCAL VOC 2012 and ImageNet with CAD models aligned by hand, cropped to their boxes.

The splits: `train` is PASCAL's train and ImageNet's, `validation` ImageNet's validation; `test` is
PASCAL's validation, the published test: objects that are truncated, occluded or difficult are left
out, and so are objects without a fine viewpoint (distance 0). Azimuth, elevation and tilt as
ssv_tf.data.conventions.from_pascal3d says.
"""

_CITATION = """
@inproceedings{xiang2014beyond,
  title = {Beyond {PASCAL}: A Benchmark for {3D} Object Detection in the Wild},
  author = {Xiang, Yu and Mottaghi, Roozbeh and Savarese, Silvio},
  booktitle = {WACV},
  year = {2014},
}
"""


@dataclasses.dataclass(eq=False, kw_only=True)
class CategoryConfig(tfds.core.BuilderConfig):
    """Objects of one category; its name is the configuration's."""


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where the annotations of a split are: pascal or imagenet, its list, how strict."""

    collection: str
    names: tuple[str, ...]
    whole_only: bool


class Pascal3dPlus(tfds.core.GeneratorBasedBuilder):
    """Pascal3D+ 1.1: train, validation, test."""

    name = "pascal3d_plus"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS: ClassVar[list[CategoryConfig]] = [
        CategoryConfig(name=category, description=f"Objects of the category {category}.")
        for category in CATEGORIES
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    The pictures are PASCAL VOC's (from Flickr, by its terms) and ImageNet's (research that is not
    commercial). Get PASCAL3D+_release1.1.zip from https://cvgl.stanford.edu/projects/pascal3d.html
    and unpack it into the manual folder, so that it holds PASCAL3D+_release1.1/Annotations,
    Images, Image_sets and PASCAL.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            citation=_CITATION,
            license="PASCAL VOC: Flickr's terms of use; ImageNet: research, not commercial.",
            homepage="https://cvgl.stanford.edu/projects/pascal3d.html",
            features=published.features(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        root = dl_manager.manual_dir / "PASCAL3D+_release1.1"
        if not (root / "Annotations").exists():
            raise FileNotFoundError(f"no {root}/Annotations: {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        category = self.builder_config.name
        pascal = {part: _names(_pascal_list(root, part)) for part in ("train", "val")}
        imagenet = {part: _names(_imagenet_list(root, category, part)) for part in ("train", "val")}
        splits = {
            "train": [
                _Source("pascal", pascal["train"], False),
                _Source("imagenet", imagenet["train"], False),
            ],
            "validation": [_Source("imagenet", imagenet["val"], False)],
            "test": [_Source("pascal", pascal["val"], True)],
        }
        return {name: self._generate_examples(root, part) for name, part in splits.items()}

    def _generate_examples(self, root: epath.Path, sources: list[_Source]) -> Any:
        category = self.builder_config.name
        jobs = [
            (str(root), source.collection, name, source.whole_only)
            for source in sources
            for name in source.names
        ]
        make = functools.partial(_objects, category=category)
        return (example for job in jobs for example in published.skipping(make)(job))


def _pascal_list(root: epath.Path, part: str) -> epath.Path:
    return root / "PASCAL" / "VOCdevkit" / "VOC2012" / "ImageSets" / "Main" / f"{part}.txt"


def _imagenet_list(root: epath.Path, category: str, part: str) -> epath.Path:
    return root / "Image_sets" / f"{category}_imagenet_{part}.txt"


def _names(path: epath.Path) -> tuple[str, ...]:
    return tuple(line.split()[0] for line in path.read_text().splitlines() if line.strip())


def _objects(job: tuple[str, str, str, bool], category: str) -> Iterator[published.Example]:
    """Every usable object of one picture."""
    root, collection, name, whole_only = job
    folder_name = f"{category}_{collection}"
    annotation = epath.Path(root) / "Annotations" / folder_name / f"{name}.mat"
    if not annotation.exists():  # PASCAL's lists name the pictures of every category
        return
    record = published.read_mat(annotation)["record"]
    objects = [
        (number, annotated)
        for number, annotated in enumerate(np.atleast_1d(record.objects))
        if usable(annotated, category, whole_only)
    ]
    if not objects:
        return
    suffix = ".jpg" if collection == "pascal" else ".JPEG"
    picture = published.read_picture(epath.Path(root) / "Images" / folder_name / f"{name}{suffix}")
    for number, annotated in objects:
        key = f"{collection}/{name}{suffix}#{number}"
        yield key, _example(key, picture, annotated)


def usable(annotated: Any, category: str, whole_only: bool) -> bool:
    """Whether an annotated object is of the category and has a fine viewpoint.

    Args:
      annotated: a struct of `record.objects`.
      category: of `CATEGORIES`.
      whole_only: leaves out what is truncated, occluded or difficult.
    """
    viewpoint: Any = getattr(annotated, "viewpoint", None)
    if getattr(annotated, "class", None) != category or not hasattr(viewpoint, "azimuth"):
        return False
    numbers = [np.size(getattr(viewpoint, name)) for name in ("azimuth", "elevation", "theta")]
    if numbers != [1, 1, 1] or not float(viewpoint.distance):
        return False
    flags = ("truncated", "occluded", "difficult")
    return not whole_only or not any(_is_set(getattr(annotated, flag, 0)) for flag in flags)


def _is_set(flag: Any) -> bool:
    return bool(np.any(flag))  # an empty array is no


def _example(key: str, picture: np.ndarray, annotated: Any) -> dict[str, Any]:
    x1, y1, x2, y2 = np.asarray(annotated.bbox, float)
    pose = annotated.viewpoint
    viewpoint_deg = conventions.from_pascal3d(
        float(pose.azimuth), float(pose.elevation), float(pose.theta)
    )
    image = published.crop_box(picture, (x1 - 1, y1 - 1, x2, y2))  # pixels count from 1
    return {"image": image, "filename": key} | published.angles(viewpoint_deg)
