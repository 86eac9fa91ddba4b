"""The weights that come with the package: small, private, documented, and as good as their card."""

import json
import re

import numpy as np
import pytest

from ssv_tf import viewpoint
from ssv_tf.base import presets
from ssv_tf.evaluation import labelled, metrics
from ssv_tf.models import inference
from ssv_tf.training import run_folder

PRESETS = presets.names()
LARGEST = 26_000_000  # bytes of all files of a preset, its network twice


def test_there_are_the_promised_presets():
    promised = {
        "buses", "cars", "cars_cutouts", "cars_phone", "cars_photos", "cars_photos_phone", "faces",
        "faces_phone",
    }  # fmt: skip
    assert promised <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_small_complete_and_names_nobodys_folders(name):
    run = run_folder.load(preset=name)
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < LARGEST
    assert run.calibration() is not None and run.preset == name
    for path in files:
        if path.suffix in (".json", ".md"):
            assert not re.search(r'(^|[\s"=])/\w+/', path.read_text()), path
    assert not run.options.pictures.supervised


@pytest.mark.parametrize("name", PRESETS)
def test_the_card_says_the_score_and_the_licences(name):
    folder = run_folder.load(preset=name).path
    card, score = (
        (folder / "README.md").read_text(),
        json.loads((folder / "score.json").read_text()),
    )
    for heading in ("Training data", "Licence", "Score", "Limits"):
        assert f"\n## {heading}\n" in card
    assert f"| {score['azimuth']['median_error_deg']:.1f} deg |" in card
    assert f"| {score['azimuth']['within_30']:.2f} |" in card
    assert score["azimuth"]["median_error_deg"] < score["azimuth"]["baseline"]["median_error_deg"]


@pytest.mark.parametrize("name", [n for n in PRESETS if not run_folder.load(preset=n).student])
def test_its_synthesis_draws(name):
    synthesis = run_folder.load(preset=name).synthesis()
    code = np.zeros((2, synthesis.code_size), np.float32)
    angles = np.radians([[0, 5, 0], [90, 5, 0]]).astype(np.float32)
    front, side = np.asarray(synthesis([code, code, angles]))
    assert front.min() > -2 and front.max() < 2 and np.abs(front - side).mean() > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cars", "cars_phone"])
def test_cars_score_what_the_card_says(name):
    run = run_folder.load(preset=name)
    said = json.loads((run.path / "score.json").read_text())["azimuth"]
    cars = labelled.embedded_pictures(run.options, "test")
    some = slice(0, 300)
    raw = labelled.predictor(run.analysis())(cars.images[some])
    predicted = inference.decode(raw, run.calibration()).degrees
    error = metrics.error_deg(predicted, labelled.angles_deg(cars)[some])[:, 0]
    assert abs(np.median(error) - said["median_error_deg"]) < 1.5
    assert abs(np.mean(error < 30) - said["within_30"]) < 0.06
    assert np.all(np.abs(viewpoint.wrap_deg(predicted[:, 0])) <= 180)
