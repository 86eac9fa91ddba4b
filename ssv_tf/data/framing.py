"""How a picture of any size becomes what a network sees: a square, and numbers in [-1, 1].

Every path from a picture to a network goes through here: training, prediction and scoring call
`Framing`; the exported graph, the serving graph and the page repeat it and are tested against it.
Needs NumPy and Pillow only.
"""

import dataclasses
import math
import os
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from ssv_tf.base.errors import UserError
from ssv_tf.data.reading import MID_GREY, read_rgb

CROPS = ("longest", "height")
PADDINGS = ("constant", "edge", "reflect", "blur")
_PADDING_WORDS = {
    "constant": f"grey ({MID_GREY})",
    "edge": "the border of the picture, repeated",
    "reflect": "the picture, mirrored",
    "blur": "the border of the picture, repeated and blurred (deviation 1/16 of the longest side)",
}
# A square much larger than the result is first shrunk cheaply to this multiple of it.
_WORKING_MULTIPLE = 4
# A picture decoded at a smaller size keeps at least this multiple of the result's side.
_DECODED_MULTIPLE = 3
# The border of a padded picture is blurred with a deviation of this share of its longest side.
BLUR_SHARE = 1 / 16


@dataclasses.dataclass(frozen=True)
class Framing:
    """Puts a picture into the middle of a square, one scale for both axes.

        Framing(resolution=64, crop="height", padding="blur").read("car.jpg")  # uint8 [64, 64, 3]

    Attributes:
      resolution: side R of the square in pixels.
      crop: "longest": the square is as large as the longest side. "height": it is
        `canvas_heights` times as large as the picture's height, which does not change as the
        object turns; what sticks out at the sides is cut off.
      canvas_heights: side of the square in heights of the picture, for crop="height".
      padding: what fills the rest. "constant": mid-grey; "edge": the border repeated;
        "reflect": the picture mirrored; "blur": the border repeated and blurred.

    Raises:
      UserError: an unknown crop or padding, a resolution below 1 or a canvas that is not positive.
    """

    resolution: int
    crop: str = "longest"
    canvas_heights: float = 2.4
    padding: str = "constant"

    def __post_init__(self) -> None:
        if not _is_number(self.resolution) or self.resolution % 1 or self.resolution < 1:
            raise UserError(f"resolution is a whole number from 1, not {self.resolution!r}")
        if self.crop not in CROPS:
            raise UserError(f"crop is one of {', '.join(CROPS)}, not {self.crop!r}")
        if self.padding not in PADDINGS:
            raise UserError(f"padding is one of {', '.join(PADDINGS)}, not {self.padding!r}")
        if not _is_number(self.canvas_heights) or not 0 < self.canvas_heights < math.inf:
            raise UserError(f"canvas_heights is a positive number, not {self.canvas_heights!r}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the square: (R, R, 3)."""
        return (self.resolution, self.resolution, 3)

    @property
    def shortest(self) -> int:
        """Pixels that both sides of a picture must keep when it is decoded at a smaller size."""
        return _DECODED_MULTIPLE * self.resolution

    @property
    def working_side(self) -> int:
        """Pixels that the side of the square has at most when it is resampled."""
        return _WORKING_MULTIPLE * self.resolution

    def read(self, source: str | os.PathLike | bytes) -> np.ndarray:
        """Reads a picture file, or its bytes, and fits it: uint8 [R, R, 3].

        Raises:
          reading.BadPicture: with a short reason.
        """
        return self._fit(read_rgb(source, shortest=self.shortest))

    def fit(self, picture: np.ndarray) -> np.ndarray:
        """The square of a picture: uint8 [H, W, 3] -> uint8 [R, R, 3]."""
        return self._fit(Image.fromarray(picture))

    def _shrunk_size(self, width: int, height: int) -> tuple[int, int] | None:
        """Of a picture whose square is far larger than the result; None of another."""
        scale = self.working_side / self.side(width, height)
        return None if scale >= 1 else (max(1, round(scale * width)), max(1, round(scale * height)))

    def _fit(self, image: Image.Image) -> np.ndarray:
        if smaller := self._shrunk_size(image.width, image.height):
            image = image.resize(smaller, Image.Resampling.BOX)  # area average; bounds memory too
        side = self.side(image.width, image.height)
        image = _middle(image, side)
        rows = max(0, math.ceil((side - image.height) / 2))
        columns = max(0, math.ceil((side - image.width) / 2))
        canvas = _padded(image, rows, columns, self.padding)
        # Fractions of a pixel matter at 32 px: the square is exact in `box`, which lies within
        # the canvas.
        left, top = (canvas.width - side) / 2, (canvas.height - side) / 2
        box = (left, top, left + side, top + side)
        return np.array(canvas.resize(self.shape[:2], Image.Resampling.LANCZOS, box))

    def side(self, width: int, height: int) -> float:
        """Side of the square that a picture of this size is put into, in its pixels."""
        return float(max(height, width)) if self.crop == "longest" else self.canvas_heights * height

    def words(self) -> str:
        """How a picture must look, for cards and for whoever writes an app."""
        scaled = "the longest side"
        if self.crop == "height":
            scaled = f"its box's height (the square is {self.canvas_heights:g} of it wide)"
        return (
            f"RGB, {self.resolution} x {self.resolution} px, the object in the middle, scaled by "
            f"{scaled}; beside it {_PADDING_WORDS[self.padding]}."
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `from_dict` reads it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Framing":
        """What `to_dict` wrote; other keys are left aside, as options.json has many.

        Raises:
          UserError: no resolution, or a value that is not allowed.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if "resolution" not in values:
            raise UserError(f"a framing needs a resolution, got {sorted(values)}")
        return cls(**{name: values[name] for name in names if name in values})


def normalise(pixels: Any) -> Any:
    """Pixels in 0..255 -> [-1, 1], as every network wants its pictures.

    Args:
      pixels: a float array or tensor of any library; integers are cast by the caller, or see
        `to_network`.
    """
    return pixels / 127.5 - 1.0


def denormalise(images: Any) -> Any:
    """[-1, 1] -> 0..255, neither rounded nor clipped; a float array or tensor of any library."""
    return (images + 1.0) * 127.5


def to_network(pictures: np.ndarray) -> np.ndarray:
    """uint8 [n, R, R, 3] -> float32 in [-1, 1]."""
    return normalise(np.asarray(pictures, np.float32))


def to_uint8(images: np.ndarray) -> np.ndarray:
    """A network's float images in [-1, 1] -> uint8 pictures, rounded and clipped."""
    return np.clip(np.round(denormalise(np.asarray(images))), 0, 255).astype(np.uint8)


def fit_square(
    picture: np.ndarray,
    resolution: int,
    crop: str = "longest",
    canvas_heights: float = 2.4,
    padding: str = "constant",
) -> np.ndarray:
    """`Framing(resolution, crop, canvas_heights, padding).fit(picture)`."""
    return Framing(resolution, crop, canvas_heights, padding).fit(picture)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _middle(image: Image.Image, side: float) -> Image.Image:
    """Without columns so far from the square that no filter reaches them; the middle stays."""
    surplus = max(0, image.width - 3 * math.ceil(side) - 64) // 2
    return image.crop((surplus, 0, image.width - surplus, image.height)) if surplus else image


def _padded(image: Image.Image, rows: int, columns: int, padding: str) -> Image.Image:
    """[H, W] -> [H + 2 rows, W + 2 columns]; plain padding takes no way through NumPy."""
    if not rows and not columns:
        return image
    if padding == "constant":
        size = (image.width + 2 * columns, image.height + 2 * rows)
        padded = Image.new("RGB", size, (MID_GREY, MID_GREY, MID_GREY))
        padded.paste(image, (columns, rows))
        return padded
    widths = ((rows, rows), (columns, columns), (0, 0))
    if padding == "reflect":
        return Image.fromarray(np.pad(np.asarray(image), widths, mode="reflect"))
    padded = Image.fromarray(np.pad(np.asarray(image), widths, mode="edge"))
    if padding == "blur":
        blur = ImageFilter.GaussianBlur(BLUR_SHARE * max(padded.size))
        padded = padded.filter(blur)
        padded.paste(image, (columns, rows))
    return padded
