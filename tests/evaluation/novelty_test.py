"""Novelty: fitted without labels, known where it can be, and what it does to the confidence."""

import dataclasses
import json

import numpy as np
import pytest
from keras import ops

from ssv_tf import config
from ssv_tf.base.errors import UserError
from ssv_tf.evaluation import calibration, cards, novelty
from ssv_tf.evaluation.calibration import Calibration, RawAngles
from ssv_tf.evaluation.confidence import Confidence
from ssv_tf.evaluation.novelty import Novelty
from ssv_tf.models import decoding, inference
from ssv_tf.models.decoding import RawPrediction

SIZE = 24
MIXING = np.random.default_rng(1).normal(size=(SIZE, SIZE))
SMALL = Novelty((1.0, -2.0), ((0.5,), (-1.0, 2.0)), 1.5, 0.25)
SURE = Calibration((1.0,) * 3, (0.0,) * 3, confidence=Confidence(1.0, 0.0, 2.0))


LIMITS = {"threshold": 1.0, "spread": 0.2}


def _statistics(count, seed=0):
    """Correlated numbers around 3."""
    return 3.0 + np.random.default_rng(seed).normal(size=(count, SIZE)) @ MIXING


def _raw(statistics):
    random = np.random.default_rng(5)
    logits = (random.normal(size=(len(statistics), 3, count)) for count in (2, 4))
    return RawPrediction(*logits, channel_statistics=np.asarray(statistics, np.float32))


@pytest.mark.parametrize("count", [60, 100, 400])
def test_about_2_percent_of_unseen_pictures_lie_above_the_threshold(count):
    fitted = novelty.fit(_statistics(count))
    seen = dataclasses.replace(SURE, novelty=fitted)
    unseen = inference.decode(_raw(_statistics(2000, seed=7)), seen).novelty
    assert 0.002 < np.mean(unseen > 1.0) < 0.06
    foreign = 3.0 + 3.0 * np.random.default_rng(2).normal(size=(200, SIZE)) @ MIXING.T
    other = inference.decode(_raw(foreign), seen)
    assert np.mean(other.novelty > 1.0) > 0.9


def test_a_statistic_that_never_changes_is_no_division_by_zero():
    statistics = _statistics(50)
    statistics[:, 3] = 7.0
    fitted = novelty.fit(statistics)
    changed = statistics.copy()
    changed[:, 3] = 8.0
    known = dataclasses.replace(SURE, novelty=fitted)
    assert (inference.decode(_raw(statistics), known).novelty < 2.0).all()
    assert (inference.decode(_raw(changed), known).novelty > 10.0).all()


def test_the_decoder_is_the_distance_over_the_threshold_and_lowers_the_confidence():
    statistics = np.array([[1.0, -2.0], [3.0, -2.0], [1.0, 1.0], [9.0, 9.0]])
    y = (statistics - [1.0, -2.0]) @ np.array([[0.5, 0.0], [-1.0, 2.0]]).T
    wanted = np.sqrt((y**2).mean(axis=1)) / 1.5
    plain = inference.decode(_raw(statistics), SURE)
    views = inference.decode(_raw(statistics), dataclasses.replace(SURE, novelty=SMALL))
    assert plain.novelty is None and views.novelty.shape == (4,)
    np.testing.assert_allclose(views.novelty, wanted, rtol=1e-5)
    np.testing.assert_allclose(
        views.confidence, plain.confidence * decoding.familiarity(wanted, 0.25), atol=1e-6
    )
    np.testing.assert_array_equal(views.degrees, plain.degrees)
    assert views.confidence[0] == plain.confidence[0] and views.confidence[3] < 1e-6
    familiar = 1.0 / (1.0 + np.exp(4.0 * (np.log(wanted[1]) / 0.25 - 0.45)))
    assert views.confidence[1] == pytest.approx(plain.confidence[1] * familiar, abs=1e-6)


