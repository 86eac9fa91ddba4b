"""Cut-outs on black: what is background, and what is put there."""

import numpy as np

from ssv_tf.data import cutouts


def _ring(side=40):
    """A grey disc with a black hole, on black: the hole is the object's own."""
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    radius = np.hypot(x, y)
    picture = np.zeros((side, side, 3), np.uint8)
    picture[(radius < 15) & (radius > 6)] = 120
    return picture, radius


def test_background_is_black_that_reaches_the_border():
    picture, radius = _ring()
    np.testing.assert_array_equal(cutouts.background(picture), radius >= 15)


def test_background_goes_round_corners():
    picture = np.full((30, 30, 3), 200, np.uint8)
    picture[:20, 4:7] = picture[17:20, 4:25] = picture[5:20, 22:25] = 0  # a hook from the border
    found = cutouts.background(picture)
    assert found[6, 23] and found[18, 15] and found[0, 5]
    assert not found[10, 15]


def test_a_photo_is_no_cut_out():
    rng = np.random.default_rng(0)
    photo = rng.integers(40, 255, (30, 50, 3), dtype=np.uint8)
    photo[12:14, 20:30] = 0
    photo[0, :10] = 0
    assert not cutouts.background(photo).any()


def test_layer_keeps_proportions_and_box_finds_the_object():
    picture = np.zeros((20, 60, 3), np.uint8)
    picture[5:15, 12:48] = 220
    layer = cutouts.layer(picture, 120)
    assert layer.shape == (120, 120, 4)
    top, left, bottom, right = cutouts.box(layer[None])[0]
    assert abs(top - 50) <= 1 and abs(bottom - 70) <= 1
    assert abs(left - 24) <= 1 and abs(right - 96) <= 1
    assert layer[60, 60, 3] == 255 and layer[0, 0, 3] == 0


def test_box_of_nothing_is_the_whole_square():
    assert cutouts.box(np.zeros((1, 16, 16, 4), np.uint8)).tolist() == [[0, 0, 16, 16]]


def test_over_shows_what_is_behind_the_transparent_part_alone():
    layers = np.zeros((1, 2, 2, 4), np.uint8)
    layers[0, 0] = (10, 20, 30, 255)
    shown = cutouts.over(layers, np.full((1, 2, 2, 3), 77, np.uint8))
    assert (shown[0, 0] == (10, 20, 30)).all() and (shown[0, 1] == 77).all()


def test_windows_are_cut_to_the_picture_and_stretched():
    picture = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1).repeat(3, axis=3)
    inside = cutouts.windows(picture, np.array([[2.0, 4.0, 6.0, 8.0]]), 4)
    np.testing.assert_array_equal(inside[0], picture[0, 2:6, 4:8])
    beyond = cutouts.windows(picture, np.array([[-5.0, -5.0, 20.0, 20.0]]), 8)
    np.testing.assert_array_equal(beyond, picture)
