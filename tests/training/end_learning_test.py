"""Front and rear learnt from V's slanting views and carried to end-on ones."""

import numpy as np
import pytest

from ssv_tf.training import ends


def _views(count, seed=0):
    """Slants and V's front probabilities: right when slanting, a coin toss end-on."""
    rng = np.random.default_rng(seed)
    slant = rng.uniform(0, 90, count)
    is_front = rng.random(count) < 0.5
    sure = np.where(is_front, 0.95, 0.05)
    coin = np.where(rng.random(count) < 0.5, 0.9, 0.1)
    return slant, is_front, np.where(slant < ends._END_ON_DEG, coin, sure)


def test_three_quarter_views_of_one_slant_weigh_the_same_for_either_end():
    rng = np.random.default_rng(1)
    slant = np.concatenate([rng.uniform(25, 45, 300), rng.uniform(35, 65, 300)])
    front = np.repeat([0.9, 0.1], 300)  # fronts are seen nearer to end-on than rears
    weights, wanted = ends.three_quarter(slant, front)
    assert weights.sum() == pytest.approx(1.0)
    used = weights > 0
    assert weights[used & wanted].sum() == pytest.approx(0.5)
    mean = [np.average(slant[used & end], weights=weights[used & end]) for end in (wanted, ~wanted)]
    assert abs(mean[0] - mean[1]) < 1.5
    assert slant[used].min() >= 35 - 5 and slant[used].max() <= 45 + 5


def test_unsure_end_on_and_side_views_are_left_out():
    slant, _, front = _views(2000)
    front[:1000] = 0.6
    weights, _ = ends.three_quarter(slant, front)
    assert not weights[:1000].any()
    assert not weights[(slant < 25) | (slant > 65)].any()


def test_too_few_views_of_an_end_are_refused():
    slant, _, front = _views(400)
    with pytest.raises(ValueError, match="0 rears"):
        ends.three_quarter(slant, np.maximum(front, 0.9))


@pytest.mark.parametrize(("front_share", "rears", "fronts"), [(0.5, 15, 15), (0.8, 6, 24)])
def test_end_on_views_join_by_rank_as_many_as_there_are(front_share, rears, fronts):
    weights, wanted = np.full(100, 0.01), np.ones(100, bool)
    weights[50:] = 0
    weights /= weights.sum()
    end_on = np.arange(50, 100)
    new_weights, new_wanted = ends._with_end_on(
        weights, wanted, end_on, np.arange(50.0), 0.3, front_share
    )
    assert new_weights.sum() == pytest.approx(1.0)
    joined = np.flatnonzero(new_weights)[50:]
    np.testing.assert_array_equal(joined, [*range(50, 50 + rears), *range(100 - fronts, 100)])
    assert not new_wanted[joined[:rears]].any() and new_wanted[joined[rears:]].all()
    shares = [new_weights[part].sum() for part in (slice(50), joined[:rears], joined[rears:])]
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.25])


def _boxes(slant_deg, is_front, seed=0):
    """Grey boxes with white lamps at the front and a red bar at the rear: uint8 [n, 64, 64, 4].

    An end-on view shows the end alone, a slanting one the end beside the grey flank.
    """
    rng = np.random.default_rng(seed)
    pictures = np.zeros((len(slant_deg), 64, 64, 4), np.uint8)
    for picture, slant, front in zip(pictures, slant_deg, is_front, strict=True):
        width = int(28 + 30 * np.sin(np.radians(slant)))
        left, top = 32 - width // 2, 18
        body = picture[top : top + 28, left : left + width]
        body[...] = (*rng.integers(80, 150, 3), 255)
        end = body[:, : int(28 * np.cos(np.radians(slant)))]
        if front:
            end[10:16, 2:7, :3] = end[10:16, -7:-2, :3] = 255
        else:
            end[10:16, 2:-2, :3] = (200, 0, 0)
    return pictures


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ends_of_slanting_views_are_carried_to_end_on_ones():
    slant, is_front, front = _views(560)
    kept = is_front | (np.arange(len(slant)) % 2 == 0)  # two of three show the front
    slant, is_front, front = slant[kept], is_front[kept], front[kept]
    layers = _boxes(slant, is_front)
    behind = np.random.default_rng(2).integers(0, 255, (20, 64, 64, 3), dtype=np.uint8)
    said = []
    settings = ends.Settings(rounds=2, steps=30, batch_size=16)
    answers = ends.learn_ends(layers, slant, front, behind, settings, 0, said.append, 2 / 3)
    end_on = slant < ends._END_ON_DEG
    right = (answers > 0.5) == is_front
    assert right[end_on].mean() > 0.9 > 0.6 > ((front > 0.5) == is_front)[end_on].mean()
    np.testing.assert_array_equal(answers[~end_on], front[~end_on])
    assert [line.split(":")[0] for line in said] == ["ends, round 1 of 2", "ends, round 2 of 2"]
