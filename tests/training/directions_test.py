"""Which way objects point, from differences between pictures and their mirror images."""

import numpy as np
import pytest

from ssv_tf.models.encoding import Encoding
from ssv_tf.training import directions
from ssv_tf.training.self_training import PseudoLabels

_CODE = Encoding.of_range(np.radians([-180.0, -5.0, -4.0]), np.radians([180.0, 15.0, 4.0]))
_DIRECTION, _DIAGONAL, _NOISE = np.eye(60)[0], np.eye(60)[1], 0.08


def _views(count=1500, seed=0, background=0.0):
    """Azimuths in degrees and feature differences, in which the direction fades end-on."""
    rng = np.random.default_rng(seed)
    azimuth_rad = rng.uniform(-np.pi, np.pi, count)
    differences = rng.normal(0.0, _NOISE, (count, 60))
    differences += np.sin(azimuth_rad)[:, None] * _DIRECTION
    differences += 0.7 * np.sin(2.0 * azimuth_rad)[:, None] * _DIAGONAL
    differences += background * np.eye(60)[2]
    slant_deg = np.degrees(np.arcsin(np.abs(np.sin(azimuth_rad))))
    return np.degrees(azimuth_rad), differences, slant_deg, np.sin(2.0 * azimuth_rad) > 0


def _toss(count, share=0.5, seed=5):
    """V's word that is true with a chance of `share`."""
    return np.random.default_rng(seed).random(count) < share


def _share_right(scores, azimuth_deg, where):
    share = np.mean((scores > 0)[where] == (azimuth_deg > 0)[where])
    return max(share, 1.0 - share)  # which way is which is not known


@pytest.mark.parametrize("background", [0.0, 2.0])
def test_direction_is_found_from_the_side_and_carried_on(background):
    azimuth_deg, differences, slant_deg, diagonal = _views(background=background)
    scores = directions.score(differences, slant_deg, diagonal, _toss(len(slant_deg)))
    assert not scores[slant_deg < 22].any()
    assert _share_right(scores, azimuth_deg, slant_deg >= 72) > 0.98
    assert _share_right(scores, azimuth_deg, slant_deg >= 22) > 0.95
    sure = np.abs(scores) >= 1.0
    assert sure[slant_deg >= 22].mean() == pytest.approx(0.7, abs=0.02)
    assert _share_right(scores, azimuth_deg, sure) > 0.99


def test_wrong_diagonals_cost_little():
    azimuth_deg, differences, slant_deg, diagonal = _views()
    wrong = np.random.default_rng(1).random(len(diagonal)) < 0.07
    scores = directions.score(differences, slant_deg, diagonal ^ wrong, _toss(len(wrong)))
    assert _share_right(scores, azimuth_deg, slant_deg >= 22) > 0.93


def test_where_v_tells_left_from_right_what_both_agree_on_teaches():
    azimuth_deg, differences, slant_deg, diagonal = _views(600)
    gap = (slant_deg < 50) | (slant_deg > 80)  # little leads from the side to slanting views
    differences += 0.2 * np.random.default_rng(3).normal(size=differences.shape)
    azimuth_deg, differences, slant_deg, diagonal = (
        values[gap] for values in (azimuth_deg, differences, slant_deg, diagonal)
    )
    true = azimuth_deg > 0
    own = true == _toss(len(true), 0.9)
    right = []
    for word in (true == _toss(len(true)), own, ~own):  # what V calls left may be right
        scores = directions.score(differences, slant_deg, diagonal, word, trusted=0.8)
        right.append(_share_right(scores, azimuth_deg, slant_deg >= 22))
    assert right[1] == right[2] > right[0] + 0.01


def test_objects_whose_ends_are_alike_are_refused():
    _, differences, slant_deg, diagonal = _views()
    differences[:, 0] = np.random.default_rng(1).normal(0.0, _NOISE, len(differences))
    differences[:, 1] = differences[:, 0][::-1]
    with pytest.raises(ValueError, match="do not part in two"):
        directions.score(differences, slant_deg, diagonal, diagonal)


