"""TFDS builder of AFLW2000-3D, the usual test of head pose."""

import functools
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from ssv_tf.data import posed_faces, published

_DESCRIPTION = """
The first 2,000 pictures of AFLW with fitted 3D faces: 68 landmarks and pitch, yaw, roll.

Azimuth, elevation and tilt are worked out from the set's own rotation
(ssv_tf.data.conventions.from_pitch_yaw_roll); pitch_deg, yaw_deg and roll_deg are as published.
Published scores leave out the faces with any of the three beyond 99 degrees, 31 of them.
"""

_CITATION = """
@inproceedings{zhu2016face,
  title = {Face Alignment Across Large Poses: A {3D} Solution},
  author = {Zhu, Xiangyu and Lei, Zhen and Liu, Xiaoming and Shi, Hailin and Li, Stan Z.},
  booktitle = {CVPR},
  year = {2016},
}
"""


class Aflw2000(tfds.core.GeneratorBasedBuilder):
    """AFLW2000-3D; one split, `test`."""

    name = "aflw2000_3d"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS: ClassVar[list[posed_faces.FacesConfig]] = posed_faces.CONFIGS
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    AFLW may be used for research that is not commercial, under the agreement of its authors
    (https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/aflw). Get
    AFLW2000-3D.zip from the 3DDFA project page and unpack it into the manual folder, so that it
    holds AFLW2000/image00002.jpg and AFLW2000/image00002.mat.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            citation=_CITATION,
            license="Research that is not commercial, by AFLW's agreement.",
            homepage="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
            features=posed_faces.features(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {"test": self._generate_examples(dl_manager.manual_dir / "AFLW2000")}

    def _generate_examples(self, path: epath.Path) -> Any:
        pictures = sorted(str(picture) for picture in path.glob("*.jpg"))
        if not pictures:
            raise FileNotFoundError(f"no picture in {path}: {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        make = functools.partial(_face, aligned=self.builder_config.aligned)
        return (example for picture in pictures for example in published.skipping(make)(picture))


def _face(picture: str, aligned: bool) -> Iterator[published.Example]:
    path = epath.Path(picture)
    mat = published.read_mat(path.with_suffix(".mat"))
    landmarks = np.asarray(mat["pt3d_68"], np.float64)[:2].T  # [68, 2] of [3, 68]
    image = published.read_picture(path)
    yield path.name, posed_faces.example(path.name, image, landmarks, mat["Pose_Para"], aligned)