@pytest.mark.parametrize("spread", [0.1, 0.25])
def test_familiarity_falls_from_1_to_0_beyond_the_threshold(spread):
    deviations = np.array([-20.0, -2.05, 0.0, 0.45, 2.0, 200.0])
    found = ops.convert_to_numpy(decoding.familiarity(np.exp(spread * deviations), spread))
    wanted = [1.0, 1.0, 1.0 / (1.0 + np.exp(-1.8)), 0.5, 0.002, 0.0]
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert ops.convert_to_numpy(decoding.familiarity(np.zeros(1), spread))[0] == 1.0


def test_a_network_of_other_statistics_or_none_is_not_known():
    fitted = dataclasses.replace(SURE, novelty=SMALL)
    plain = inference.decode(_raw(np.zeros((3, 5))), fitted)
    assert plain.novelty is None and plain.confidence is not None
    without = dataclasses.replace(_raw(np.zeros((3, 2))), channel_statistics=None)
    assert inference.decode(without, fitted).novelty is None
    some = _raw(np.arange(6.0).reshape(3, 2))[[0, 2]]
    np.testing.assert_array_equal(some.channel_statistics, [[0, 1], [4, 5]])


def test_a_calibration_fits_it_from_30_pictures_on():
    statistics = _statistics(40)
    true = np.random.default_rng(3).uniform(-60, 60, (40, 3))
    raw = RawAngles(true, np.zeros((40, 4)), None, statistics)
    assert calibration.fit(raw, true, "linear").novelty == novelty.fit(statistics)
    assert calibration.fit(raw[:29], true[:29], "linear").novelty is None
    assert calibration.fit(RawAngles(true), true, "linear").novelty is None
    broken = dataclasses.replace(raw, channel_statistics=np.where(statistics > 5, np.nan, 1.0))
    with pytest.raises(UserError, match=r"predictions are no numbers"):
        calibration.fit(broken, true, "linear")


def test_a_calibration_keeps_it_to_the_digit_and_older_files_have_none(tmp_path):
    fitted = dataclasses.replace(SURE, novelty=novelty.fit(_statistics(50)))
    again = Calibration.load(fitted.save(tmp_path / "calibration.json"))
    assert again == fitted
    text = fitted.to_json()
    assert len(text.splitlines()) < 60 and set(json.loads(text)) >= {"novelty", "confidence"}
    older = {key: value for key, value in json.loads(text).items() if key != "novelty"}
    assert Calibration.from_json(json.dumps(older)) == SURE


@pytest.mark.parametrize(
    "wrong",
    [{}, 3, {"mean": [1.0], "factor": [[1.0], [1.0, 2.0]], **LIMITS},
     {"mean": [1.0], "factor": [["a"]], **LIMITS},
     {"mean": [1.0], "factor": [[float("nan")]], **LIMITS},
     {"mean": [], "factor": [], **LIMITS}, {"mean": [1.0], "factor": [[1.0]]},
     {"mean": [1.0], "factor": [[1.0]], **LIMITS, "spread": 0.0}],
)  # fmt: skip
def test_a_damaged_file_is_one_line(wrong):
    text = json.dumps(json.loads(SURE.to_json()) | {"novelty": wrong})
    with pytest.raises(UserError, match=r"^here is no calibration"):
        Calibration.from_json(text, "here")


def test_a_card_says_what_is_known():
    options = config.Options()
    assert "does not say that there is no object" in cards.automatic_limits(options, None)[-1]
    told = cards.automatic_limits(options, None, tells_novelty=True)[-1]
    assert "novelty above 1" in told and "scored" not in told
    score = {"azimuth": {}, "elevation": {}, "tilt": {}, "novelty": {"above_1": 0.021}}
    told = cards.automatic_limits(options, score, tells_novelty=True)[-1]
    assert told.endswith("Of the scored pictures 2.1% lie above 1.")
