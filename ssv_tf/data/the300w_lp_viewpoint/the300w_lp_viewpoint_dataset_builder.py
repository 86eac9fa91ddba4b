"""TFDS builder of 300W-LP: what TFDS's own `the300w_lp` reads, with crops and viewpoints."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from tensorflow_datasets.datasets.the300w_lp import the300w_lp_dataset_builder

from ssv_tf.data import folder, posed_faces, published

_SIDE_PX = 450  # of the set's pictures; TFDS gives landmarks as shares of it

_DESCRIPTION = """
Faces of 300W (AFW, LFPW, HELEN, IBUG), each turned to many poses by a fitted 3D face: 61,225
pictures with 68 landmarks and pitch, yaw, roll. The mirrored copies are left out, as in TFDS's
`the300w_lp`, which reads the files here.

Azimuth, elevation and tilt are worked out from the set's own rotation
(ssv_tf.data.conventions.from_pitch_yaw_roll); pitch_deg, yaw_deg and roll_deg are as published.
"""

_CITATION = """
@inproceedings{zhu2016face,
  title = {Face Alignment Across Large Poses: A {3D} Solution},
  author = {Zhu, Xiangyu and Lei, Zhen and Liu, Xiaoming and Shi, Hailin and Li, Stan Z.},
  booktitle = {CVPR},
  year = {2016},
}
"""


class The300wLpViewpoint(the300w_lp_dataset_builder.Builder):
    """300W-LP; one split, `train`."""

    name = "the300w_lp_viewpoint"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}
    BUILDER_CONFIGS: ClassVar[list[posed_faces.FacesConfig]] = posed_faces.CONFIGS
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    300W-LP is for research; its page asks to cite the paper and the four sets it was made of. Get
    300W-LP.zip from the 3DDFA project page and unpack it into the manual folder, so that it holds
    300W_LP/AFW/AFW_134212_1_0.jpg, the .mat file beside it, and 300W_LP/landmarks.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            citation=_CITATION,
            license="Research, by the terms of 300W, AFW, LFPW, HELEN and IBUG.",
            homepage="http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
            features=posed_faces.features(),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        path = dl_manager.manual_dir / "300W_LP"
        if not path.exists():
            raise FileNotFoundError(f"no folder {path}: {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        return {"train": self._generate_examples(str(path))}

    def _generate_examples(self, image_dir_path: str) -> Iterator[published.Example]:
        aligned = self.builder_config.aligned
        for name, record in super()._generate_examples(image_dir_path):
            try:
                yield name, _face(name, record, aligned)
            except folder.BadPicture as error:
                logging.warning("skipped %s: %s", name, error)


def _face(name: str, record: dict, aligned: bool) -> dict:
    picture = published.read_picture(epath.Path(record["image"]))
    landmarks = np.asarray(record["landmarks_2d"], np.float64) * _SIDE_PX  # [68, 2]
    return posed_faces.example(name, picture, landmarks, record["pose_params"], aligned)
