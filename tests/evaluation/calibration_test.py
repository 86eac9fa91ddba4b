"""The fit finds sign, offset and slope through noise and half-circle mistakes."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predictions import own_angles

from ssv_tf import config, viewpoint
from ssv_tf.base.errors import UserError
from ssv_tf.evaluation import calibration, metrics
from ssv_tf.evaluation.calibration import Calibration


def fit(raw, true_deg, azimuth="circular", **more):
    return calibration.fit(own_angles(raw), true_deg, azimuth, **more)


def applied(fitted, raw):
    return calibration.calibrated(own_angles(raw), fitted)


def doubts_of(fitted, raw, true_deg):
    return calibration.doubts(fitted, own_angles(raw), true_deg)


def _viewpoints(count, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform((-180, 0, -6), (180, 30, 6), size=(count, 3))


def _raw(true, sign, offset):
    """What V says when true = sign * raw + offset, elevation = 2 raw + 5, tilt = -raw - 1."""
    raw = np.stack([sign * (true[:, 0] - offset), (true[:, 1] - 5) / 2, -(true[:, 2] + 1)], -1)
    return (raw + 180) % 360 - 180


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("offset", [0.0, 37.0, 179.0, -120.0])
def test_exact_data_give_exact_sign_offset_and_slopes(sign, offset):
    true = _viewpoints(100)
    fitted = fit(_raw(true, sign, offset), true)
    np.testing.assert_allclose(fitted.scale, (sign, 2.0, -1.0), atol=1e-6)
    np.testing.assert_allclose(fitted.offset_deg, (offset, 5.0, -1.0), atol=1e-5)
    np.testing.assert_allclose(fitted.residual_deg, 0.0, atol=1e-5)
    assert (fitted.pictures, fitted.kinds) == (100, ("circular", "linear", "linear"))
    errors = metrics.error_deg(applied(fitted, _raw(true, sign, offset)), true)
    assert errors.max() < 1e-4


@settings(max_examples=40, deadline=None)
@given(
    sign=st.sampled_from([1.0, -1.0]),
    offset=st.floats(-180, 180),
    noise=st.floats(0, 12),
    seed=st.integers(0, 10_000),
)
def test_a_fifth_of_half_circle_mistakes_do_not_move_the_circle(sign, offset, noise, seed):
    true = _viewpoints(100, seed)
    raw = _raw(true, sign, offset)
    random = np.random.default_rng(seed + 1)
    raw[:, 0] += random.normal(0, noise, 100)
    raw[:20, 0] += 180
    fitted = fit(raw, true)
    assert fitted.scale[0] == sign
    assert metrics.error_deg(fitted.offset_deg[0], offset) <= 0.1 + 0.6 * noise


@pytest.mark.parametrize("kind", ["symmetric", "circular"])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_sign_is_right_though_half_of_the_fronts_are_taken_for_rears(sign, kind):
    for seed in range(20):
        random = np.random.default_rng(seed)
        true = _viewpoints(100, seed)
        raw = _raw(true, sign, 0.0)
        raw[:, 0] += 180.0 * random.integers(0, 2, 100) + random.normal(0.0, 15.0, 100)
        assert fit(raw, true, kind).scale[0] == sign


def test_an_object_that_lies_across_is_turned_though_its_ends_are_mistaken():
    for seed in range(20):
        random = np.random.default_rng(seed)
        true = _viewpoints(100, seed)
        raw = _raw(true, 1.0, 90.0)
        raw[:, 0] += 180.0 * random.integers(0, 2, 100) + random.normal(0.0, 10.0, 100)
        fitted = fit(raw, true, "symmetric")
        across = metrics.error_deg(fitted.offset_deg[0] % 180.0, 90.0)
        assert fitted.kinds[0] == "circular" and across < 10


def test_a_limited_range_keeps_its_line_through_a_fifth_of_mistakes():
    random = np.random.default_rng(3)
    true = random.uniform((-75, -20, -20), (75, 20, 20), size=(100, 3))
    raw = true / (0.8, 1.0, 1.0) + random.normal(0, 2, (100, 3))
    raw[:20, 0] += 180
    fitted = fit(raw, true, azimuth="linear")
    assert fitted.kinds[0] == "linear"
    assert fitted.scale[0] == pytest.approx(0.8, abs=0.12)
    least_squares = np.polyfit(raw[:, 0], true[:, 0], 1)
    assert abs(least_squares[0] - 0.8) > 0.3, "the mistakes would matter to a plain line"
    good = metrics.error_deg(applied(fitted, raw)[20:, 0], true[20:, 0])
    assert np.median(good) < 6


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(-90, 90), st.floats(-90, 90)).map(lambda p: (round(p[0], 3), p[1])),
        min_size=5,
        max_size=30,
    )
)
def test_a_line_is_never_worse_than_the_best_constant(points):
    raw, true = (np.tile(np.array(column)[:, None], (1, 3)) for column in zip(*points, strict=True))
    fitted = fit(raw, true, azimuth="linear")
    line = np.asarray(fitted.scale) * raw + np.asarray(fitted.offset_deg)
    constant = np.abs(np.median(true, axis=0) - true).mean(axis=0)
    assert (np.abs(line - true).mean(axis=0) <= constant + 1e-9).all()


def test_a_weak_signal_is_believed_as_far_as_it_goes():
    """Mean over many draws of 100: below the best constant's, and never far above."""
    random, errors = np.random.default_rng(4), []
    for _ in range(30):
        true = random.normal(0, 5, (1100, 3))
        raw = 0.05 * true + random.normal(0, 1, true.shape)
        fitted = fit(raw[:100], true[:100], azimuth="linear")
        line = np.asarray(fitted.scale) * raw[100:] + np.asarray(fitted.offset_deg)
        constant = np.median(true[:100], axis=0)
        pair = (np.abs(guess - true[100:]).mean(axis=0) for guess in (line, constant))
        errors.append(np.divide(*pair))
    errors = np.array(errors)[:, 1:]
    assert errors.mean(axis=0).max() < 1.0
    assert errors.max() < 1.05


