"""Viewpoints drawn over pictures: the object's three axes, and the angles in words."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from ssv_tf import viewpoint

# Object axes at viewpoint zero equal the camera's: the nose at +z, so its own left at +x.
# Colours of Okabe and Ito, told apart by the colour-blind.
AXES = (
    ("nose", (0.0, 0.0, 1.0), (213, 50, 0)),
    ("left", (1.0, 0.0, 0.0), (0, 114, 178)),
    ("up", (0.0, 1.0, 0.0), (0, 158, 115)),
)

_SIDES = (320, 640)  # pictures are brought to a longest side between these, pixels
_LENGTH = 0.36  # of an axis, in shortest sides of the picture
_SMOOTHING = 2  # Pillow's lines are jagged: draw larger, then shrink
_DIRECTIONS = (
    "front",
    "front, nose left",
    "nose left",
    "rear, nose left",
    "rear",
    "rear, nose right",
    "nose right",
    "front, nose right",
)
_CELL = (200, 230)  # pixels of a picture on a contact sheet, its lines of text included
_COLUMNS = 8
MOST_ON_SHEET = 160
_UPRIGHT_DEG = 0.5  # smaller angles count as level and upright


def axes_in_image(angles_deg: np.ndarray) -> np.ndarray:
    """Where the object's axes point in the picture, seen from far away.

    Args:
      angles_deg: [3].

    Returns:
      [3, 3], a row for each of `AXES`: x to image right, y up, z towards the camera.
    """
    object_to_camera = viewpoint.rotation_matrix(np.radians(angles_deg)).T
    return np.array([direction for _, direction, _ in AXES]) @ object_to_camera.T


def words(angles_deg: np.ndarray) -> list[str]:
    """The three angles as lines of text such as "azimuth 88° (nose left)"."""
    azimuth, elevation, tilt = (float(angle) for angle in angles_deg)
    direction = _DIRECTIONS[round(azimuth / 45.0) % 8]
    height = _sign_word(elevation, "camera above", "camera below", "level")
    turn = _sign_word(tilt, "clockwise", "anticlockwise", "upright")
    return [
        f"azimuth {round(azimuth)}° ({direction})",
        f"elevation {round(elevation)}° ({height})",
        f"tilt {round(tilt)}° ({turn})",
    ]


def draw_viewpoint(picture: np.ndarray, angles_deg: np.ndarray) -> Image.Image:
    """The picture with the object's axes over its middle and the angles below it.

    Args:
      picture: uint8 [H, W, 3].
      angles_deg: [3].

    Returns:
      an RGB picture, longest side 320 to 640 pixels before the lines of text are added.
    """
    return _with_lines(draw_axes(picture, angles_deg, _SIDES), words(angles_deg))


def draw_axes(picture: np.ndarray, angles_deg: np.ndarray, sides: tuple[int, int]) -> Image.Image:
    """The picture with the object's axes over its middle.

    Args:
      picture: uint8 [H, W, 3].
      angles_deg: [3].
      sides: least and most pixels of the result's longest side.
    """
    image = _comfortable(Image.fromarray(picture), sides)
    return _with_axes(image, axes_in_image(angles_deg))


def on_sheet(azimuth_deg: np.ndarray) -> np.ndarray:
    """Which pictures go on a contact sheet, in its order: by azimuth, at most 160 of them, evenly.

    Args:
      azimuth_deg: [n], in (-180, 180].

    Returns:
      indices.
    """
    order = np.argsort(azimuth_deg, kind="stable")
    if len(order) <= MOST_ON_SHEET:
        return order
    return order[np.linspace(0, len(order) - 1, MOST_ON_SHEET).round().astype(int)]


def contact_sheet(drawn: Iterable[Image.Image]) -> Image.Image:
    """Pictures with their axes side by side, each shrunk to a cell, eight to a row.

    Raises:
      ValueError: no picture.
    """
    cells = [ImageOps.pad(picture, _CELL, color="white") for picture in drawn]
    if not cells:
        raise ValueError("a contact sheet needs a picture")
    columns = min(_COLUMNS, len(cells))
    rows = -(-len(cells) // columns)
    sheet = Image.new("RGB", (columns * _CELL[0], rows * _CELL[1]), "white")
    for i, cell in enumerate(cells):
        sheet.paste(cell, (i % columns * _CELL[0], i // columns * _CELL[1]))
    return sheet


def _sign_word(angle_deg: float, positive: str, negative: str, zero: str) -> str:
    if abs(angle_deg) < _UPRIGHT_DEG:
        return zero
    return positive if angle_deg > 0 else negative


def _comfortable(image: Image.Image, sides: tuple[int, int]) -> Image.Image:
    """Tiny pictures grow and large ones shrink, so that lines and text always fit."""
    longest = max(image.size)
    target = min(max(longest, sides[0]), sides[1])
    width, height = (max(1, round(side * target / longest)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def _with_axes(image: Image.Image, directions: np.ndarray) -> Image.Image:
    """Draws each axis as a line with a lettered knob; what points at the camera comes last."""
    large = image.resize((image.width * _SMOOTHING, image.height * _SMOOTHING))
    pencil = ImageDraw.Draw(large)
    centre = np.array(large.size) / 2
    length = _LENGTH * max(min(large.size), max(large.size) / 3)
    tips = centre + length * directions[:, :2] * (1, -1)  # image rows grow downwards
    for i in np.argsort(directions[:, 2]):
        _draw_axis(pencil, centre, tips[i], AXES[i][2], towards_camera=directions[i, 2] >= 0)
    for (name, _, colour), tip in zip(AXES, tips, strict=True):
        _draw_name(pencil, tip, name, colour)
    return large.resize(image.size, Image.Resampling.LANCZOS)


def _draw_axis(
    pencil: ImageDraw.ImageDraw,
    centre: np.ndarray,
    tip: np.ndarray,
    colour: Any,
    towards_camera: bool,
) -> None:
    """A line with a white rim; the knob is full where the axis comes towards the camera."""
    ends = [tuple(centre), tuple(tip)]
    pencil.line(ends, fill="white", width=6 * _SMOOTHING)
    pencil.line(ends, fill=colour, width=4 * _SMOOTHING)
    pencil.circle(
        tuple(tip),
        5 * _SMOOTHING,
        fill=colour if towards_camera else "white",
        outline="white" if towards_camera else colour,
        width=2 * _SMOOTHING,
    )


def _draw_name(pencil: ImageDraw.ImageDraw, tip: np.ndarray, name: str, colour: Any) -> None:
    pencil.text(
        (tip[0], tip[1] - 7 * _SMOOTHING),
        name,
        fill=colour,
        anchor="mb",
        font=ImageFont.load_default(15 * _SMOOTHING),
        stroke_width=2 * _SMOOTHING,
        stroke_fill="white",
    )


def _with_lines(image: Image.Image, lines: list[str]) -> Image.Image:
    """Adds lines of dark text on a white strip below the picture."""
    font = ImageFont.load_default(16)
    width = max(image.width, 20 + max(round(font.getlength(line)) for line in lines))
    result = Image.new("RGB", (width, image.height + 12 + 22 * len(lines)), "white")
    result.paste(image, ((width - image.width) // 2, 0))
    pencil = ImageDraw.Draw(result)
    for i, line in enumerate(lines):
        pencil.text((10, image.height + 6 + 22 * i), line, fill=(30, 30, 30), font=font)
    return result