def test_a_few_views_of_one_object_are_enough_where_they_part_clearly():
    azimuth_deg, differences, slant_deg, diagonal = _views(72)
    assert 10 <= np.sum(slant_deg >= 72) < 30
    scores = directions.score(differences, slant_deg, diagonal, _toss(72))
    assert _share_right(scores, azimuth_deg, slant_deg >= 45) > 0.95
    noise = np.random.default_rng(4).normal(0.0, _NOISE, differences.shape)
    with pytest.raises(ValueError, match="do not part in two"):
        directions.score(noise, slant_deg, diagonal, _toss(72))


def _labels(azimuth_deg):
    """V's answers, sure of everything."""
    cosine, sine = np.cos(np.radians(azimuth_deg)), np.sin(np.radians(azimuth_deg))
    magnitudes = np.full((len(cosine), 3, 2), 0.5)
    magnitudes[:, 0] = np.stack([cosine**2, sine**2], axis=-1)
    quadrants = np.full((len(cosine), 3, 4), 0.25)
    quadrants[:, 0] = np.eye(4)[(sine < 0) * 2 + (cosine < 0)]
    return PseudoLabels(magnitudes, quadrants)


@pytest.fixture
def views():
    azimuth_deg, differences, _, _ = _views()
    return azimuth_deg, differences


def test_left_is_what_v_calls_left_more_often(views):
    azimuth_deg, differences = views
    toss = np.random.default_rng(2).random(len(azimuth_deg)) < 0.4  # V is half a turn off
    said = []
    labels = _labels(azimuth_deg + 180.0 * toss)
    probabilities, slanting = directions.left(differences, labels, say=said.append)
    right = (probabilities > 0.5) == (azimuth_deg > 0)
    assert right[slanting].mean() > 0.95
    np.testing.assert_array_equal(probabilities[~slanting], 0.5)
    assert float(said[0].split("agrees with ")[1].split()[0]) == pytest.approx(0.6, abs=0.05)
    assert 0.02 < probabilities.min() and probabilities.max() < 0.98


def test_a_direction_that_v_contradicts_is_uncertain_where_v_is_trusted(views):
    azimuth_deg, differences = views
    toss = np.random.default_rng(2).random(len(azimuth_deg)) < 0.1
    labels = _labels(azimuth_deg + 180.0 * toss)
    alone, slanting = directions.left(differences, labels)  # nine of ten right are too few
    assert np.abs(alone - 0.5)[toss & slanting].max() > 0.4
    probabilities, _ = directions.left(differences, labels, trusted=0.8)
    assert np.abs(probabilities - 0.5)[toss & slanting].max() < 0.25
    right = (probabilities > 0.5) == (azimuth_deg > 0)
    assert right[slanting].mean() > 0.95  # and yet not V's


def test_the_share_of_fronts_decides_which_way_is_left(views):
    azimuth_deg, differences = views
    fronts = np.abs(azimuth_deg) < 90
    kept = fronts | (np.arange(len(fronts)) % 4 == 0)
    toss = np.random.default_rng(2).random(kept.sum()) < 0.7
    labels = _labels(azimuth_deg[kept] + 180.0 * toss)
    probabilities, slanting = directions.left(differences[kept], labels, front_share=0.8)
    right = (probabilities > 0.5) == (azimuth_deg[kept] > 0)
    assert right[slanting].mean() > 0.93


def _mostly_fronts():
    """Views of which none is from the side and nine of ten are fronts; V knows left, not the end.

    Returns:
      azimuths in degrees, differences, V's labels: half a circle off at random, left right in 0.8.
    """
    azimuth_deg, differences, slant_deg, _ = _views(4000)
    fronts = np.abs(azimuth_deg) < 90
    kept = (slant_deg < 68) & (fronts | _toss(len(fronts), 0.1))
    azimuth_deg, differences = azimuth_deg[kept], differences[kept]
    count = len(azimuth_deg)
    slant_deg = slant_deg[kept] * np.where(_toss(count, 0.8), 1.0, -1.0) * np.sign(azimuth_deg)
    labels = _labels(slant_deg)  # all fronts
    return azimuth_deg, differences, labels


