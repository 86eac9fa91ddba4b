"""TFDS builder of CompCars: web pictures of cars, cropped to their boxes, with a coarse view."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from ssv_tf.data import conventions, folder, published

_VIEWS = [name for name, _ in conventions.COMP_CARS_VIEWS.values()]

_DESCRIPTION = """
Web pictures of 1,716 car models, 136,726 that show an entire car, cropped to its box.

A picture has a coarse view (front, rear, side, front-side, rear-side) and no angles. From it comes
azimuth_size_deg, the azimuth without its sign (ssv_tf.data.conventions.from_comp_cars); it is for
looking at a collection, not for scores.
"""

_CITATION = """
@inproceedings{yang2015large,
  title = {A Large-Scale Car Dataset for Fine-Grained Categorization and Verification},
  author = {Yang, Linjie and Luo, Ping and Loy, Chen Change and Tang, Xiaoou},
  booktitle = {CVPR},
  year = {2015},
}
"""


@dataclasses.dataclass(eq=False, kw_only=True)
class PartConfig(tfds.core.BuilderConfig):
    """Which pictures: all of them, or those of the set's own classification task."""


class CompCars(tfds.core.GeneratorBasedBuilder):
    """CompCars' web pictures. `full`: train; `classification`: train and test."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS: ClassVar[list[PartConfig]] = [
        PartConfig(name="full", description="Every picture of an entire car, in one split."),
        PartConfig(name="classification", description="The 431 models of the published split."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    CompCars may be used for research that is not commercial; its authors give the password of the
    archive on request (http://mmlab.ie.cuhk.edu.hk/datasets/comp_cars/). Unpack data.zip into
    CompCars in the manual folder, so that it holds CompCars/data/image, CompCars/data/label and
    CompCars/data/train_test_split.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            citation=_CITATION,
            license="Research that is not commercial.",
            homepage="http://mmlab.ie.cuhk.edu.hk/datasets/comp_cars/",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                    "filename": text,
                    "view": tfds.features.ClassLabel(names=_VIEWS),
                    "azimuth_size_deg": tfds.features.Scalar(np.float32),
                    "make_id": text,
                    "model_id": text,
                }
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        root = dl_manager.manual_dir / "CompCars" / "data"
        if not (root / "label").exists():
            raise FileNotFoundError(f"no {root}/label: {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        if self.builder_config.name == "full":
            labels = sorted((root / "label").glob("*/*/*/*.txt"))
            names = [_below(root / "label", path) for path in labels]
            return {"train": self._generate_examples(root, names)}
        lists = root / "train_test_split" / "classification"
        return {
            split: self._generate_examples(root, _listed(lists / f"{split}.txt"))
            for split in ("train", "test")
        }

    def _generate_examples(self, root: epath.Path, names: list[str]) -> Any:
        return published.each([(str(root), name) for name in names], _car)


def _below(root: epath.Path, path: epath.Path) -> str:
    return str(path.relative_to(root).with_suffix("").as_posix())


def _listed(path: epath.Path) -> list[str]:
    """Names such as 78/3/2010/07b90decb92ba6, without the suffix."""
    return [line.strip().removesuffix(".jpg") for line in path.read_text().splitlines() if line]


@published.skipping
def _car(job: tuple[str, str]) -> Iterator[published.Example]:
    root, name = epath.Path(job[0]), job[1]
    view, box = parse_label((root / "label" / f"{name}.txt").read_text())
    make, model = name.split("/")[:2]
    view_name, azimuth_size_deg = conventions.from_comp_cars(view)
    picture = published.read_picture(root / "image" / f"{name}.jpg")
    yield (
        name,
        {
            "image": published.crop_box(picture, box),
            "filename": f"{name}.jpg",
            "view": view_name,
            "azimuth_size_deg": np.float32(azimuth_size_deg),
            "make_id": make,
            "model_id": model,
        },
    )


def parse_label(text: str) -> tuple[int, tuple[float, ...]]:
    """View and box (x1, y1, x2, y2) of a label file: a line of the view, of how many boxes, a box.

    Raises:
      folder.BadPicture: something else.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    try:
        (view,), _, (x1, y1, x2, y2) = lines[0], lines[1], lines[2]
        box = (float(x1) - 1, float(y1) - 1, float(x2), float(y2))  # pixels count from 1
        return int(view), box
    except (ValueError, IndexError):
        raise folder.BadPicture(f"its label cannot be read: {text[:40]!r}") from None
