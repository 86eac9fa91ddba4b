"""The page in a real browser: the same pixels and degrees as Python, and a message for the rest."""

import json
import shutil

import numpy as np
import pytest
from browser import Visit, chromium, served
from PIL import Image, ImageOps

from ssv_tf import predict, runs, viewpoint
from ssv_tf.data import folder, turntable_cars
from ssv_tf.export.web import __main__ as command
from ssv_tf.export.web import site

PLACE = "deep/er/page"  # a page must work below any path
CLOSE_DEG = 0.5


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def root(browser, tmp_path_factory):
    """A server's folder with the page of the preset below it."""
    top = tmp_path_factory.mktemp("root")
    write_page(top / PLACE, preset="cars")
    return top


def write_page(out, **values):
    """What the command writes, by way of its own main."""
    from in_process import run_command

    words = [f"--{name}={value}" for name, value in values.items()]
    assert run_command(command, f"--out={out}", *words) == 0


@pytest.fixture(scope="module")
def url(root):
    with served(root) as host:
        yield f"{host}/{PLACE}"


@pytest.fixture(scope="module")
def car():
    """A rendered car, 256 px, on a noisy ground."""
    seed = turntable_cars.picture_seed(0, "test", 20)
    picture = turntable_cars.render_car(seed, 256, (50, 12, 3)).image.astype(int)
    noise = np.random.default_rng(0).integers(-12, 13, picture.shape)
    return Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8))


def save(place, name, image, **how):
    image.save(place / name, **how)
    return place / name


def turned(place, car, orientation, kind="jpg"):
    """A wide picture whose EXIF data say how to turn it."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    wide = car.crop((0, 40, 256, 221)).resize((603, 426))
    return save(place, f"turned_{orientation}.{kind}", wide, exif=exif.tobytes(), quality=90)


def various(place, car):
    """Picture files of every kind the page must read as Python does."""
    wide, high = car.crop((0, 60, 256, 200)), car.crop((60, 0, 200, 256))
    alpha = Image.linear_gradient("L").resize(car.size)
    see_through = Image.merge("RGBA", (*car.split(), alpha))
    return [
        save(place, "square.png", car),
        save(place, "wide.jpg", wide, quality=90),
        save(place, "high.jpg", high, quality=75),
        save(place, "tiny.png", car.resize((17, 23))),
        save(place, "grey.jpg", car.convert("L"), quality=90),
        save(place, "palette.png", car.quantize(64)),
        save(place, "see_through.png", see_through),
        save(place, "lossless.webp", wide, lossless=True),
        save(place, "lossy.webp", high, quality=80),
        save(place, "plain.bmp", high),
        save(place, "progressive.jpg", wide.resize((700, 383)), progressive=True, quality=85),
        save(place, "half.jpg", car.resize((301, 299), Image.BICUBIC), quality=90),
        save(place, "photo.jpg", car.resize((1203, 905), Image.BICUBIC), quality=92),
        save(place, "large.png", car.resize((1403, 805), Image.BICUBIC)),
        *(turned(place, car, orientation) for orientation in range(2, 9)),
    ]


def in_python(paths, **settings):
    """Calibrated degrees and squares of files, as ssv_tf.predict has them."""
    run = runs.load(preset="cars")
    squares = [predict._reader(run.options)(path) for path in paths]
    return predict._predictor(run)(np.stack(squares)), squares


def test_degrees_are_those_of_predict(browser, url, car, tmp_path):
    paths = various(tmp_path, car)
    wanted, squares = in_python(paths)
    with Visit(browser, url) as visit:
        assert visit.open() == "ready"
        for path, degrees, square in zip(paths, wanted, squares, strict=True):
            apart = np.abs(viewpoint.wrap_deg(np.array(visit.predict(path)) - degrees))
            seen = np.array(visit.square(), int).reshape(*square.shape[:2], 4)[..., :3]
            print(path.name, apart.round(3), np.abs(seen - square).max())
            assert apart.max() < CLOSE_DEG, path.name
            assert np.abs(seen - square).max() <= 3, path.name
        assert not visit.errors


FITS = [
    (crop, heights, padding)
    for crop, heights in (("longest", 2.4), ("height", 2.4), ("height", 0.7))
    for padding in folder.PADDINGS
]


@pytest.mark.parametrize(("crop", "heights", "padding"), FITS)
def test_squares_are_those_of_python_level_for_level(
    browser, url, car, tmp_path, crop, heights, padding
):
    settings = {"crop": crop, "canvas_heights": heights, "padding": padding}
    with Visit(browser, url, settings) as visit:
        visit.open()
        for width, height in ((200, 90), (37, 210), (33, 32), (20, 11), (1, 50), (701, 900)):
            path = save(tmp_path, f"{width}x{height}.png", car.resize((width, height)))
            visit.predict(path)
            wanted = folder.fit_square(folder.read_picture(path), 32, crop, heights, padding)
            seen = np.array(visit.square(), int).reshape(32, 32, 4)[..., :3]
            print(path.name, np.abs(seen - wanted).max())
            assert np.abs(seen - wanted).max() == 0, path.name