def test_a_fifth_of_wrong_labels_does_not_move_the_elevation():
    random = np.random.default_rng(5)
    true = random.uniform((-180, 0, -8), (180, 30, 8), size=(100, 3))
    raw = true / (1.0, 0.5, 0.5) + random.normal(0, 1, (100, 3))
    labels = true.copy()
    labels[:20, 1] = 90.0 - labels[:20, 1]
    fitted = fit(raw, labels)
    assert fitted.scale[1] == pytest.approx(0.5, abs=0.05)
    assert np.median(np.abs(applied(fitted, raw)[:, 1] - true[:, 1])) < 1.5


def test_constant_predictions_become_the_best_constant_and_are_doubted():
    true = np.tile([[10.0, 4.0, 1.0]], (60, 1))
    true[:20] = [50.0, 9.0, 2.0]
    raw = np.full((60, 3), -33.0)
    fitted = fit(raw, true)
    np.testing.assert_allclose(applied(fitted, raw)[0], [10.0, 4.0, 1.0], atol=1e-9)
    doubts = doubts_of(fitted, raw, true)
    assert len([line for line in doubts if "no better than one constant" in line]) == 3
    assert any("mirrored circle fits about as well" in line for line in doubts)


def test_labels_of_another_unit_or_sign_are_doubted_in_words():
    true = _viewpoints(100)
    true[:, 0] *= 80 / 180
    raw = _raw(true, 1.0, 0.0)
    assert doubts_of(fit(raw, true, "linear"), raw, true) == []
    radians = np.radians(true)
    [doubt] = doubts_of(fit(raw, radians, "linear"), raw, radians)
    assert "are the labels radians? Then say `convention=radians`" in doubt
    assert "no label is beyond 1.38" in doubt
    turned = true * (-1, 1, 1)
    [doubt] = doubts_of(fit(raw, turned, "linear"), raw, turned)
    assert "V's own angle falls where the labels grow" in doubt
    assert "`convention=nose_right`" in doubt
    turns = true * (100 / 360, 1, 1)
    [doubt] = doubts_of(fit(raw, turns, "linear"), raw, turns)
    assert "a degree of V's is 0.28 of the labels" in doubt


def test_a_good_fit_raises_no_doubt_and_few_pictures_do():
    true = _viewpoints(60)
    raw = _raw(true, 1.0, 20.0)
    assert doubts_of(fit(raw, true), raw, true) == []
    few = fit(raw[:9], true[:9])
    assert "only 9 pictures" in doubts_of(few, raw[:9], true[:9])[0]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_too_few_pictures_are_refused(count):
    with pytest.raises(UserError, match=f"^{count} labelled pictures are too few"):
        fit(np.zeros((count, 3)), np.zeros((count, 3)))


