"""The page in a real browser: the same pixels and degrees as Python, and a message for the rest."""

import json

import numpy as np
import pytest
from browser import PLACE, Visit
from PIL import Image

import ssv_tf
from ssv_tf import viewpoint
from ssv_tf.api.reader import PictureReader
from ssv_tf.data import folder, reading, turntable_cars
from ssv_tf.data.inputs import Item
from ssv_tf.evaluation import drawing
from ssv_tf.export import vectors
from ssv_tf.export.web import site
from ssv_tf.models.decoding import Viewpoints

pytestmark = pytest.mark.slow

pytest_plugins = ["browser_fixtures"]

CLOSE_DEG = 0.5
AZIMUTHS = [angles[0] for angles in site._CARS_DEG]


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
        *(turned(place, car, turn, "webp") for turn in (2, 3, 5, 6)),
        *(turned(place, car, turn, "png") for turn in (4, 7, 8)),
    ]


def in_python(paths):
    """Degrees and confidence [files, 4] and squares of files, as the Python API has them."""
    model = ssv_tf.load("cars")
    views = model.predict(paths)
    squares = [PictureReader(model.options.framing).square(Item(str(p), p)) for p in paths]
    return np.column_stack([views.angles_deg, views.confidence]), squares


def test_degrees_are_those_of_predict(browser, url, car, tmp_path):
    paths = various(tmp_path, car)
    wanted, squares = in_python(paths)
    with Visit(browser, url) as visit:
        assert visit.open() == "ready"
        for path, degrees, square in zip(paths, wanted[:, :3], squares, strict=True):
            apart = np.abs(viewpoint.wrap_deg(np.array(visit.predict(path)) - degrees))
            assert apart.max() < CLOSE_DEG, path.name
            # One level: decoders of JPEG at a fraction of its size average chroma their own way.
            assert np.abs(visit.square().astype(int) - square).max() <= 1, path.name
        assert not visit.errors


@pytest.mark.parametrize("has_decoder", [True, False])
def test_large_jpegs_are_decoded_small_or_averaged(browser, url, car, tmp_path, has_decoder):
    """Where the browser decodes at a fraction, to Pillow's very pixels; else to a level of them."""
    paths = [path for path in various(tmp_path, car) if path.suffix == ".jpg"]
    paths = [path for path in paths if reading.draft_scale(Image.open(path).size, 3 * 32) > 1]
    _, squares = in_python(paths)
    with Visit(browser, url) as visit:
        if not has_decoder:
            visit.replace_script("worker.js", "self.ImageDecoder = undefined;")
        assert visit.open() == "ready"
        apart = []
        for path, square in zip(paths, squares, strict=True):
            visit.predict(path)
            apart.append(np.abs(visit.square().astype(int) - square).max())
            visit.wait_for_width(Image.open(path).size[path.stem[-1] in "5678"])  # sharp in the end
        assert not visit.errors
    assert len(paths) == 11 and max(apart) == (0 if has_decoder else 1)


def test_vectors_are_read_in_the_browser_as_in_python(browser, url, car, tmp_path):
    """The test vectors of an export, which any app may use: the same squares, or a refusal."""
    model = ssv_tf.load("cars")

    def answer(squares):
        views = model.predict(squares)
        return Viewpoints(views.angles_deg, views.confidence, views.novelty)

    small = np.asarray(car.resize((32, 32)))[None]
    folder = vectors.write(tmp_path, answer, small, model.options.framing, "cars")
    table = json.loads((folder / vectors.TABLE).read_text())
    refused = set()
    with Visit(browser, url) as visit:
        assert visit.open() == "ready"
        for row in table["pictures"]:
            before = visit.answers()
            visit.give(folder / row["file"])
            if row["kind"] == "TIFF":
                assert "not a picture the browser can read" in visit.error()
                refused.add(row["kind"])
                continue
            visit.wait_for_answer(before)
            apart = np.abs(visit.square().astype(int) - np.load(folder / row["square"]))
            assert apart.max() <= table["tolerance"]["square_levels"], (row["kind"], apart.max())
            wanted = [row[f"{angle}_deg"] for angle in viewpoint.ANGLES]
            apart = np.abs(viewpoint.wrap_deg(np.array(visit.degrees()) - wanted))
            assert apart.max() < table["tolerance"]["angle_deg"], row["kind"]
        assert not visit.errors
    assert refused == {"TIFF"}


