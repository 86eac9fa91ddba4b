"""The files of the page: what was built from `page/`, the model, its settings, samples.

index.html app.js worker.js style.css icon.svg   the page
litert.js litert.wasm.gz                         LiteRT, from the npm package @litertjs/core
licenses.txt README.md
model.tflite model.json samples/                 what a run adds
"""

import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from ssv_tf import config
from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.data import folder

BUILT = Path(__file__).parent / "dist"
BUILT_FILES = (
    "index.html", "app.js", "worker.js", "style.css", "icon.svg",
    "litert.js", "litert.wasm.gz", "licenses.txt",
)  # fmt: skip
MODEL = "model.tflite"
SETTINGS = "model.json"
SAMPLES = "samples"

MAX_SAMPLES = 12
_SAMPLE_PIXELS = 1024  # longest side of a sample that a person gives
_CAR_PIXELS = 384
_CARS_DEG = ((35, 12, 2), (-60, 20, -3), (100, 8, 0), (-120, 25, 4), (165, 15, -2), (-20, 5, 1))

_README = """# {name}: a page that tells viewpoints

Serve this folder with any web server, from any path of it, and open it in a browser:

    python -m http.server --directory {folder} 8000      # then http://localhost:8000

It is static and needs no special headers (one thread: no COOP, no COEP). The model runs in the
browser, and no picture leaves it. Browsers give the camera to https pages and to localhost only.
"""


class Sample(NamedTuple):
    """A picture the page offers: its JPEG and what it shows."""

    jpeg: bytes
    title: str


def write(
    stage: Path,
    out_name: str,
    name: str,
    options: config.Options,
    doubt: str,
    limits: Sequence[str],
    samples: list[Sample],
) -> None:
    """Writes everything but the model into the folder `stage`.

    Args:
      stage: an empty folder.
      out_name: what it will be called, for its README.
      name: of the model.
      options: of the run: how a picture becomes the network's square.
      doubt: what a visitor must know about the model's angles; may be empty.
      limits: what the model cannot do, the sentences of its card.
      samples: pictures to try.

    Raises:
      UserError: the package lacks a built file.
      OSError: something cannot be written.
    """
    for built in BUILT_FILES:
        if not (BUILT / built).is_file():
            raise UserError(f"{BUILT / built} is missing: the package is not whole")
        shutil.copyfile(BUILT / built, stage / built)
    (stage / SAMPLES).mkdir()
    listed = []
    for number, sample in enumerate(samples, 1):
        file = f"{SAMPLES}/{number}.jpg"
        (stage / file).write_bytes(sample.jpeg)
        listed.append({"file": file, "title": sample.title})
    settings = page_settings(name, options, doubt) | {"limits": list(limits), "samples": listed}
    files.write_atomically(stage / SETTINGS, json.dumps(settings, indent=1) + "\n")
    (stage / "README.md").write_text(_README.format(name=name, folder=out_name), encoding="utf-8")


def page_settings(name: str, options: config.Options, doubt: str) -> dict:
    """What the page must know of a run; no folder or file of whoever trained is in it."""
    return {
        "name": name,
        "about": f"{name}: the azimuth, elevation and tilt of a picture's object, in degrees",
        "model": MODEL,
        **options.framing.to_dict(),
        "doubt": doubt,
    }


def is_page(path: Path) -> bool:
    """Whether a folder was written by this command."""
    return (path / SETTINGS).is_file() and (path / "litert.wasm.gz").is_file()


def rendered_cars() -> list[Sample]:
    """Six cars of the embedded data set, drawn for the page: pictures nobody has rights to."""
    from ssv_tf.data import turntable_cars

    samples = []
    for index, angles in enumerate(_CARS_DEG):
        seed = turntable_cars.picture_seed(0, "test", index)
        car = turntable_cars.render_car(seed, _CAR_PIXELS, angles)
        samples.append(Sample(_jpeg(car.image), f"Rendered car at azimuth {angles[0]}°"))
    return samples


def folder_samples(path: Path) -> list[Sample]:
    """Pictures of a person's folder, without their EXIF data, which may tell places and names.

    Raises:
      UserError: no such folder, or none of its pictures can be used.
    """
    samples, bad = [], ""
    for source in folder.find_pictures(path)[:MAX_SAMPLES]:
        try:
            samples.append(Sample(_jpeg(folder.read_picture(source, _SAMPLE_PIXELS)), source.stem))
        except folder.BadPicture as error:
            bad = f" ({source.name}: {error})"
    if not samples:
        raise UserError(f"--samples={path}: no picture there can be used{bad}")
    return samples


def _jpeg(picture: np.ndarray) -> bytes:
    image = Image.fromarray(picture)
    image.thumbnail((_SAMPLE_PIXELS, _SAMPLE_PIXELS), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92, subsampling=0, optimize=True)
    return stream.getvalue()