def test_numbers_that_are_none_are_refused_and_counted():
    raw = _viewpoints(10)
    raw[3:5, 1] = np.nan
    with pytest.raises(UserError, match="2 of 10 predictions are no numbers"):
        fit(raw, _viewpoints(10))


def test_many_pictures_are_fitted_fast_and_right():
    true = _viewpoints(20_000)
    fitted = fit(_raw(true, -1.0, 77.0), true)
    np.testing.assert_allclose(fitted.offset_deg, (77.0, 5.0, -1.0), atol=1e-4)


def test_apply_wraps_to_the_half_open_circle():
    fitted = Calibration((-1.0, 0.5, 1.0), (170.0, 1.0, 0.0))
    np.testing.assert_allclose(
        applied(fitted, [[-20.0, 10.0, 0.0], [-10.0, 0.0, -3.0]]), [[-170, 6, 0], [180, 1, -3]]
    )
    np.testing.assert_allclose(applied(Calibration.identity(), [[1.0, 2.0, -180.0]]), [[1, 2, 180]])


def test_a_saved_calibration_comes_back_equal(tmp_path):
    true = _viewpoints(50)
    fitted = fit(_raw(true, -1.0, 3.25), true)
    path = fitted.save(tmp_path / "new" / "calibration.json")
    assert Calibration.load(path) == fitted
    data = json.loads(path.read_text())
    assert (data["version"], data["pictures"]) == (1, 50)
    assert data["azimuth"]["kind"] == "circular"
    assert data["azimuth"]["scale"] == -1.0
    assert Calibration.from_json(Calibration.identity().to_json()) == Calibration.identity()


def _text(**changes):
    return json.dumps(json.loads(Calibration.identity().to_json()) | changes)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("{", "Expecting"),
        ("[1]", "list indices"),
        ("{}", "it has no 'version'"),
        (_text(version=9), "version 9, need 1"),
        (_text(tilt={"kind": "linear", "offset_deg": 0}), "it has no 'scale'"),
        (_text(tilt={"kind": "linear", "offset_deg": 0, "scale": "a"}), "'a' is no number"),
        (_text(tilt={"kind": "linear", "offset_deg": float("nan"), "scale": 1}), "nan is no"),
        (_text(azimuth={"kind": "bent", "offset_deg": 0, "scale": 1}), "kind 'bent'"),
    ],
)
def test_a_broken_file_is_named_with_its_reason(tmp_path, text, reason):
    path = tmp_path / "calibration.json"
    path.write_text(text)
    with pytest.raises(UserError, match=reason) as caught:
        Calibration.load(path)
    assert str(path) in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_error(tmp_path):
    with pytest.raises(UserError, match="cannot read"):
        Calibration.load(tmp_path / "none.json")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="cannot read"):
        Calibration.load(tmp_path / "binary.json")


@pytest.mark.parametrize("settings, kind", [
    ({"azimuth_range_deg": 75.0}, "linear"),
    ({"azimuth_range_deg": 100.0}, "linear"),
    ({"azimuth_range_deg": 180.0}, "symmetric"),
    ({"mirror_data": False}, "circular"),
])  # fmt: skip
def test_the_kind_follows_how_a_run_was_trained(settings, kind):
    assert calibration.azimuth_kind(config.Options.of(**settings)) == kind


# --- The symmetric circle ----------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 180.0])
def test_a_symmetric_circle_knows_front_from_rear_and_nothing_else(offset):
    true = _viewpoints(100, 8)
    raw = _raw(true, 1.0, offset)
    raw[:, 0] += np.random.default_rng(2).normal(4.0, 20.0, 100)
    fitted = fit(raw, true, "symmetric")
    assert (fitted.kinds[0], fitted.scale[0], fitted.offset_deg[0]) == ("symmetric", 1.0, offset)
    assert fit(raw, true, "circular").offset_deg[0] != offset


def test_a_circle_that_is_not_symmetric_is_fitted_freely():
    true = _viewpoints(100, 9)
    fitted = fit(_raw(true, 1.0, 70.0), true, "symmetric")
    assert fitted.kinds[0] == "circular"
    assert fitted.offset_deg[0] == pytest.approx(70.0)


# --- Label shift of azimuth's quadrants --------------------------------------------------------


