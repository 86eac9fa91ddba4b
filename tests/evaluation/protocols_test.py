"""The published measures on hand-made numbers, and evaluate --protocol from flags to JSON."""

import json
from pathlib import Path

import dummy_sets
import numpy as np
import pytest
import tensorflow_datasets as tfds
from in_process import run_command
from PIL import Image
from predictions import prediction_of

from ssv_tf import config, evaluate
from ssv_tf.base.errors import UserError
from ssv_tf.data import conventions, sources
from ssv_tf.data.collection import PictureSet
from ssv_tf.evaluation import labelled, metrics, protocols, scoring
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.training import run_folder


def test_head_pose_errors_by_hand():
    true = np.array([[10.0, -20, 5], [-30, 60, 0], [0, 100, 0], [120, 0, 0]])
    predicted = true + np.array([[1, -2, 3], [-3, 6, 1], [50, 50, 50], [50, 50, 50]])
    filtered = metrics.head_pose(predicted, true, largest_deg=99)
    assert filtered == {
        "pictures": 2,
        "left_out": 2,
        "mae_yaw_deg": 4.0,
        "mae_pitch_deg": 2.0,
        "mae_roll_deg": 2.0,
        "mae_deg": pytest.approx(8 / 3),
    }
    assert metrics.head_pose(predicted, true)["mae_yaw_deg"] == 27.0
    on_the_edge = metrics.head_pose(np.zeros((1, 3)), np.array([[0, -99.0, 0]]), largest_deg=99)
    assert on_the_edge["pictures"] == 1 and on_the_edge["mae_yaw_deg"] == 99.0


def test_head_pose_errors_go_the_shorter_way_round():
    assert metrics.head_pose([[0, 0, 175.0]], [[0, 0, -175.0]])["mae_roll_deg"] == 10.0


def test_head_pose_without_pictures_is_an_error():
    with pytest.raises(UserError, match="no picture"):
        metrics.head_pose(np.zeros((1, 3)), np.full((1, 3), 100.0), largest_deg=99)


def test_pascal3d_by_hand():
    true = np.array([[170.0, 0, 0], [0, 0, 0], [10, 0, 0], [90, 0, 0]])
    predicted = np.array([[-170.0, 0, 0], [29, 0, 0], [10, 0, 40], [-90, 0, 0]])
    assert metrics.pascal3d(predicted, true) == {
        "pictures": 4,
        "median_azimuth_error_deg": pytest.approx(24.5),  # of 20, 29, 0, 180
        "azimuth_acc_pi_6": 0.75,
        "median_rotation_error_deg": pytest.approx(34.5),  # of 20, 29, 40, 180
        "rotation_acc_pi_6": 0.5,
    }


def test_thirty_degrees_are_not_within_pi_6():
    found = metrics.pascal3d(np.array([[30.0, 0, 0]]), np.zeros((1, 3)))
    assert found["azimuth_acc_pi_6"] == 0.0


def test_rotation_error_is_that_of_the_matrices():
    random = np.random.default_rng(0)
    first, second = random.uniform(-80, 80, (2, 50, 3))
    between = conventions.rotation(first) @ np.swapaxes(conventions.rotation(second), -1, -2)
    cosine = (np.trace(between, axis1=-2, axis2=-1) - 1) / 2
    expected = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    np.testing.assert_allclose(metrics.rotation_error_deg(first, second), expected, atol=1e-6)
    # Seen from straight above, azimuth and tilt are one turn: what one gains, the other loses.
    assert metrics.rotation_error_deg([30, 90, 30], [0, 90, 60]) == pytest.approx(0, abs=1e-5)


