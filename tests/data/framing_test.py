"""One place for squares and for [-1, 1]; `folder_test` holds what a square looks like."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ssv_tf import config
from ssv_tf.base.errors import UserError
from ssv_tf.data import framing
from ssv_tf.data.framing import Framing
from ssv_tf.data.reading import read_picture


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"resolution": 0}, "resolution is a whole number from 1, not 0"),
        ({"resolution": 32.5}, "not 32.5"),
        ({"resolution": "32"}, "not '32'"),
        ({"resolution": True}, "not True"),
        ({"crop": "tight"}, "crop is one of longest, height, not 'tight'"),
        ({"padding": "zero"}, "padding is one of constant, edge, reflect, blur, not 'zero'"),
        ({"canvas_heights": 0.0}, "canvas_heights is a positive number, not 0.0"),
        ({"canvas_heights": float("nan")}, "not nan"),
        ({"canvas_heights": None}, "not None"),
    ],
)
def test_a_wrong_value_is_named(wrong, words):
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        Framing(**{"resolution": 32, **wrong})


def test_it_survives_json_and_reads_the_options_of_a_run():
    own = Framing(64, "height", 3.0, "blur")
    assert Framing.from_dict(json.loads(json.dumps(own.to_dict()))) == own
    options = config.Options.of(resolution=64, crop="height", canvas_heights=3.0, padding="blur")
    assert options.framing == own
    assert Framing.from_dict(json.loads(options.to_json())) == own
    assert Framing.from_dict({"resolution": 16}) == Framing(16)
    with pytest.raises(UserError, match="needs a resolution"):
        Framing.from_dict({"crop": "height"})


def test_a_file_becomes_the_square_of_its_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (40, 90, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    own = Framing(16, "height", 2.0, "edge")
    square = own.read(tmp_path / "a.png")
    assert square.shape == own.shape == (16, 16, 3) and square.dtype == np.uint8
    np.testing.assert_array_equal(square, own.fit(picture))
    np.testing.assert_array_equal(own.read((tmp_path / "a.png").read_bytes()), square)


def test_every_pixel_comes_back_from_the_network_range():
    pixels = np.arange(256, dtype=np.uint8)
    images = framing.to_network(pixels)
    assert images.dtype == np.float32 and images[0] == -1.0 and images[-1] == 1.0
    np.testing.assert_array_equal(framing.to_uint8(images), pixels)
    np.testing.assert_array_equal(framing.to_uint8(np.array([-1.5, 1.5])), [0, 255])


def test_the_arithmetic_is_the_same_on_tensors():
    import tensorflow as tf

    pixels = np.arange(256, dtype=np.float32)
    images = framing.normalise(tf.constant(pixels))
    np.testing.assert_array_equal(images.numpy(), framing.to_network(pixels))
    np.testing.assert_allclose(framing.denormalise(images).numpy(), pixels, atol=1e-4)


def test_framing_needs_neither_keras_nor_tensorflow():
    code = "import sys, ssv_tf.data.framing; print({'keras', 'tensorflow'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@pytest.mark.parametrize("size", [(1000, 1000), (771, 1030), (449, 450), (192, 193)])
def test_a_large_jpeg_is_framed_as_the_whole_picture_is(size):
    framing = Framing(32)
    small = np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).save(content, "JPEG", quality=95)
    whole = read_picture(content.getvalue())
    assert np.abs(framing.read(content.getvalue()).astype(int) - framing.fit(whole)).mean() < 2


@pytest.mark.parametrize("framing", [Framing(8), Framing(8, "height", 2.4, "blur")])
@pytest.mark.parametrize("size", [(20, 30), (90, 50), (400, 300)])
def test_reading_is_fitting_what_was_read(framing, size):
    content = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(noise).save(content, "PNG")
    fitted = framing.fit(noise)
    np.testing.assert_array_equal(framing.read(content.getvalue()), fitted)