def _shifted(count, seed, strength=2.0):
    """A collection that mostly shows fronts, seen by a V that learnt an even circle.

    V's logits are the truth's class plus noise that often tips front and rear, and its raw circle
    is mirrored and turned.
    """
    random = np.random.default_rng(seed)
    front = random.random(count) < 0.85
    azimuth = random.uniform(-70, 70, count) + np.where(front, 0.0, 180.0)
    true = np.stack([azimuth, random.uniform(0, 30, count), random.uniform(-6, 6, count)], axis=1)
    raw_true = -(azimuth - 180.0)
    logits = strength * np.eye(4)[viewpoint.quadrant_of_deg(raw_true)]
    logits += random.normal(0, 0.3, (count, 4))
    logits[:, [0, 2]] += random.normal(0, 2.0, (count, 1))  # front against rear is hard to see
    raw = true.copy()
    raw[:, 0] = viewpoint.in_quadrant_deg(raw_true, logits.argmax(axis=1))
    return np.concatenate([raw, logits], axis=1), true


def test_label_shift_of_the_quadrants_is_corrected():
    raw, true = _shifted(1100, 3)
    plain = fit(raw[:100, :3], true[:100])
    corrected = fit(raw[:100], true[:100])
    assert plain.quadrant_bias == (0, 0, 0, 0)
    bias = corrected.quadrant_bias  # the front has cos < 0 in V's own circle: classes 1 and 3
    assert min(bias[1], bias[3]) > max(bias[0], bias[2]) + 0.5
    before = metrics.error_deg(applied(plain, raw[100:]), true[100:])[:, 0]
    after = metrics.error_deg(applied(corrected, raw[100:]), true[100:])[:, 0]
    assert np.mean(after < 30) > np.mean(before < 30) + 0.04
    assert after.mean() < 0.8 * before.mean()


def test_label_shift_is_left_alone_where_asked():
    raw, true = _shifted(100, 3)
    plain, left_alone = fit(raw[:, :3], true), fit(raw, true, label_shift=False)
    assert fit(raw, true).quadrant_bias != (0, 0, 0, 0)
    assert left_alone.quadrant_bias == (0, 0, 0, 0) and left_alone.confidence is None
    assert (left_alone.scale, left_alone.offset_deg) == (plain.scale, plain.offset_deg)


def test_ends_are_parted_where_v_calls_all_of_an_even_collection_front():
    random = np.random.default_rng(7)
    true = _viewpoints(700, 7)
    front = np.abs(true[:, 0]) < 90
    quadrant = viewpoint.quadrant_of_deg(true[:, 0])
    likelier = 4.0 + np.where(front, 1.2, -1.2) + random.normal(0, 0.8, 700)
    logits = np.zeros((700, 4))  # its axis is right, and the front always ahead
    logits[np.arange(700), np.where(front, quadrant, 3 - quadrant)] = likelier
    logits[np.arange(700), np.where(front, 3 - quadrant, quadrant)] = 0.0
    logits[np.arange(700)[:, None], np.stack([quadrant ^ 1, 3 - (quadrant ^ 1)], axis=1)] = -9.0
    raw = true.copy()
    raw[:, 0] = viewpoint.in_quadrant_deg(true[:, 0], logits.argmax(axis=1))
    raw = np.concatenate([raw, logits], axis=1)
    assert np.mean(np.abs(raw[:, 0]) < 90) > 0.98
    fitted = fit(raw[:100], true[:100], "symmetric")
    errors = metrics.error_deg(applied(fitted, raw[100:]), true[100:])[:, 0]
    assert np.mean(errors < 30) > 0.85


def test_logits_that_are_always_right_are_left_alone():
    true = _viewpoints(100, 5)
    raw = _raw(true, 1.0, 0.0)
    logits = 20.0 * np.eye(4)[viewpoint.quadrant_of_deg(raw[:, 0])]
    fitted = fit(np.concatenate([raw, logits], axis=1), true)
    assert fitted.quadrant_bias == (0, 0, 0, 0)


def test_a_linear_azimuth_has_no_quadrants_to_correct():
    raw, true = _shifted(100, 4)
    assert fit(raw, true, "linear").quadrant_bias == (0, 0, 0, 0)


def test_quadrant_bias_survives_json_and_wants_logits(tmp_path):
    raw, true = _shifted(100, 6)
    fitted = fit(raw, true)
    loaded = Calibration.load(fitted.save(tmp_path / "calibration.json"))
    assert loaded == fitted
    with pytest.raises(ValueError, match="quadrant logits"):
        applied(loaded, raw[:, :3])


