"""The embedded cars as a folder: pictures, angles and light are what was asked for."""

import numpy as np
import pytest
from in_process import run_command
from PIL import Image

from ssv_tf.data import labels, write_cars
from ssv_tf.data.turntable_cars.collection import render_collection


def _read(folder, index):
    return np.asarray(Image.open(folder / f"car-{index:05d}.png"))


def test_day_is_the_embedded_set_with_its_angles(tmp_path, capsys):
    out = tmp_path / "cars"
    words = ["--count=5", "--resolution=32", "--split=test"]
    assert run_command(write_cars, out, *words) == 0
    images, angles, _ = render_collection(5, 32, "test")
    for index in range(5):
        np.testing.assert_array_equal(_read(out, index), images[index])
    table = labels.read_labels(out / "labels.csv")
    given = [table[f"car-{i:05d}.png"] for i in range(5)]
    np.testing.assert_allclose(given, angles, atol=1e-3)
    assert "5 cars of 32 px, test, day" in capsys.readouterr().out


def test_night_is_the_same_cars_in_little_blue_light(tmp_path):
    for light in write_cars.LIGHTS:
        words = ["--count=8", "--resolution=32", f"--light={light}"]
        assert run_command(write_cars, tmp_path / light, *words) == 0
    day, night = (
        np.stack([_read(tmp_path / light, i) for i in range(8)]).astype(float)
        for light in write_cars.LIGHTS
    )
    assert night.mean() < 0.6 * day.mean()
    assert (
        night[..., 2].mean() / night[..., 0].mean() > 1.2 * day[..., 2].mean() / day[..., 0].mean()
    )
    likeness = [np.corrcoef(d.ravel(), n.ravel())[0, 1] for d, n in zip(day, night, strict=True)]
    assert np.median(likeness) > 0.6
    assert (tmp_path / "day" / "labels.csv").read_text() == (
        tmp_path / "night" / "labels.csv"
    ).read_text()


def test_a_folder_in_use_is_kept_and_only_cars_are_replaced(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("keep")
    (tmp_path / "car-00099.png").write_text("old")
    words = ["--count=1", "--resolution=16"]
    assert run_command(write_cars, tmp_path, *words) == 2
    assert "is not empty; give --overwrite to replace its cars" in capsys.readouterr().err
    assert run_command(write_cars, tmp_path, *words, "--overwrite") == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["car-00000.png", "labels.csv", "mine.txt"]


@pytest.mark.parametrize("words", [[], ["a", "b"]])
def test_one_folder_is_named(words, capsys):
    assert run_command(write_cars, *words) == 2
    assert "name one folder to write" in capsys.readouterr().err
