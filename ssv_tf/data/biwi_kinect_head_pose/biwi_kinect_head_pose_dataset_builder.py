"""TFDS builder of the BIWI Kinect head poses, cropped by the camera's calibration."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from ssv_tf.data import conventions, folder, published

_HEAD_MM = 280.0  # side of the square around a head's centre

_DESCRIPTION = """
24 sequences of 20 people who turn their heads before a Kinect, about 15,700 frames, with the head's
rotation and centre fitted to the depth. The squares are cut from the colour pictures around the
projected centre, 280 mm wide, so that no detector has a say.

* azimuth, elevation, tilt: to the colour camera's line of sight
  (ssv_tf.data.conventions.from_biwi).
* fsanet_pitch_deg, fsanet_yaw_deg, fsanet_roll_deg: Euler angles of the pose file alone, as
  Hopenet and FSA-Net score them.
* axis_angle_pitch_deg, ..._yaw_deg, ..._roll_deg: the axis-angle vector read as angles, as SSV's
  published code scores it.
"""

_CITATION = """
@article{fanelli2013random,
  title = {Random Forests for Real Time {3D} Face Analysis},
  author = {Fanelli, Gabriele and Dantone, Matthias and Gall, Juergen and Fossati, Andrea and
            {Van Gool}, Luc},
  journal = {International Journal of Computer Vision},
  volume = {101},
  number = {3},
  pages = {437--458},
  year = {2013},
}
"""

_PROTOCOL_ANGLES = [
    f"{protocol}_{angle}_deg"
    for protocol in ("fsanet", "axis_angle")
    for angle in ("pitch", "yaw", "roll")
]


@dataclasses.dataclass(frozen=True)
class ColourCamera:
    """What rgb.cal holds: pixels of a place, and where the camera stands beside the depth camera.

    Attributes:
      intrinsic: [3, 3].
      rotation: [3, 3], from the depth camera.
      translation_mm: [3].
    """

    intrinsic: np.ndarray
    rotation: np.ndarray
    translation_mm: np.ndarray

    @classmethod
    def parse(cls, text: str) -> "ColourCamera":
        """Reads rgb.cal: 9 numbers, 4 of distortion (all 0), 9, 3, and the size.

        Raises:
          ValueError: other numbers than these.
        """
        numbers = np.array([float(word) for word in text.split()])
        if len(numbers) != 27:
            raise ValueError(f"rgb.cal holds {len(numbers)} numbers, not 27")
        rows = numbers[:9].reshape(3, 3), numbers[13:22].reshape(3, 3)
        return cls(*rows, numbers[22:25])


class BiwiKinectHeadPose(tfds.core.GeneratorBasedBuilder):
    """BIWI; one split, `test`, as in the protocols that train on 300W-LP or without labels."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "Initial release."}
    MANUAL_DOWNLOAD_INSTRUCTIONS = """
    BIWI may be used for research that is not commercial; its authors give it on request
    (https://icu.ee.ethz.ch/research/datsets.html). Unpack kinect_head_pose_db.tgz into the manual
    folder, so that it holds hpdb/01/rgb.cal, hpdb/01/frame_00003_rgb.png and
    hpdb/01/frame_00003_pose.txt.
    """

    def _info(self) -> tfds.core.DatasetInfo:
        angle = tfds.features.Scalar(np.float32)
        more = {name: angle for name in _PROTOCOL_ANGLES}
        return self.dataset_info_from_configs(
            description=_DESCRIPTION,
            citation=_CITATION,
            license="Research that is not commercial.",
            homepage="https://icu.ee.ethz.ch/research/datsets.html",
            features=published.features(sequence=tfds.features.Text(), **more),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {"test": self._generate_examples(dl_manager.manual_dir / "hpdb")}

    def _generate_examples(self, path: epath.Path) -> Any:
        calibrations = sorted(str(calibration) for calibration in path.glob("*/rgb.cal"))
        if not calibrations:
            raise FileNotFoundError(f"no rgb.cal in {path}/*: {self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
        return published.each(calibrations, _sequence)


def _sequence(calibration: str) -> Iterator[published.Example]:
    path = epath.Path(calibration)
    camera = ColourCamera.parse(path.read_text())
    for pose in sorted(path.parent.glob("frame_*_pose.txt")):
        yield from _frame((str(pose), camera))


@published.skipping
def _frame(job: tuple[str, ColourCamera]) -> Iterator[published.Example]:
    pose, camera = epath.Path(job[0]), job[1]
    numbers = np.array([float(word) for word in pose.read_text().split()])
    if len(numbers) != 12:
        raise folder.BadPicture(f"its pose holds {len(numbers)} numbers, not 12")
    head, centre_mm = numbers[:9].reshape(3, 3), numbers[9:]
    name = f"{pose.parent.name}/{pose.name.replace('_pose.txt', '_rgb.png')}"
    picture = published.read_picture(pose.parent.parent / name)
    yield name, example(name, picture, head, centre_mm, camera)


def example(
    name: str,
    picture: np.ndarray,
    head: np.ndarray,
    centre_mm: np.ndarray,
    camera: ColourCamera,
) -> dict[str, Any]:
    """One frame: crop and angles.

    Args:
      name: sequence and file.
      picture: uint8 [H, W, 3] of the colour camera.
      head: [3, 3], rotation of the pose file.
      centre_mm: [3], the head's centre before the depth camera.
      camera: of the sequence.
    """
    position_mm = camera.rotation @ centre_mm + camera.translation_mm
    x, y, depth = camera.intrinsic @ position_mm
    if depth <= 0:
        raise folder.BadPicture("its head lies behind the camera")
    side = camera.intrinsic[0, 0] * _HEAD_MM / depth
    image = published.crop_square(picture, (x / depth, y / depth), side, published.FACE_SIDE_PX)
    protocol_angles = np.concatenate(
        [conventions.biwi_fsanet(head), conventions.biwi_axis_angle(head)]
    )
    named = {"image": image, "filename": name, "sequence": name.split("/")[0]}
    viewpoint_deg = conventions.from_biwi(head, camera.rotation, position_mm)
    return (
        named
        | published.angles(viewpoint_deg)
        | dict(zip(_PROTOCOL_ANGLES, protocol_angles.astype(np.float32), strict=True))
    )