def test_a_calibration_of_before_the_bias_is_still_read():
    data = json.loads(Calibration.identity().to_json())
    del data["azimuth"]["quadrant_bias"]
    assert Calibration.from_json(json.dumps(data)) == Calibration.identity()


@pytest.mark.parametrize("bias", [[0, 0, 0], [0, 0, 0, "x"], None, [0, 0, 0, float("nan")]])
def test_a_broken_quadrant_bias_is_refused(bias):
    data = json.loads(Calibration.identity().to_json())
    data["azimuth"]["quadrant_bias"] = bias
    with pytest.raises(UserError):
        Calibration.from_json(json.dumps(data))


# --- The warp of azimuth ---------------------------------------------------------------------


def _from_ends(azimuth_deg):
    return 90.0 - np.abs(np.abs(viewpoint.wrap_deg(azimuth_deg)) - 90.0)


def _stretched_circle(count, seed, power=0.6):
    """V takes a car a little from head-on for one turned far: its share of a quarter is u^power."""
    random = np.random.default_rng(seed)
    true = _viewpoints(count, seed)
    azimuth = true[:, 0]
    seen = 90.0 * (_from_ends(azimuth) / 90.0) ** power
    seen = np.where(np.abs(azimuth) > 90.0, 180.0 - seen, seen) * np.sign(azimuth)
    raw = true.copy()
    raw[:, 0] = viewpoint.wrap_deg(180.0 - seen + random.normal(0, 2.0, count))
    return raw, true


def test_a_warp_keeps_the_ends_and_the_order():
    degrees = np.array([0.0, 90.0, 180.0, -90.0])
    np.testing.assert_allclose(calibration.warped(degrees, (1.7, 0.6)), degrees, atol=1e-9)
    around = np.linspace(-179, 179, 359)
    warped = calibration.warped(around, (1.7, 0.6))
    assert np.all(np.diff(warped) > 0) and np.abs(warped - around).max() > 5
    np.testing.assert_allclose(warped, -warped[::-1], atol=1e-9)
    np.testing.assert_allclose(calibration.warped(around, (1.0, 1.0)), around, atol=1e-9)


def test_a_stretched_circle_is_straightened():
    raw, true = _stretched_circle(1100, 8)
    fitted = fit(raw[:100], true[:100], "symmetric")
    assert fitted.kinds[0] == "symmetric" and fitted.azimuth_warp != (1.0, 1.0)
    before = dataclasses.replace(fitted, azimuth_warp=(1.0, 1.0))
    errors = [np.median(metrics.error_deg(applied(c, raw[100:]), true[100:])[:, 0])
              for c in (before, fitted)]  # fmt: skip
    assert errors[0] > 8 and errors[1] < 4


def test_half_circles_mistaken_do_not_bend_the_warp():
    raw, true = _stretched_circle(400, 9)
    raw[:100, 0] += 180.0
    warp = fit(raw, true, "symmetric").azimuth_warp
    clean = fit(raw[100:], true[100:], "symmetric").azimuth_warp
    np.testing.assert_allclose(np.log(warp), np.log(clean), atol=0.15)


def test_a_circle_that_fits_is_not_warped():
    raw, true = _stretched_circle(100, 10, power=1.0)
    assert fit(raw, true, "symmetric").azimuth_warp == (1.0, 1.0)
    raw, true = _stretched_circle(100, 10)
    for kind in ("circular", "linear"):
        assert fit(raw, true, kind).azimuth_warp == (1.0, 1.0)


def test_a_warp_survives_json_and_one_of_before_is_read(tmp_path):
    fitted = fit(*_stretched_circle(100, 11), "symmetric")
    assert Calibration.load(fitted.save(tmp_path / "calibration.json")) == fitted
    data = json.loads(Calibration.identity().to_json())
    del data["azimuth"]["warp"]
    assert Calibration.from_json(json.dumps(data)) == Calibration.identity()


@pytest.mark.parametrize("warp", [[1], [1, 0], [1, -2], [1, "x"], None, [1, float("nan")]])
def test_a_broken_warp_is_refused(warp):
    data = json.loads(Calibration.identity().to_json())
    data["azimuth"]["warp"] = warp
    with pytest.raises(UserError):
        Calibration.from_json(json.dumps(data))


# --- Labels of some angles only ------------------------------------------------------------------


