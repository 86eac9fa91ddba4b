"""The published tests of viewpoint: which pictures, how their angles are read, which numbers.

A set's truth is calibrated on and scored in the set's own angles. Calibration needs labels of our
convention, so the truth is turned into viewpoints; the calibrated predictions are turned back. Both
ways go by rotation matrices (`data.conventions`), except where a published protocol reads numbers
as they stand.

SSV calibrates on about 100 labelled pictures of the test's own kind; no score counts them.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ssv_tf import config
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import conventions, sources
from ssv_tf.data.align_faces import geometry
from ssv_tf.data.collection import PictureSet
from ssv_tf.evaluation import labelled, metrics

_ROTATION = "rotation_deg"  # by how much a builder turned a picture upright
_BIWI_FLIP = np.diag([1.0, -1.0, -1.0])

Angles = Callable[[np.ndarray], np.ndarray]  # [pictures, 3] -> [pictures, 3], degrees


@dataclasses.dataclass(frozen=True)
class Reading:
    """One way to read the angles of a set, and what is measured.

    Attributes:
      name: as the results call it.
      features: of the TFDS set, the truth: three numbers in degrees.
      to_viewpoint: truth -> labels to calibrate on.
      from_viewpoint: calibrated viewpoints -> what is held against the truth.
      of_labels: labels of a folder -> truth, where there is no TFDS set.
      measure: (predicted, truth) -> numbers by name.
    """

    name: str
    features: tuple[str, str, str]
    to_viewpoint: Angles
    from_viewpoint: Angles
    of_labels: Angles
    measure: Callable[[np.ndarray, np.ndarray], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """A published test.

    Attributes:
      sets: what --protocol calls its TFDS sets, and their names; the usual one first.
      readings: each is scored.
    """

    sets: Mapping[str, str]
    readings: tuple[Reading, ...]


def _plain_to_viewpoint(pitch_yaw_roll_deg: np.ndarray) -> np.ndarray:
    """Pitch, yaw, roll taken for minus elevation, azimuth, tilt, whatever they were."""
    pitch, yaw, roll = np.moveaxis(np.asarray(pitch_yaw_roll_deg), -1, 0)
    return np.stack([yaw, -pitch, roll], axis=-1)


def _plain_from_viewpoint(viewpoint_deg: np.ndarray) -> np.ndarray:
    azimuth, elevation, tilt = np.moveaxis(np.asarray(viewpoint_deg), -1, 0)
    return np.stack([-elevation, azimuth, tilt], axis=-1)


def _axis_angle_of(viewpoint_deg: np.ndarray) -> np.ndarray:
    head = _BIWI_FLIP @ conventions.rotation(viewpoint_deg) @ _BIWI_FLIP
    return conventions.biwi_axis_angle(head)


def _unchanged(viewpoint_deg: np.ndarray) -> np.ndarray:
    return viewpoint_deg


def _head_pose(name: str, prefix: str = "", largest_deg: float | None = None) -> Reading:
    return Reading(
        name,
        (f"{prefix}pitch_deg", f"{prefix}yaw_deg", f"{prefix}roll_deg"),
        conventions.from_pitch_yaw_roll,
        conventions.to_pitch_yaw_roll,
        conventions.to_pitch_yaw_roll,
        functools.partial(metrics.head_pose, largest_deg=largest_deg),
    )


_AXIS_ANGLE = Reading(
    "axis_angle",
    ("axis_angle_pitch_deg", "axis_angle_yaw_deg", "axis_angle_roll_deg"),
    _plain_to_viewpoint,
    _plain_from_viewpoint,
    _axis_angle_of,
    metrics.head_pose,
)
_PASCAL3D = Reading(
    "pascal3d",
    ("azimuth_deg", "elevation_deg", "tilt_deg"),
    _unchanged,
    _unchanged,
    _unchanged,
    metrics.pascal3d,
)

PROTOCOLS = {
    "biwi": Protocol(
        {"biwi": "biwi_kinect_head_pose"}, (_head_pose("fsanet", "fsanet_"), _AXIS_ANGLE)
    ),
    "aflw2000": Protocol(
        {"aflw2000": "aflw2000_3d/crop", "aflw2000/aligned": "aflw2000_3d/aligned"},
        (_head_pose("aflw2000", largest_deg=99.0),),
    ),
    "pascal3d": Protocol(
        {
            "pascal3d": "pascal3d_plus/car",
            "pascal3d/bus": "pascal3d_plus/bus",
            "pascal3d/train": "pascal3d_plus/train",
        },
        (_PASCAL3D,),
    ),
}
SETS = {chosen: name for protocol in PROTOCOLS.values() for chosen, name in protocol.sets.items()}


@dataclasses.dataclass(frozen=True)
class Truth:
    """The truth of a protocol's pictures.

    Attributes:
      angles_deg: reading -> picture's name -> [3].
      rotation_deg: by how much each picture was turned upright, clockwise.
    """

    angles_deg: Mapping[str, Mapping[str, np.ndarray]]
    rotation_deg: Mapping[str, float]

    def of(self, reading: Reading, names: list[str]) -> np.ndarray:
        """Truth [pictures, 3] of a reading."""
        return np.stack([self.angles_deg[reading.name][name] for name in names])

    def turned(self, names: list[str]) -> np.ndarray:
        """Rotation [pictures] of the pictures."""
        return np.array([self.rotation_deg.get(name, 0.0) for name in names])


def of_set(chosen: str) -> str:
    """The protocol of a set: "pascal3d" of "pascal3d/bus"."""
    return chosen.partition("/")[0]


def load_set(options: config.Options, chosen: str) -> tuple[PictureSet, Truth]:
    """The test pictures of a protocol's TFDS set, cropped as the run's, and their truth.

    Args:
      options: of the run.
      chosen: of `SETS`.

    Raises:
      UserError: the set cannot be prepared; says what to download.
    """
    spec = sources.TFDS_PREFIX + SETS[chosen]
    pictures = labelled.set_pictures(options, spec, "test")
    readings = PROTOCOLS[of_set(chosen)].readings
    features = {feature for reading in readings for feature in reading.features}
    numbers = sources.read_numbers(spec, "test", (*sorted(features), _ROTATION))
    angles = {
        reading.name: {
            picture: np.array([row[feature] for feature in reading.features])
            for picture, row in numbers.items()
        }
        for reading in readings
    }
    turned = {picture: row.get(_ROTATION, 0.0) for picture, row in numbers.items()}
    return pictures, Truth(angles, turned)


def truth_of_labels(name: str, pictures: list[PictureSet]) -> Truth:
    """The truth that a folder's labels amount to, each reading by its own rule.

    Raises:
      UserError: a picture does not know all three angles, from which the measures are made, or
        the labels are classes.
    """
    partly = sum(int((~part.known.all(axis=1)).sum()) for part in pictures)
    if partly:
        raise UserError(
            f"--protocol={name} needs all three angles of every picture; {partly} know fewer"
        )
    if any(part.label_tolerance_deg for part in pictures):
        raise SettingError(f"`protocol={name}` needs measured angles, not classes with a tolerance")
    angles = {
        reading.name: {
            picture: row
            for part in pictures
            for picture, row in zip(
                part.names, reading.of_labels(labelled.angles_deg(part)), strict=True
            )
        }
        for reading in PROTOCOLS[name].readings
    }
    return Truth(angles, {})


def score(
    name: str,
    truth: Truth,
    split: labelled.Split,
    predict: Callable[[np.ndarray | None], np.ndarray],
) -> dict[str, dict[str, Any]]:
    """The published numbers of each reading.

    Args:
      name: of `PROTOCOLS`.
      truth: of every picture of the split.
      split: the pictures to calibrate on and to score.
      predict: labels [calibration pictures, 3], or None where there are none -> viewpoints of the
        test pictures, calibrated on those labels.

    Returns:
      reading -> `metrics.head_pose` or `metrics.pascal3d`.
    """
    results = {}
    for reading in PROTOCOLS[name].readings:
        known = None
        if split.calibration is not None:
            names = split.calibration.names
            known = reading.to_viewpoint(truth.of(reading, names))
            known = geometry.carry(known, truth.turned(names))
        names = split.test.names
        viewpoint_deg = geometry.carry(predict(known), -truth.turned(names))
        predicted = reading.from_viewpoint(viewpoint_deg)
        results[reading.name] = reading.measure(predicted, truth.of(reading, names))
    return results


def lines(results: dict[str, dict[str, Any]]) -> list[str]:
    """The numbers of each reading, a line each."""
    return [
        f"{name}: " + ", ".join(f"{key} {_shown(value)}" for key, value in numbers.items())
        for name, numbers in results.items()
    ]


def _shown(value: Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
