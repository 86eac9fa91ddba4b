"""Contact sheet that shows the angle convention and cars of every shape."""

import dataclasses
import io
import itertools
from collections.abc import Sequence

import numpy as np
from absl import flags
from PIL import Image, ImageDraw, ImageFont

from ssv_tf.base import cli, files
from ssv_tf.data.turntable_cars import collection, render
from ssv_tf.data.turntable_cars.scene import studio
from ssv_tf.data.turntable_cars.shapes import SHAPES

_RESOLUTION = 64
_SCALE = 2
_MARGIN, _LINE = 84, 15
_COLUMNS = 8
_BLUE = np.array([0.05, 0.14, 0.42])

Cell = tuple[str, np.ndarray]  # what is written above a picture, and the picture
Row = tuple[str, list[Cell]]


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


def define_flags() -> None:
    """Registers the command's flags."""
    flags.DEFINE_string("out", "turntable_cars.png", "PNG file to write.")
    flags.DEFINE_integer("seed", 0, "Another seed shows other cars.", lower_bound=0)
    flags.DEFINE_bool("overwrite", False, "Replace an existing file.")


def main(argv: Sequence[str]) -> None:
    """Renders and writes the sheet."""
    del argv
    options = flags.FLAGS
    path = files.refuse_existing(options.out, options.overwrite)
    sheet = contact_sheet(options.seed)
    buffer = io.BytesIO()
    _coarse(sheet).save(buffer, "PNG", optimize=True)
    files.write_atomically(path, buffer.getvalue())
    print(f"{path}: {sheet.width} x {sheet.height} pixels, {buffer.tell() / 1024:.0f} kB")


def _coarse(image):
    """Drops the three lowest bits, mostly film noise, which PNG cannot pack."""
    return Image.fromarray(np.asarray(image) & 0xF8 | 0x07)


def contact_sheet(seed: int = 0) -> Image.Image:
    """The sheet: one car over azimuth, elevation and tilt, then random cars of every shape."""
    rows = [*_azimuth_rows(seed), _tilt_row(seed), *_shape_rows(seed)]
    height = _RESOLUTION * _SCALE + _LINE
    width = _MARGIN + _COLUMNS * _RESOLUTION * _SCALE
    sheet = Image.new("RGB", (width, height * len(rows)), "white")
    for number, row in enumerate(rows):
        _draw_row(sheet, number * height, row)
    return sheet


def _draw_row(sheet, top, row):
    label, cells = row
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    side = _RESOLUTION * _SCALE
    pen.text((4, top + _LINE + side // 2 - 6), label, fill="black", font=font)
    for column, (title, image) in enumerate(cells):
        left = _MARGIN + column * side
        pen.text((left + 3, top + 1), title, fill="black", font=font)
        large = Image.fromarray(image).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(large, (left, top + _LINE))


def _azimuth_rows(seed: int) -> list[Row]:
    azimuths = range(0, 360, 45)
    return [
        (
            f"elevation {elevation}",
            [(f"azimuth {a}", _in_studio(seed, (a, elevation, 0))) for a in azimuths],
        )
        for elevation in (0, 15, 30)
    ]


def _tilt_row(seed: int) -> Row:
    views = list(itertools.product((90, 0), (-8, 0, 8)))
    cells = [(f"azimuth {a}, tilt {t}", _in_studio(seed, (a, 10, t))) for a, t in views]
    return "tilt", cells


def _in_studio(seed, angles_deg):
    """The first saloon of the train split, in blue so that its lights stand out, by itself."""
    car, look, _ = render.draw(next(_seeds_of("saloon", seed)))
    look = dataclasses.replace(look, paint=_BLUE, roof=_BLUE, tail_glow=0.5)
    rotation = collection.rotations(np.array(angles_deg))
    noise = np.random.default_rng(0)
    return render.photograph(car, look, studio(), _RESOLUTION, rotation, noise)


def _shape_rows(seed: int) -> list[Row]:
    return [
        (shape, [_as_drawn(item) for item in itertools.islice(_seeds_of(shape, seed), _COLUMNS)])
        for shape in SHAPES
    ]


def _as_drawn(seed_tuple: tuple[int, ...]) -> Cell:
    picture = collection.render_car(seed_tuple, _RESOLUTION)
    return "{:.0f}, {:.0f}, {:.0f}".format(*picture.angles_deg), picture.image


def _seeds_of(shape, seed):
    """Seeds of the train split's pictures that show a car of this shape."""
    for index in itertools.count():
        seed_tuple = collection.picture_seed(seed, "train", index)
        if render.draw_car_of(seed_tuple).shape == shape:
            yield seed_tuple
