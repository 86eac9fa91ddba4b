"""predict from words on the command line to tables and drawings."""

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from evaluate_test import FakeRun, _picture
from in_process import run_command
from PIL import Image
from predictions import prediction_of

from ssv_tf import predict
from ssv_tf.api import results
from ssv_tf.data import folder, inputs
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.models import inference
from ssv_tf.training import run_folder


def _raw(network, images):
    """Red tells the azimuth."""
    red = images.reshape(len(images), -1, 3).mean(axis=1)[:, 0]
    own = np.stack([red / 250 * 360, np.full(len(red), -0.001), np.ones(len(red))], axis=-1)
    return prediction_of(own)


@pytest.fixture
def run(tmp_path, monkeypatch):
    fake = FakeRun(tmp_path / "run")
    fake.path.mkdir()
    Calibration((-1.0, 1.0, 2.0), (10.0, 0.0, 0.0)).save(fake.path / "calibration.json")
    monkeypatch.setattr(run_folder, "load", lambda path, preset=None: fake)
    monkeypatch.setattr(inference, "predict", _raw)
    return fake


@pytest.fixture
def photos(tmp_path):
    place = tmp_path / "photos"
    (place / "sub").mkdir(parents=True)
    for name, azimuth in (("a.png", 0), ("b.jpg", 90), ("sub/a.png", 180)):
        Image.fromarray(_picture(azimuth, 10, 48)).save(place / name)
    (place / "bad.png").write_bytes(b"")
    return place


def _rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_a_folder_becomes_csv_on_stdout_with_two_decimals(run, photos, capsys):
    assert run_command(predict, "--run=x", photos) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == "filename,azimuth_deg,elevation_deg,tilt_deg"
    rows = _rows(shown.out)
    names = [str(photos / name) for name in ("a.png", "b.jpg", "sub/a.png")]
    assert [row["filename"] for row in rows] == names
    assert rows[0]["azimuth_deg"] == "10.00"
    azimuths = [float(row["azimuth_deg"]) for row in rows]
    np.testing.assert_allclose(azimuths, [10, -80, -170], atol=3)
    assert {(row["elevation_deg"], row["tilt_deg"]) for row in rows} == {("0.00", "2.00")}
    assert "bad.png: empty file" in shown.err
    assert "1 skipped, 3 predicted" in shown.err


def test_json_and_csv_files_agree_and_are_not_overwritten(run, photos, tmp_path, capsys):
    table, data = tmp_path / "o" / "t.csv", tmp_path / "o" / "t.json"
    assert run_command(predict, "--run=x", f"--out={table}", photos) == 0
    assert capsys.readouterr().out == f"{table}\n"
    assert run_command(predict, "--run=x", f"--out={data}", photos) == 0
    for row, entry in zip(_rows(table.read_text()), json.loads(data.read_text()), strict=True):
        assert list(entry) == list(results.COLUMNS)
        assert row["filename"] == entry["filename"]
        assert float(row["azimuth_deg"]) == entry["azimuth_deg"]
    before = table.read_text()
    assert run_command(predict, "--run=x", f"--out={table}", photos / "a.png") == 2
    assert table.read_text() == before
    assert run_command(predict, "--run=x", f"--out={table}", "--overwrite", photos / "a.png") == 0
    assert len(_rows(table.read_text())) == 1


def test_files_and_globs_are_taken_once_in_order(run, photos, capsys):
    words = (photos / "b.jpg", photos / "*.png", f"{photos}/**/a.png", photos / "none*.png")
    assert run_command(predict, "--run=x", *words) == 0
    shown = capsys.readouterr()
    names = [row["filename"].removeprefix(f"{photos}/") for row in _rows(shown.out)]
    assert names == ["b.jpg", "a.png", "sub/a.png"]
    assert "none*.png: no such file" in shown.err and "2 skipped, 3 predicted" in shown.err


def test_a_file_whose_name_looks_like_a_glob_is_found(run, photos, capsys):
    odd = photos / 'a[1], "b".png'
    Image.fromarray(_picture(0, 0)).save(odd)
    assert run_command(predict, "--run=x", odd) == 0
    assert _rows(capsys.readouterr().out)[0]["filename"] == str(odd)