FITS = (
    ("longest", 2.4, "edge"),
    ("longest", 2.4, "reflect"),
    ("height", 2.4, "blur"),
    ("height", 0.7, "constant"),
)
SIZES = ((200, 90), (37, 210), (33, 32), (20, 11), (1, 50), (701, 900))


@pytest.mark.parametrize(("crop", "heights", "padding"), FITS)
def test_squares_are_those_of_python_level_for_level(
    browser, url, car, tmp_path, crop, heights, padding
):
    settings = {"crop": crop, "canvas_heights": heights, "padding": padding, "samples": []}
    with Visit(browser, url, settings) as visit:
        assert visit.open() == "ready"
        for width, height in SIZES:
            path = save(tmp_path, f"{width}x{height}.png", car.resize((width, height)))
            visit.predict(path)
            wanted = folder.fit_square(folder.read_picture(path), 32, crop, heights, padding)
            assert np.array_equal(visit.square(), wanted), path.name


def test_samples_are_predicted_drawn_and_told_in_words(browser, url, root, tmp_path):
    paths = sorted((root / PLACE / "samples").iterdir())
    wanted, _ = in_python(paths)
    with Visit(browser, url) as visit:
        visit.open()
        for number, answer in enumerate(wanted, 1):
            degrees, sure = answer[:3], answer[3]
            visit.press_sample(number)
            assert np.abs(viewpoint.wrap_deg(visit.degrees() - degrees)).max() < CLOSE_DEG
            shown = [visit.text(f"#{name} .words") for name in viewpoint.ANGLES]
            said = [line.split("(")[1].rstrip(")") for line in drawing.words(degrees)]
            assert shown == said
            assert str(abs(round(visit.degrees()[0]))) in visit.text("#azimuth .degrees")
            shown = float(visit.page.get_attribute("#confidence", "data-confidence"))
            assert shown == pytest.approx(sure, abs=1e-2)  # the page's weights are float16
        assert visit.page.locator("#axes .axis").count() == 3
        tips = visit.tips()
        size = np.array([480, 480])
        axes = drawing.axes_in_image(np.array(visit.degrees()))
        assert np.abs(tips - (size / 2 + 0.36 * 480 * axes[:, :2] * (1, -1))).max() < 0.5
        assert "ms" in visit.text("#time")
        assert "does not look like" not in visit.text("#confidence-words")
        visit.predict(save(tmp_path, "grey.png", Image.new("RGB", (90, 60), (127, 127, 127))))
        assert "does not look like such an object" in visit.text("#confidence-words")
        assert float(visit.page.get_attribute("#confidence", "data-novelty")) > 1.0


def test_no_request_leaves_the_host_and_no_error_is_logged(browser, url):
    host = url.split("/deep")[0]
    with Visit(browser, url) as visit:
        visit.open()
        visit.press_sample(2)
        visit.page.click("#camera")
        visit.wait_for_answer(visit.answers())
        assert len(visit.requests) > 8
        outside = [request for request in visit.requests if not request.startswith(f"{url}/")]
        assert outside == [], host
        assert not visit.errors and not visit.logged


def test_camera_is_live_until_escape(browser, url):
    with Visit(browser, url) as visit:
        visit.open()
        visit.page.click("#camera")
        visit.page.wait_for_selector("body.live")
        for _ in range(3):
            visit.wait_for_answer(visit.answers())
        assert visit.page.get_attribute("#camera", "aria-pressed") == "true"
        assert visit.text("#camera") == "Stop camera"
        assert visit.page.is_visible("#badge")
        assert visit.square().std() > 5  # Chromium's fake camera draws a disc
        assert visit.page.get_attribute("#picture", "width") == "720"  # the middle of 960 x 720
        visit.page.keyboard.press("Escape")
        visit.page.wait_for_selector("body:not(.live)")
        assert visit.page.is_hidden("#badge")
        visit.press_sample(1)  # and pictures are answered again