def test_each_angle_is_fitted_on_the_pictures_that_know_it(tmp_path):
    raw, true = _shifted(240, 3)
    azimuth, elevation = np.arange(240) % 2 == 0, np.arange(240) % 2 == 1
    partly = np.where(np.stack([azimuth, elevation, elevation], axis=1), true, np.nan)
    fitted = fit(raw, partly, "symmetric")
    alone = fit(raw[azimuth], true[azimuth], "symmetric")
    others = fit(raw[elevation], true[elevation], "symmetric")
    assert (fitted.scale[0], fitted.offset_deg[0]) == (alone.scale[0], alone.offset_deg[0])
    assert (fitted.quadrant_bias, fitted.azimuth_warp, fitted.confidence) == (
        alone.quadrant_bias, alone.azimuth_warp, alone.confidence,
    )  # fmt: skip
    assert fitted.scale[1:] == others.scale[1:] and fitted.offset_deg[1:] == others.offset_deg[1:]
    assert fitted.residual_deg == (alone.residual_deg[0], *others.residual_deg[1:])
    assert (fitted.pictures, fitted.angle_pictures) == (240, (120, 120, 120))
    assert Calibration.load(fitted.save(tmp_path / "c.json")) == fitted


def test_an_angle_without_labels_stays_as_it_is_and_that_is_said(tmp_path):
    true = _viewpoints(100)
    raw = _raw(true, -1.0, 20.0)
    true[:, 2], true[4:, 1] = np.nan, np.nan
    fitted = fit(raw, true)
    np.testing.assert_allclose(applied(fitted, raw)[:, 1:], raw[:, 1:])
    assert metrics.error_deg(applied(fitted, raw), true)[:, 0].max() < 1e-4
    assert fitted.uncalibrated == ("elevation", "tilt")
    assert fitted.residual_deg[1:] == (None, None) and fitted.angle_pictures == (100, 4, 0)
    assert [line for line in fitted.doubts if "not calibrated" in line] == [
        "elevation: not calibrated, as 4 pictures know it; V's own answer",
        "tilt: not calibrated, as 0 pictures know it; V's own answer",
    ]
    assert Calibration.load(fitted.save(tmp_path / "c.json")) == fitted


def test_elevation_alone_leaves_the_azimuth():
    raw, true = _shifted(100, 3)
    true[:, [0, 2]] = np.nan
    fitted = fit(raw, true, "symmetric")
    assert fitted.uncalibrated == ("azimuth", "tilt") and fitted.confidence is None
    np.testing.assert_allclose(applied(fitted, raw)[:, 0], raw[:, 0])


def test_rows_that_know_nothing_do_not_count():
    true = _viewpoints(20)
    raw = _raw(true, 1.0, 0.0)
    true[8:] = np.nan
    assert fit(raw, true).pictures == 8
    true[4:] = np.nan
    with pytest.raises(UserError, match=r"^4 labelled pictures are too few"):
        fit(raw, true)
    true[:, 0] = np.inf
    with pytest.raises(UserError, match="20 of 20 labels are no numbers"):
        fit(raw, true)


def test_a_calibration_that_counts_no_angles_is_not_called_uncalibrated():
    data = json.loads(fit(*[_viewpoints(40)] * 2).to_json())
    for name in viewpoint.ANGLES:
        del data[name]["pictures"]
    assert Calibration.from_json(json.dumps(data)).uncalibrated == ()


# --- Labels that are classes ---------------------------------------------------------------------


def _classed(true, width):
    classed = true.copy()
    classed[:, 0] = np.round(true[:, 0] / width) * width
    return classed


@pytest.mark.parametrize("width", [45.0, 90.0])
def test_classes_give_the_offset_within_a_fraction_of_their_width(width, tmp_path):
    worst = {0.0: 0.0, width / 2: 0.0}
    for seed in range(3):
        true = _viewpoints(60, seed)
        raw = _raw(true, -1.0, 37.0)
        raw[:8, 0] += 180.0
        for tolerance in worst:
            fitted = calibration.fit(own_angles(raw), _classed(true, width), "circular", tolerance)
            assert fitted.scale[0] == -1.0
            apart = float(metrics.error_deg(fitted.offset_deg[0], 37.0))
            worst[tolerance] = max(worst[tolerance], apart)
    assert worst[width / 2] < width / 15 < worst[0.0]
    assert fitted.label_tolerance_deg == width / 2 and fitted.residual_deg[0] == 0.0
    assert Calibration.load(fitted.save(tmp_path / "c.json")) == fitted
    assert not any("mirrored circle" in doubt for doubt in fitted.doubts)


