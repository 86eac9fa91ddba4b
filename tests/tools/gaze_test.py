"""How far a head's predicted azimuth follows its gaze: the slope, its interval, the command."""

import json

import numpy as np
import pytest
import tiny
from in_process import run_command

from ssv_tf import config, viewpoint
from ssv_tf.base import files
from ssv_tf.data.turntable_heads import collection
from ssv_tf.evaluation import calibration
from ssv_tf.training import networks, run_folder
from tools import gaze


@pytest.fixture(scope="module")
def probed():
    """The Pose of the probes of three heads."""
    return gaze.render_probes(3, 16)[1]


def _fake(slope, pose):
    """A predictor that follows the gaze by `slope`, whatever the pictures."""
    azimuth = pose.angles_deg[:, 0] + slope * pose.gaze_deg[:, 0]
    return lambda images: azimuth


@pytest.mark.parametrize("slope", [0.3, -0.2, 0.0])
def test_slope_of_a_predictor_that_follows_the_gaze_is_found(slope, probed):
    result = gaze.measure(_fake(slope, probed), 3, 16)
    network = result["network"]
    assert network["slope"] == pytest.approx(slope, abs=1e-6)
    assert network["slope_interval_95"] == pytest.approx([slope, slope], abs=1e-6)
    assert network["median_error_deg"] == pytest.approx(abs(slope) * 15, abs=1e-4)
    by_gaze = [abs(slope * yaw) for yaw in gaze.GAZE_YAWS_DEG]
    assert network["median_error_deg_by_gaze"] == pytest.approx(by_gaze, abs=1e-4)
    constant = result["always_0"]
    assert constant["slope"] == 0 and constant["slope_interval_95"] == [0, 0]
    true = np.abs(probed.angles_deg[:: len(gaze.GAZE_YAWS_DEG), 0])
    assert constant["median_error_deg"] == pytest.approx(np.median(true), abs=1e-4)


def test_slope_is_that_of_all_pictures_with_an_offset_for_each_head():
    random = np.random.default_rng(1)
    predicted = random.normal(0, 20, (7, 5))
    yaws = np.array(gaze.GAZE_YAWS_DEG)
    design = np.hstack([np.tile(yaws, 7)[:, None], np.repeat(np.eye(7), 5, axis=0)])
    expected = np.linalg.lstsq(design, predicted.ravel(), rcond=None)[0][0]
    assert gaze.slope_per_head(predicted, yaws).mean() == pytest.approx(expected)
    around = viewpoint.wrap_deg(predicted + 175)
    assert gaze.slope_per_head(around, yaws).mean() == pytest.approx(expected)


def test_interval_holds_the_slope_and_narrows_with_more_heads():
    random = np.random.default_rng(2)
    yaws = np.array(gaze.GAZE_YAWS_DEG)
    widths = []
    for heads in (20, 320):
        true = np.repeat(random.uniform(-60, 60, (heads, 1)), 5, axis=1)
        judged = gaze.judge(true + 0.3 * yaws + random.normal(0, 5, true.shape), true, yaws)
        low, high = judged["median_error_deg_interval_95"]
        assert low < judged["median_error_deg"] < high
        low, high = judged["slope_interval_95"]
        assert low < 0.3 < high
        widths.append(high - low)
    # 5 degrees of noise over yaws of 47 degrees in all: 1.96 * 2 * 5 / 47.4 / root of the heads.
    assert widths[1] == pytest.approx(0.413 / np.sqrt(320), rel=0.25)
    assert widths[0] > 2 * widths[1]


def test_probes_of_a_head_share_all_but_the_gaze_yaw():
    images, pose = gaze.render_probes(3, 16, gaze_yaws_deg=(-30, 30))
    assert images.shape == (6, 16, 16, 3)
    assert np.array_equal(pose.angles_deg[::2], pose.angles_deg[1::2])
    assert np.array_equal(pose.gaze_deg[::2, 1], pose.gaze_deg[1::2, 1])
    assert pose.gaze_deg[:, 0].tolist() == [-30, 30] * 3
    unseen, _ = collection.render_range(range(3), 16, "train")
    assert np.abs(images[::2].astype(int) - unseen).mean() > 10


@pytest.fixture(scope="module")
def heads_run(tmp_path_factory):
    options = config.Options.of(
        **tiny.NETWORKS, azimuth_range_deg=60.0, tilt_range_deg=10.0, data="photos"
    )
    folder = tmp_path_factory.mktemp("runs") / "heads"
    files.write_atomically(folder / "options.json", options.to_json())
    run_folder.save_models(folder / "models", *networks.build_networks(options))
    return folder


def test_gaze_command_on_a_run_without_and_with_a_calibration(
    heads_run, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(gaze, "_CALIBRATE_ON", 30)
    out = tmp_path / "gaze.json"
    words = [f"--run={heads_run}", "--pictures=4", "--resolution=32"]
    assert run_command(gaze, *words, f"--json={out}") == 0
    result = json.loads(out.read_text())
    assert result["heads"] == 4 and result["calibrated_on"] == 30
    assert result["gaze_yaws_deg"] == list(gaze.GAZE_YAWS_DEG)
    low, high = result["network"]["slope_interval_95"]
    assert low <= result["network"]["slope"] <= high
    assert "degrees per degree of gaze" in capsys.readouterr().out
    assert run_command(gaze, *words, f"--json={out}") == 2
    assert "--overwrite" in capsys.readouterr().err
    fixed = calibration.Calibration((0.0, 1.0, 1.0), (12.0, 0.0, 0.0), ("linear",) * 3, pictures=7)
    fixed.save(heads_run / calibration.FILE_NAME)
    assert run_command(gaze, *words, f"--json={out}", "--overwrite") == 0
    result = json.loads(out.read_text())
    assert result["calibrated_on"] == 7 and result["network"]["slope"] == pytest.approx(0)
    true = gaze.render_probes(4, 16)[1].angles_deg[:, 0]
    expected = np.median(np.abs(true - 12))
    assert result["network"]["median_error_deg"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["--pictures=5"], 2, "--run"),
        (["--run=absent"], 1, "no such run folder: absent"),
        (["--run=absent", "surplus"], 2, "surplus"),
        (["--run=absent", "--pictures=1"], 2, "pictures"),
    ],
)
def test_gaze_mistakes_get_one_line(words, code, said, capsys):
    assert run_command(gaze, *words) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and said in lines[0]