def test_a_refused_or_missing_camera_is_told_in_words(browser, url):
    with Visit(browser, url) as visit:
        visit.page.add_init_script(
            "navigator.mediaDevices.getUserMedia = async () => {"
            " throw new DOMException('no', 'NotAllowedError'); };"
        )
        visit.open()
        visit.page.click("#camera")
        assert "not allowed" in visit.error()
        assert visit.text("#camera") == "Use camera"


def test_everything_can_be_done_by_keyboard(browser, url, car, tmp_path):
    path = save(tmp_path, "car.png", car)
    with Visit(browser, url) as visit:
        visit.open()
        names = []
        for _ in range(10):
            visit.page.keyboard.press("Tab")
            names.append(visit.focused())
        wanted = [
            "Choose picture",
            "Use camera",
            *(f"Rendered car at azimuth {a}°" for a in AZIMUTHS),
        ]
        assert names[:8] == wanted, names
        visit.page.focus("#sample-list li:nth-child(3) button")
        before = visit.answers()
        visit.page.keyboard.press("Enter")
        visit.wait_for_answer(before)
        assert "azimuth 100" in visit.text("#spoken") and "nose left" in visit.text("#spoken")
        visit.page.focus("#choose")
        visit.page.keyboard.press("Enter")
        visit.chosen_in_dialog(path)
        visit.wait_for_answer(before + 1)
        assert visit.text("#spoken").startswith("car.png: azimuth")
        assert visit.page.locator("#sample-list [aria-pressed=true]").count() == 0


def test_a_dropped_picture_is_predicted(browser, url, car, tmp_path):
    path = save(tmp_path, "dropped.png", car)
    with Visit(browser, url) as visit:
        visit.open()
        before = visit.answers()
        visit.drop(path)
        visit.wait_for_answer(before)
        assert visit.text("#spoken").startswith("dropped.png")


@pytest.mark.parametrize("size", [(390, 844), (320, 568)])
def test_phones_show_picture_and_angles_without_sideways_scrolling(browser, url, size):
    viewport = {"width": size[0], "height": size[1]}
    with Visit(browser, url, viewport=viewport, is_mobile=True, has_touch=True) as visit:
        visit.open()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        for name in ("#choose", "#camera", "#sample-list button"):
            box = visit.page.locator(name).first.bounding_box()
            assert min(box["width"], box["height"]) >= 44, name
        assert visit.page.locator("#tilt .degrees").bounding_box()["x"] > size[0] / 2
        bottom = visit.page.locator("#azimuth .degrees").bounding_box()
        assert bottom["y"] + bottom["height"] <= max(size[1], 640)
        before = visit.answers()
        visit.page.tap("#sample-list li:nth-child(2) button")
        visit.wait_for_answer(before)
        assert visit.page.locator("#screen").bounding_box()["y"] >= 0  # scrolled back into view


def bad_pictures(place, car):
    whole = save(place, "whole.jpg", car.resize((500, 500)), quality=90).read_bytes()
    png = save(place, "whole.png", car).read_bytes()
    bad = {
        "empty.jpg": (b"", "empty"),
        "words.jpg": (b"these are words", "not a picture"),
        "cut.jpg": (whole[: len(whole) // 2], "cut short"),
        "cut.png": (png[: len(png) // 2], "cut short"),
        "page.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
    }
    for name, (content, _) in bad.items():
        (place / name).write_bytes(content)
    return {place / name: word for name, (_, word) in bad.items()}


def test_broken_pictures_give_a_message_and_the_page_goes_on(browser, url, car, tmp_path):
    good = save(tmp_path, "good.png", car)
    with Visit(browser, url) as visit:
        visit.open()
        for path, word in bad_pictures(tmp_path, car).items():
            visit.give(path)
            message = visit.error()
            assert message.startswith(path.name) and word in message, message
            before = visit.answers()
            visit.give(good)
            visit.page.wait_for_selector("#error", state="hidden")
            visit.wait_for_answer(before)
        assert not visit.errors