def test_classes_of_a_limited_range_give_its_slope():
    true = _viewpoints(80, 4) * (80 / 180, 1, 1)
    raw = true / (0.8, 1, 1) + np.random.default_rng(1).normal(0, 4, true.shape)
    raw[:8, 0] += 180.0
    plain, banded = (
        calibration.fit(own_angles(raw), _classed(true, 45.0), "linear", tolerance)
        for tolerance in (0.0, 22.5)
    )
    assert abs(banded.scale[0] - 0.8) < 0.12 < abs(plain.scale[0] - 0.8)
    assert abs(banded.offset_deg[0]) < 6


def test_a_class_of_sides_is_half_front_and_half_rear():
    shares = calibration._quadrant_shares(1.0, np.array([90.0, 0.0, 30.0]), 45.0)
    front = shares @ (np.array(viewpoint.QUADRANT_SIGNS)[:, 0] > 0)
    np.testing.assert_allclose(front, [0.5, 1.0, 1.0], atol=1 / 18)
    exact = calibration._quadrant_shares(1.0, np.array([100.0, 10.0]), 0.0)
    np.testing.assert_array_equal(exact, np.eye(4)[viewpoint.quadrant_of_deg([100.0, 10.0])])


def test_a_symmetric_circle_of_eight_classes_keeps_its_ends_and_is_not_bent():
    raw, true = _shifted(100, 3)
    fitted = calibration.fit(own_angles(raw), _classed(true, 45.0), "symmetric", 22.5)
    exact = fit(raw, true, "symmetric")
    assert (fitted.kinds, fitted.scale[0], fitted.offset_deg[0]) == (
        exact.kinds, exact.scale[0], exact.offset_deg[0],
    )  # fmt: skip
    far = metrics.error_deg(applied(fitted, raw), applied(exact, raw))[:, 0]
    assert np.mean(far > 60) < 0.1, "the quadrants are decided about alike"


# --- Front and rear ------------------------------------------------------------------------------


def test_ends_that_are_not_told_apart_are_doubted_where_the_pictures_show_both(tmp_path):
    true = _viewpoints(100)
    raw = _raw(true, 1.0, 0.0)
    raw[np.random.default_rng(0).random(100) < 0.5, 0] += 180.0
    fitted = fit(raw, true, "symmetric")
    assert any("front and rear are not told apart" in doubt for doubt in fitted.doubts)
    assert Calibration.load(fitted.save(tmp_path / "c.json")).doubts == fitted.doubts
    front = np.abs(true[:, 0]) < 90
    only = fit(raw[front], true[front], "symmetric")
    assert not any("told apart" in doubt for doubt in only.doubts)


@pytest.mark.parametrize("sign, offset", [(1.0, 0.0), (1.0, 180.0), (-1.0, 180.0), (1.0, 30.0)])
def test_frontness_is_the_share_of_the_quadrants_that_become_fronts(sign, offset):
    true = _viewpoints(50, 4)
    raw_azimuth = sign * (true[:, 0] - offset)
    logits = 3.0 * np.eye(4)[viewpoint.quadrant_of_deg(raw_azimuth)]
    raw = np.concatenate([_raw(true, sign, offset), logits], axis=1)
    raw[:, 0] = viewpoint.wrap_deg(raw_azimuth)
    fitted = Calibration((sign, 1.0, 1.0), (offset, 0.0, 0.0))
    frontness = calibration.frontness(own_angles(raw), fitted)
    says_front = np.abs(applied(fitted, raw)[:, 0]) < 90
    odds = (np.exp(3.0) + 1) / 2
    if offset == 30.0:  # quadrants of V's circle are not halves of the true one
        assert (frontness[says_front] > 0).mean() > 0.9 < (frontness[~says_front] < 0).mean()
    else:
        np.testing.assert_allclose(frontness, np.log(odds) * np.where(says_front, 1, -1))
    biased = dataclasses.replace(fitted, quadrant_bias=(200.0, -200.0, 200.0, -200.0))
    assert len(np.unique(calibration.frontness(own_angles(raw), biased))) > 1, (
        "no bias makes equals of unequals"
    )
    assert calibration.frontness(own_angles(raw[:, :3]), fitted) is None
