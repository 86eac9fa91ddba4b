"""What an export can write, the settings of one, and what it wrote."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssv_tf.base.errors import SettingError
from ssv_tf.data import read_policy

TFLITE_FORMATS = ("fp32", "fp16", "dynamic", "int8", "int8_full")
VECTORS = "vectors"  # no model: files to test an app with
FORMATS = (*TFLITE_FORMATS, "saved_model", "serving", VECTORS)
DEFAULT_FORMATS = ("fp32", "fp16", "dynamic", "int8", "saved_model")
INPUTS = ("uint8", "float")
_PREFIX = "tflite_"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a run is exported.

    Attributes:
      formats: of FORMATS, in their order.
      representative: pictures that set the ranges of int8, at most.
      parity_pictures: pictures each file is compared with Keras on, at most.
      input: type of the .tflite input, 0..255 in both; int8 files always take uint8.
      batch: pictures a call of a .tflite; 0: open, which is slower.
      serving_name, serving_version: what clients of TF Serving call the model.
      seed: of which pictures are drawn.
      bad_pictures: "skip" or "stop".
    """

    formats: tuple[str, ...] = DEFAULT_FORMATS
    representative: int = 200
    parity_pictures: int = 200
    input: str = "uint8"
    batch: int = 1
    serving_name: str = "viewpoint"
    serving_version: int = 1
    seed: int = 0
    bad_pictures: str = read_policy.SKIP

    def __post_init__(self) -> None:
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats:
            given = ",".join(self.formats)
            raise SettingError(f"`formats={given}`: choose from {', '.join(FORMATS)}")
        if self.input not in INPUTS:
            raise SettingError(f"`input={self.input}`: choose from {', '.join(INPUTS)}")
        least = {"representative": 1, "parity_pictures": 1, "serving_version": 1, "batch": 0}
        for name, low in least.items():
            if getattr(self, name) < low:
                raise SettingError(f"`{name}={getattr(self, name)}` is below {low}")
        read_policy.check_policy(self.bad_pictures)
        if "serving" in self.formats:
            from ssv_tf.export.serving import configs

            configs.check(self.serving_name)

    @classmethod
    def of(cls, formats: Iterable[str] | None = None, **settings: Any) -> "Settings":
        """Settings with formats by either name: tflite_int8 is int8.

        Raises:
          SettingError: an unknown format or setting, or one out of its range.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise SettingError(
                f"unknown setting {', '.join(unknown)}; there are {', '.join(known)}"
            )
        given = DEFAULT_FORMATS if formats is None else formats
        names = [given] if isinstance(given, str) else list(given)
        plain = [
            name.removeprefix(_PREFIX) if name.removeprefix(_PREFIX) in TFLITE_FORMATS else name
            for name in names
        ]
        ordered = [name for name in FORMATS if name in plain]
        return cls(tuple(ordered + [name for name in plain if name not in FORMATS]), **settings)


@dataclasses.dataclass(frozen=True)
class Exported:
    """Files that `ViewpointModel.export` wrote.

        exported = model.export("out", formats=["tflite_int8"])
        exported.files["int8"], exported.parity[0]["azimuth"]["p95_deg"]

    Attributes:
      folder: where they lie.
      files: format -> file or folder.
      parity: a row a format: its size, time a picture in ms, and distance from Keras in degrees
        (`ssv_tf.export.parity.parity_table`).
      pictures: in words, which pictures set the ranges of int8 and were compared on.
      warnings: sentences on files that are far from Keras.
    """

    folder: Path
    files: dict[str, Path]
    parity: list[dict[str, Any]]
    pictures: str
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        from ssv_tf.export import parity

        lines = ["distance from Keras in degrees", parity.page(self.parity)]
        return "\n".join([*lines, *(str(path) for path in self.files.values())])
