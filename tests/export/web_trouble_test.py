"""What the page says of its model, and what it says where a file of its own is missing or wrong."""

import gzip
import json
import os
import shutil

import pytest
import tensorflow as tf
from browser import PLACE, Visit, served, write_page

from ssv_tf.export.web import site

pytestmark = pytest.mark.slow

pytest_plugins = ["browser_fixtures"]

SIZE = 32


def tflite_file(path, function, size=SIZE, dtype=tf.uint8):
    """A file of `function`: picture [1, size, size, 3] -> a dict of outputs."""
    picture = tf.TensorSpec((1, size, size, 3), dtype, name="picture")
    module = tf.Module()
    module.predict = tf.function(function, input_signature=[picture])
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [module.predict.get_concrete_function()], module
    )
    path.write_bytes(converter.convert())
    return path


def sure(confidence):
    """A model that answers the mean colours as degrees, with a confidence."""

    def predict(picture):
        mean = tf.reduce_mean(tf.cast(picture, tf.float32), axis=[1, 2])
        return {"viewpoint_deg": mean / 10.0, "confidence": mean[:, :1] * 0.0 + confidence}

    return predict


def unsure(picture):
    """A model that answers the mean colours as degrees, and nothing else."""
    return {"viewpoint_deg": tf.reduce_mean(tf.cast(picture, tf.float32), axis=[1, 2]) / 10.0}


@pytest.mark.parametrize(
    ("confidence", "words"), [(0.91, "91 %, sure"), (0.2, "20 %, unsure: do not rely on it")]
)
def test_the_confidence_of_a_model_that_tells_one_is_shown(browser, tmp_path, confidence, words):
    model = tflite_file(tmp_path / "student.tflite", sure(confidence))
    write_page(tmp_path / "served", preset="cars", model=model, name="student")
    with served(tmp_path) as host, Visit(browser, f"{host}/served") as visit:
        assert visit.open() == "ready"
        assert visit.page.is_visible("#confidence")
        shown = float(visit.page.get_attribute("#confidence", "data-confidence"))
        assert shown == pytest.approx(confidence, abs=1e-3)
        assert visit.text("#confidence-words") == words
        mean = visit.square().reshape(-1, 3).mean(axis=0)
        assert visit.degrees() == pytest.approx(mean / 10.0, abs=1e-2)
        assert "student" in visit.page.title() and words in visit.text("#spoken")
        assert visit.page.is_hidden("#doubt")


def test_a_model_that_tells_no_confidence_shows_none(browser, tmp_path):
    model = tflite_file(tmp_path / "plain.tflite", unsure)
    write_page(tmp_path / "served", preset="cars", model=model, name="plain")
    with served(tmp_path) as host, Visit(browser, f"{host}/served") as visit:
        visit.open()
        visit.press_sample(1)
        assert len(visit.degrees()) == 3
        assert visit.page.is_hidden("#confidence")


def test_a_float_model_gets_floats(browser, root, tmp_path):
    model = tflite_file(tmp_path / "float.tflite", sure(0.6), dtype=tf.float32)
    copy = broken_page(root, tmp_path, "model.tflite", model.read_bytes())
    with served(tmp_path) as host, Visit(browser, f"{host}/{copy.name}") as visit:
        assert visit.open() == "ready"
        mean = visit.square().reshape(-1, 3).mean(axis=0)
        assert visit.degrees() == pytest.approx(mean / 10.0, abs=1e-2)


def test_what_makes_the_angles_doubtful_is_shown(browser, url):
    with Visit(browser, url, {"doubt": "This model is not calibrated."}) as visit:
        visit.open()
        assert visit.text("#doubt") == "This model is not calibrated."
        assert visit.page.is_visible("#doubt")


def test_what_the_model_cannot_do_is_told(browser, url):
    limits = ["Tilt was not learnt.", "Vans were rare <b>here</b>."]
    with Visit(browser, url, {"limits": limits}) as visit:
        visit.open()
        visit.page.click("#limits summary")
        assert visit.page.locator("#limit-list li").all_inner_texts() == limits
    with Visit(browser, url, {"limits": []}) as visit:
        visit.open()
        assert visit.page.is_hidden("#limits")


def broken_page(root, tmp_path, name, content):
    """A copy of the page with one file replaced, or missing where `content` is None."""
    copy = tmp_path / "broken"
    shutil.copytree(root / PLACE, copy, copy_function=os.link)
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    return copy


def says(browser, tmp_path, copy):
    """The message of a page that cannot start."""
    with served(tmp_path) as host, Visit(browser, f"{host}/{copy.name}") as visit:
        assert visit.open() == "failed"
        message = visit.error()
        assert visit.page.is_disabled("#choose") and visit.page.is_disabled("#camera")
        assert not visit.errors
        return message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.tflite", None, "model.tflite is missing on this server (404)"),
        ("model.tflite", b"<html>not found</html>", "model.tflite is not a TFLite model"),
        ("model.tflite", b"\x1c\0\0\0TFL3" + b"\0" * 999, "model.tflite cannot be run"),
        ("model.json", None, "model.json is missing on this server (404)"),
        ("model.json", b"{", "model.json is damaged"),
        ("litert.wasm.gz", None, "litert.wasm.gz is missing on this server (404)"),
        ("litert.wasm.gz", gzip.compress(b"no code", mtime=0), "cannot start the model's engine"),
        ("litert.js", None, "cannot start the model's engine"),
        ("worker.js", None, "worker.js cannot be loaded"),
    ],
)
def test_a_missing_or_damaged_file_is_named(browser, root, tmp_path, name, content, words):
    message = says(browser, tmp_path, broken_page(root, tmp_path, name, content))
    assert words in message.replace("’", "'"), message


@pytest.mark.parametrize("kind", ["outputs", "size"])
def test_a_model_of_something_else_is_refused(browser, root, tmp_path, kind):
    if kind == "size":
        model = tflite_file(tmp_path / "m.tflite", sure(0.5), size=48)
        words = "takes pictures of 1 × 48 × 48 × 3"
    else:
        model = tflite_file(
            tmp_path / "m.tflite", lambda picture: {"classes": tf.cast(picture, tf.float32) + 1.0}
        )
        words = "model of something else"
    copy = broken_page(root, tmp_path, "model.tflite", model.read_bytes())
    assert words in says(browser, tmp_path, copy)


def test_a_missing_sample_is_told_and_the_rest_works(browser, root, tmp_path):
    copy = broken_page(root, tmp_path, "samples/2.jpg", None)
    with served(tmp_path) as host, Visit(browser, f"{host}/{copy.name}") as visit:
        visit.open()
        visit.page.click("#sample-list li:nth-child(2) button")
        assert "missing on this server" in visit.error()
        visit.page.click("#sample-list li:nth-child(3) button")
        visit.page.wait_for_selector("#error", state="hidden")


def test_a_page_opened_as_a_file_says_how_to_serve_it(browser, root):
    with Visit(browser, (root / PLACE).as_uri()) as visit:
        visit.page.goto(f"{(root / PLACE).as_uri()}/index.html")
        assert "python -m http.server" in visit.error()


def test_servers_that_unpack_the_engine_on_the_way_are_fine(browser, root, tmp_path):
    packed = (root / PLACE / "litert.wasm.gz").read_bytes()
    copy = broken_page(root, tmp_path, "litert.wasm.gz", gzip.decompress(packed))
    settings = json.loads((copy / site.SETTINGS).read_text())
    assert settings["samples"]
    with served(tmp_path) as host, Visit(browser, f"{host}/{copy.name}") as visit:
        assert visit.open() == "ready"