def test_no_readable_picture_is_exit_code_1(run, photos, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    words = (photos / "bad.png", tmp_path / "missing.jpg", tmp_path / "empty")
    assert run_command(predict, "--run=x", *words) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "error: none of the 3 pictures could be read" in shown.err
    assert "empty: no picture there" in shown.err


@pytest.mark.parametrize(
    "words, reason",
    [
        ([], "name at least one picture"),
        (["--out=table.txt", "a.png"], "must end in .csv or .json"),
        (["--no_such_flag", "a.png"], "no_such_flag"),
    ],
)
def test_wrong_flags_are_exit_code_2(run, capsys, words, reason):
    assert run_command(predict, "--run=x", *words) == 2
    assert reason in capsys.readouterr().err


def test_an_uncalibrated_run_is_warned_about(run, photos, capsys):
    (run.path / "calibration.json").unlink()
    assert run_command(predict, "--run=x", photos / "b.jpg") == 0
    shown = capsys.readouterr()
    assert shown.err.startswith("warning: ") and "no calibration.json" in shown.err
    assert float(_rows(shown.out)[0]["azimuth_deg"]) == pytest.approx(90, abs=3)


def test_pictures_are_drawn_one_each_and_never_over_others(run, photos, tmp_path, capsys):
    out = tmp_path / "drawn"
    assert run_command(predict, "--run=x", f"--draw_dir={out}", photos) == 0
    names = sorted(path.name for path in out.iterdir())
    assert names == ["a_axes.png", "a_axes_2.png", "b_axes.png", "contact_sheet.png"]
    with Image.open(out / "contact_sheet.png") as sheet:
        assert sheet.size == (3 * 200, 230)
        axes = np.asarray(sheet.convert("RGB")).astype(int)
    np.testing.assert_allclose(axes[60, [30, 230, 430], 0], [125, 62, 0], atol=3)  # by azimuth
    with Image.open(out / "b_axes.png") as image:
        assert image.width == 320 and image.height > 320
    stamp = (out / "a_axes.png").read_bytes()
    assert run_command(predict, "--run=x", f"--draw_dir={out}", photos / "b.jpg") == 2
    assert "b_axes.png exists" in capsys.readouterr().err
    assert (out / "a_axes.png").read_bytes() == stamp
    (out / "b_axes.png").unlink()
    assert run_command(predict, "--run=x", f"--draw_dir={out}", photos / "b.jpg") == 0
    assert "1 pictures drawn, contact_sheet_2.png" in capsys.readouterr().err


def test_many_files_are_read_a_few_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_AT_ONCE", 4)
    items = [inputs.Item(str(i), tmp_path / str(i)) for i in range(10)]

    def square(item):
        if item.name == "3":
            raise folder.BadPicture("broken")
        return np.full((2, 2, 3), int(item.name), np.uint8)

    ledger = inputs.Ledger()
    parts = list(inputs.read_squares(items, square, ledger))
    assert [len(images) for _, images in parts] == [3, 4, 2]
    assert ledger.skipped == [("3", "broken")]
    found = [(item.name, image[0, 0, 0]) for good, images in parts
             for item, image in zip(good, images, strict=True)]  # fmt: skip
    assert found == [(str(i), i) for i in range(10) if i != 3]


def test_the_next_files_are_read_while_the_caller_works_and_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_AT_ONCE", 2)
    items = [inputs.Item(str(i), tmp_path / str(i)) for i in range(10)]
    asked = []

    def square(item):
        asked.append(item.name)
        return np.zeros((2, 2, 3), np.uint8)

    parts = inputs.read_squares(items, square, inputs.Ledger())
    next(parts)
    parts.close()
    assert {"0", "1"} <= set(asked) <= {"0", "1", "2", "3"}


def test_two_pictures_of_one_open_file_are_read_one_after_the_other(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as lazy:
        items = [inputs.Item(str(i), lazy) for i in range(8)]
        parts = list(inputs.read_squares(items, lambda i: inputs.read(i.source), inputs.Ledger()))
    assert all(np.array_equal(image, noise) for _, images in parts for image in images)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words, code, reason",
    [
        (["ssv_tf.predict", "--run=/no/such/run", __file__], 1, "no such run folder"),
        (["ssv_tf.evaluate"], 2, "give either --run=FOLDER or --preset=NAME"),
    ],
)
def test_the_real_command_ends_with_one_line_and_its_code(words, code, reason):
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stdout == ""
    assert reason in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