def _axis_right(labels, azimuth_deg, where):
    apart = np.radians(labels.angles_deg(_CODE)[:, 0] - azimuth_deg)
    return np.mean((np.cos(2.0 * apart) > 0.5)[where])


def test_where_most_show_one_end_its_slanting_views_teach_the_axis():
    azimuth_deg, differences, labels = _mostly_fronts()
    said = []
    found = directions.with_directions(differences, labels, "V", front_share=0.8, say=said.append)
    slanting = np.abs(np.sin(np.radians(2.0 * azimuth_deg))) > 0.7
    slanting &= np.abs(azimuth_deg) < 90  # the rare rears do not count
    assert _axis_right(labels, azimuth_deg, slanting) < 0.85
    assert _axis_right(found, azimuth_deg, slanting) > 0.97
    np.testing.assert_allclose(found.front, 0.8)
    np.testing.assert_allclose(found.slant_deg, labels.slant_deg)
    assert "as 0.80 of them do" in said[0]


def test_of_one_end_left_is_what_v_calls_left_whichever_end_it_sees():
    azimuth_deg, differences, labels = _mostly_fronts()
    turned = _labels(labels.angles_deg(_CODE)[:, 0] + 180.0)  # V calls the front the rear
    found = directions.with_directions(differences, turned, "V", front_share=0.8)
    slanting = np.abs(np.sin(np.radians(2.0 * azimuth_deg))) > 0.7
    slanting &= np.abs(azimuth_deg) < 90
    assert _axis_right(found, azimuth_deg, slanting) > 0.97
    np.testing.assert_allclose(found.front, 0.2)


@pytest.mark.parametrize("share", [0.5, 0.7])
def test_where_no_end_is_rare_one_end_teaches_nothing(share, capsys):
    _, differences, labels = _mostly_fronts()
    assert directions.with_directions(differences, labels, "V", front_share=share) is labels
    assert "left and right stay as V has them" in capsys.readouterr().out


def test_of_one_end_a_v_that_does_not_tell_left_is_no_help():
    azimuth_deg, differences, _ = _mostly_fronts()
    signs = np.where(_toss(len(azimuth_deg), 0.5, seed=7), 1.0, -1.0)
    labels = _labels(np.abs(np.degrees(np.arcsin(np.sin(np.radians(azimuth_deg))))) * signs)
    with pytest.raises(ValueError, match="of the surest left"):
        directions.axis_of_one_end(differences, labels)
    assert directions.with_directions(differences, labels, "V", front_share=0.8) is labels


def test_few_views_from_the_side_are_refused(views):
    azimuth_deg, differences = views
    kept = np.abs(np.sin(np.radians(azimuth_deg))) < 0.9
    with pytest.raises(ValueError, match="need 10 views from the side, got 0"):
        directions.left(differences[kept], _labels(azimuth_deg[kept]))


def test_directions_that_cannot_be_told_are_left_as_they_were(views, capsys):
    azimuth_deg, differences = views
    kept = np.abs(np.sin(np.radians(azimuth_deg))) < 0.9
    labels = _labels(azimuth_deg[kept])
    assert directions.with_directions(differences[kept], labels, "the student") is labels
    said = capsys.readouterr().out
    assert "as the student has them: need 10 views from the side, got 0" in said


@pytest.mark.slow
def test_a_mirror_image_points_the_other_way_and_a_symmetric_one_nowhere():
    layers = np.random.default_rng(0).integers(0, 255, (3, 64, 64, 4), dtype=np.uint8)
    layers[..., 3] = 255
    layers[1, :, 32:] = layers[1, :, 31::-1]
    layers[2] = layers[0, :, ::-1]
    differences = directions.differences(layers)
    assert differences.shape == (3, 4 * 4 * 112)
    np.testing.assert_allclose(differences[2], -differences[0], atol=1e-4)
    np.testing.assert_allclose(differences[1], 0.0, atol=1e-4)
    assert np.abs(differences[0]).mean() > 0.01
