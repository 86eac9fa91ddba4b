"""Scored pictures that trained or calibrated the model are counted and said, by what they hold."""

import dataclasses
import io
import shutil

import numpy as np
import pytest
from PIL import Image
from predictions import prediction_of

from ssv_tf.data.collection import PictureSet
from ssv_tf.evaluation import calibration, cards, labelled, metrics, overlap, scoring


@pytest.fixture
def folders(tmp_path):
    """Training pictures, and pictures to score of which two are copies of them."""
    training, scored = tmp_path / "training", tmp_path / "scored"
    random = np.random.default_rng(0)
    for place, count in ((training, 3), (scored, 4)):
        (place / "below").mkdir(parents=True)
        for number in range(count):
            picture = random.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(picture).save(place / "below" / f"{number}.bmp")  # all of one size
    shutil.copy(training / "below" / "0.bmp", scored / "renamed.bmp")
    shutil.copy(training / "below" / "1.bmp", scored / "below" / "1.bmp")
    return training, scored


def test_copies_of_training_files_are_counted_whatever_their_names(folders):
    training, scored = folders
    names = ["renamed.bmp", *(f"below/{number}.bmp" for number in range(4))]
    assert overlap.in_training(scored, names, training) == 2
    assert overlap.in_training(scored, names[2:3], training) == 1
    assert overlap.in_training(scored, [], training) == 0
    assert overlap.in_training(training, ["below/0.bmp", "below/2.bmp"], training) == 2
    assert overlap.in_training(scored, names, "turntable_cars") is None


def test_a_score_on_its_calibration_pictures_says_so():
    random = np.random.default_rng(1)
    angles = random.uniform(-180, 180, (40, 3)).astype(np.float32) * [1, 0.1, 0.05]
    images = random.integers(0, 256, (40, 4, 4, 3), np.uint8)
    pictures = PictureSet([str(i) for i in range(40)], images, angles.astype(np.float32))
    known = {image.tobytes(): angle for image, angle in zip(images, angles, strict=True)}

    def predict(given):
        return prediction_of(np.stack([known[image.tobytes()] for image in given]))

    fitted = calibration.fit(predict(images[:30]), angles[:30])
    fitted = dataclasses.replace(fitted, fitted_on=overlap.hashes(images[:30]))
    assert calibration.Calibration.from_json(fitted.to_json()).fitted_on == fitted.fitted_on
    test = pictures.subset(np.arange(20, 40))
    split = labelled.Split(None, test, angles, "", seen_in_training=3)
    result = scoring.evaluate(predict, split, stored=fitted).result
    counted = {"training": 3, "calibration": 10, "calibration_alike": 0}
    assert result["overlap"] == counted
    assert "3 of the 20 scored pictures were in the training folder" in result["doubts"]
    assert "10 of the 20 scored pictures were calibrated on" in result["doubts"]
    assert "fitted_on" not in result["calibration"]


def _photos(seeds, size=96):
    """Smooth pictures, each of its own, as photos are."""
    return [
        Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)).resize(
            (size, size), Image.Resampling.BICUBIC
        )
        for seed in seeds
    ]


def _recompressed(picture):
    buffer = io.BytesIO()
    darker = picture.resize((80, 80)).point(lambda level: 0.9 * level)
    darker.save(buffer, "JPEG", quality=60)
    return Image.open(buffer)


def _squares(pictures):
    return np.stack([np.asarray(picture.resize((64, 64))) for picture in pictures])


def test_another_copy_of_a_calibrated_picture_is_alike_and_another_picture_is_not():
    calibrated = overlap.hashes(_squares(_photos(range(20))))
    copies = overlap.hashes(_squares(map(_recompressed, _photos(range(5)))))
    others = overlap.hashes(_squares(_photos(range(20, 60))))
    assert overlap.count(copies, calibrated) == 0
    assert overlap.count_alike(copies, calibrated) == 5
    assert overlap.count_alike(calibrated[:3], calibrated) == 0  # those are the same, not alike
    assert overlap.count_alike(others, calibrated) == 0
    of_before = [one.split("-")[0] for one in calibrated]
    assert overlap.count(calibrated[:3], of_before) == 3
    assert overlap.count_alike(copies, of_before) is None
    result = {"pictures": 40, "overlap": {"calibration": 0, "calibration_alike": 5}}
    assert overlap.doubts(result) == [
        "5 of the 40 scored pictures look the same as one calibrated on, such as another copy of it"
    ]


@pytest.mark.parametrize(
    ("known", "said"),
    [
        ({"overlap": {"training": 0, "calibration": 0}}, "50 pictures that training never saw, "),
        ({"overlap": {"training": 7}}, "50 labelled pictures, 7 of which trained the model, "),
        ({"overlap": {"training": None}}, "labelled pictures (not known whether training saw"),
        ({}, "labelled pictures (not known whether training saw"),
        ({"data": "embedded cars"}, "50 pictures that training never saw, "),
        ({"overlap": {"training": 0, "calibration": 9}}, "; 9 of them calibrated it"),
    ],
)
def test_a_card_says_only_what_is_known_of_the_pictures(known, said):
    true = np.random.default_rng(0).uniform(-180, 180, (50, 3))
    score = {"calibrated_on": 30} | metrics.score(true + 1, true, true, resamples=5) | known
    assert said in cards.score_lines(score, {})[0]
