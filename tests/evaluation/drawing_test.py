"""Axes point where the convention says, and plots are pictures."""

import io

import numpy as np
import pytest
from PIL import Image

from ssv_tf.evaluation import drawing, metrics, plots

NOSE, LEFT, UP = range(3)


@pytest.mark.parametrize(
    "angles, axis, wanted",
    [
        ([0, 0, 0], NOSE, [0, 0, 1]),
        ([0, 0, 0], LEFT, [1, 0, 0]),
        ([0, 0, 0], UP, [0, 1, 0]),
        ([90, 0, 0], NOSE, [-1, 0, 0]),
        ([90, 0, 0], LEFT, [0, 0, 1]),
        ([180, 0, 0], NOSE, [0, 0, -1]),
        ([0, 90, 0], UP, [0, 0, 1]),
        ([0, 90, 0], NOSE, [0, -1, 0]),
        ([0, 0, 90], UP, [1, 0, 0]),
    ],
)
def test_axes_point_where_the_convention_says(angles, axis, wanted):
    np.testing.assert_allclose(drawing.axes_in_image(np.array(angles))[axis], wanted, atol=1e-12)


def test_the_ring_has_the_camera_at_the_side_that_it_sees():
    places = plots._on_ring(np.array([0.0, 90.0, 180.0, -90.0]), 2.0)
    # From above, with the front down the page, the object's own left lies right.
    np.testing.assert_allclose(places, [[0, -2], [2, 0], [0, 2], [-2, 0]], atol=1e-12)


def _centre_of(image, colour):
    pixels = np.asarray(image).astype(int)
    rows, columns = np.nonzero(np.abs(pixels - colour).sum(axis=-1) < 30)
    assert len(rows) > 20
    return columns.mean() - image.width / 2, rows.mean() - image.height / 2


def test_the_red_nose_is_drawn_to_the_left_at_90_and_up_is_drawn_upwards():
    image = drawing.draw_axes(np.full((60, 80, 3), 128, np.uint8), [90, 10, 0], (320, 640))
    x, _ = _centre_of(image, drawing.AXES[NOSE][2])
    assert x < -30
    _, y = _centre_of(image, drawing.AXES[UP][2])
    assert y < -30


@pytest.mark.parametrize(
    "shape, size", [((32, 32), (320, 320)), ((500, 2000), (640, 160)), ((1, 9), (320, 36))]
)
def test_any_shape_is_brought_to_a_comfortable_size(shape, size):
    picture = np.zeros((*shape, 3), np.uint8)
    assert drawing.draw_axes(picture, [10, 20, 30], (320, 640)).size == size
    drawn = drawing.draw_viewpoint(picture, [10, 20, 30])
    assert drawn.height == size[1] + 78 and drawn.width >= size[0]


@pytest.mark.parametrize(
    "angles, lines",
    [
        ([88, 12, 0.2], ["azimuth 88° (nose left)", "elevation 12° (camera above)",
                         "tilt 0° (upright)"]),
        ([-179, -5, -3], ["azimuth -179° (rear)", "elevation -5° (camera below)",
                          "tilt -3° (anticlockwise)"]),
        ([-45, 0, 4], ["azimuth -45° (front, nose right)", "elevation 0° (level)",
                       "tilt 4° (clockwise)"]),
        ([130, 1, 1], ["azimuth 130° (rear, nose left)", "elevation 1° (camera above)",
                       "tilt 1° (clockwise)"]),
        ([-0.4, -0.4, -0.4], ["azimuth 0° (front)", "elevation 0° (level)",
                              "tilt 0° (upright)"]),
    ],
)  # fmt: skip
def test_words_say_the_angles(angles, lines):
    assert drawing.words(np.array(angles)) == lines


def _is_png(data):
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        pixels = np.asarray(image.convert("L"))
    return pixels.shape[1] >= 400 and pixels.std() > 5


def test_every_plot_is_a_picture_even_of_one_picture():
    random = np.random.default_rng(0)
    for count in (1, 50):
        true = random.uniform((-180, 0, -5), (180, 20, 5), (count, 3))
        predicted = true + random.normal(0, 10, (count, 3))
        circle = predicted[:, 0], true[:, 0]
        assert _is_png(plots.azimuth_scatter(*circle))
        assert _is_png(plots.azimuth_histograms(*circle))
        assert _is_png(plots.bin_errors(metrics.azimuth_bins(*circle)))
        assert _is_png(plots.confusion(metrics.confusion(*circle)))
        assert _is_png(plots.error_histograms(metrics.error_deg(predicted, true)))


def test_the_training_curve_takes_scores_and_losses_and_nothing_else():
    records = [
        {"step": 50, "kind": "train", "v_viewpoint": 1.0, "s_adversarial": float("nan")},
        {"step": 100, "kind": "train", "v_viewpoint": 0.5, "seconds_per_step": 0.2},
        {"step": 100, "kind": "score", "azimuth_median_deg": 80.0, "azimuth_within_30": 0.2},
        {"kind": "train", "v_viewpoint": 0.1},
    ]
    losses = plots._series(records, "train", lambda name: name.startswith(("v_", "s_")))
    assert losses == {"v_viewpoint": [(50, 1.0), (100, 0.5)]}
    assert _is_png(plots.training_curve(records))
    assert plots.training_curve([]) is None
    assert plots.training_curve([{"step": 1, "note": "x"}]) is None


def test_a_contact_sheet_goes_by_azimuth_and_holds_so_many():
    few = drawing.on_sheet(np.array([50.0, -170.0, 3.0]))
    assert few.tolist() == [1, 2, 0]
    many = drawing.on_sheet(np.linspace(-180, 180, 1000)[::-1])
    assert len(many) == drawing.MOST_ON_SHEET and many[0] == 999 and many[-1] == 0
    assert (np.diff(many) < 0).all()
    colours = [(9 * i, 100, 100) for i in range(11)]
    sheet = drawing.contact_sheet(Image.new("RGB", (200, 230), colour) for colour in colours)
    assert sheet.size == (8 * 200, 2 * 230)
    assert sheet.getpixel((2 * 200 + 5, 230 + 5)) == colours[10]
    assert sheet.getpixel((3 * 200 + 5, 230 + 5)) == (255, 255, 255)
    with pytest.raises(ValueError, match="needs a picture"):
        drawing.contact_sheet([])