def _pictures(count, seed=0):
    """Pictures whose first pixel says their number."""
    images = np.zeros((count, 4, 4, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    angles = np.random.default_rng(seed).uniform((-60, -30, -20), (60, 30, 20), (count, 3))
    return PictureSet([f"{i}.png" for i in range(count)], images, angles.astype(np.float32))


def _split(pictures, calibrate_on):
    return labelled.split_pictures(pictures, calibrate_on, 0, "here")


def _number_of(images):
    return images[:, 0, 0, 0].astype(int)


@pytest.mark.parametrize("name", ["biwi", "aflw2000", "pascal3d"])
def test_a_perfect_answer_has_no_error(name):
    pictures = _pictures(60)
    split = _split(pictures, 30)
    truth = protocols.truth_of_labels(name, [split.calibration, split.test])

    def predict(images):  # another sign and offset, which the calibration finds
        return prediction_of(pictures.angles_deg[_number_of(images)] * (-1, 1, 1) + (20, 3, 0))

    results = scoring.score_protocol(name, truth, predict, split, azimuth="linear")
    own = {"biwi": "fsanet", "aflw2000": "aflw2000", "pascal3d": "pascal3d"}[name]
    errors = {key: value for key, value in results[own].items() if "mae" in key or "error" in key}
    assert len(errors) >= 2 and max(errors.values()) < 0.05
    if name == "biwi":  # an axis-angle vector is no line of the Euler angles
        assert results["axis_angle"]["mae_deg"] > 0.5


def test_the_axis_angle_reading_is_calibrated_and_scored_on_its_own_numbers():
    pictures = _pictures(60)
    split = _split(pictures, 30)
    truth = protocols.truth_of_labels("biwi", [split.calibration, split.test])
    vectors = truth.angles_deg["axis_angle"]

    def predict(images):
        pitch, yaw, roll = np.stack([vectors[f"{i}.png"] for i in _number_of(images)]).T
        return prediction_of(np.stack([yaw / 2, -pitch + 7, roll], axis=-1))

    results = scoring.score_protocol("biwi", truth, predict, split, azimuth="linear")
    assert results["axis_angle"]["mae_deg"] < 1e-3 < 0.5 < results["fsanet"]["mae_deg"]


def test_pictures_that_were_turned_upright_are_turned_back():
    names = ["a", "b"]
    own = np.array([[0.0, 30, 25], [10, -20, -40]])  # pitch, yaw, roll of the pictures as they were
    viewpoints = conventions.from_pitch_yaw_roll(own)
    turned = {"a": -25.0, "b": 35.0}
    truth = protocols.Truth({"aflw2000": dict(zip(names, own, strict=True))}, turned)
    upright = viewpoints + np.array([[0, 0, -25.0], [0, 0, 35.0]])
    images = _pictures(2).images
    split = labelled.Split(None, PictureSet(names, images, None), upright, "")
    results = scoring.score_protocol(
        "aflw2000", truth, lambda _: prediction_of(upright), split, stored=Calibration.identity()
    )
    assert results["aflw2000"]["mae_deg"] == pytest.approx(0, abs=1e-4)


def test_sets_and_configurations_by_name():
    assert protocols.SETS["biwi"] == "biwi_kinect_head_pose"
    assert protocols.SETS["pascal3d"] == "pascal3d_plus/car"
    assert protocols.SETS["pascal3d/bus"] == "pascal3d_plus/bus"
    for chosen, name in protocols.SETS.items():
        assert chosen in protocols.PROTOCOLS[protocols.of_set(chosen)].sets
        assert name.partition("/")[0] in sources.PUBLISHED


class FakeRun:
    """A run whose V answers azimuth 10, elevation 0, tilt 0, whatever it sees."""

    preset, networks, training = None, "", "self-supervised"

    def __init__(self, path):
        self.path, self.options = (
            Path(path),
            config.Options.of(azimuth_range_deg=80.0, resolution=32),
        )

    def analysis(self):
        return lambda images: prediction_of(np.tile([10.0, 0, 0], (len(images), 1)))

    def calibration(self):
        return Calibration.identity()


@pytest.fixture
def run(tmp_path, monkeypatch):
    fake = FakeRun(tmp_path)
    monkeypatch.setattr(run_folder, "load", lambda path, preset=None: fake)
    monkeypatch.setattr(labelled, "predictor", lambda network: network)
    return fake


def _prepare(monkeypatch, tmp_path, write):
    """Every set is built from a dummy folder."""
    manual = tmp_path / "manual"
    manual.mkdir()
    write(manual)
    find = sources.find_builder

    def prepared(name):
        builder = find(name, data_dir=str(tmp_path / "tfds"))
        settings = tfds.download.DownloadConfig(manual_dir=manual)
        builder.download_and_prepare(download_config=settings)
        return builder

    monkeypatch.setattr(sources, "_prepared_builder", prepared)


def test_evaluate_aflw2000_on_its_set(run, tmp_path, monkeypatch, capsys):
    _prepare(monkeypatch, tmp_path, dummy_sets.aflw2000)
    out = tmp_path / "score.json"
    words = ("--run=x", "--protocol=aflw2000", "--calibrate_on=0", f"--json={out}")
    assert run_command(evaluate, *words) == 0
    result = json.loads(out.read_text())
    assert result["protocol"]["name"] == "aflw2000" and result["pictures"] == 3
    numbers = result["protocol"]["aflw2000"]
    # Yaw 30 and 0 against 10; the third face has yaw 120 and does not count.
    assert (numbers["pictures"], numbers["left_out"]) == (2, 1)
    assert numbers["mae_yaw_deg"] == pytest.approx(15, abs=1e-3)
    assert numbers["mae_pitch_deg"] == pytest.approx(0, abs=1e-3)
    assert numbers["mae_roll_deg"] == pytest.approx(10, abs=1e-3)
    assert "mae_yaw_deg 15.00" in capsys.readouterr().out


def test_evaluate_biwi_on_its_set_under_both_readings(run, tmp_path, monkeypatch):
    _prepare(monkeypatch, tmp_path, dummy_sets.biwi)
    out = tmp_path / "score.json"
    words = ("--run=x", "--protocol=biwi", "--calibrate_on=0", f"--json={out}")
    assert run_command(evaluate, *words) == 0
    protocol = json.loads(out.read_text())["protocol"]
    for name in ("fsanet", "axis_angle"):  # yaw 0 and 30
        assert protocol[name]["mae_yaw_deg"] == pytest.approx(15, abs=1e-3)


def test_evaluate_pascal3d_on_a_folder(run, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["filename,azimuth_deg,elevation_deg,tilt_deg"]
    for i, azimuth in enumerate((0, 20, 90)):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(folder / f"{i}.png")
        lines.append(f"{i}.png,{azimuth},0,0")
    table, out = tmp_path / "labels.csv", tmp_path / "score.json"
    table.write_text("\n".join(lines) + "\n")
    words = (f"--data_dir={folder}", f"--labels={table}", "--calibrate_on=0", f"--json={out}")
    assert run_command(evaluate, "--run=x", "--protocol=pascal3d", *words) == 0
    numbers = json.loads(out.read_text())["protocol"]["pascal3d"]
    assert numbers["median_azimuth_error_deg"] == pytest.approx(10, abs=1e-4)
    assert numbers["azimuth_acc_pi_6"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "words, code, reason",
    [
        (["--protocol=lsp"], 2, "protocol"),
        (["--protocol=biwi/bus"], 2, "protocol"),
    ],
)
def test_wrong_protocols_are_one_line(run, capsys, words, code, reason):
    assert run_command(evaluate, "--run=x", *words) == code
    assert reason in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_set_that_is_not_there_says_what_to_do(run, tmp_path, monkeypatch, capsys):
    find = sources.find_builder
    monkeypatch.setattr(sources, "find_builder", lambda name: find(name, data_dir=str(tmp_path)))
    assert run_command(evaluate, "--run=x", "--protocol=biwi") == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and "kinect_head_pose_db.tgz" in error
