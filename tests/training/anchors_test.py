"""Labelled pictures that train: what they ask of the student, and who says so afterwards."""

import dataclasses
import json

import numpy as np
import pytest
from cutout_files import write_cutouts

from ssv_tf import config, viewpoint
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import cutouts
from ssv_tf.evaluation import cards
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.decoding import NO_BIAS
from ssv_tf.models.encoding import Encoding
from ssv_tf.models.student import StudentNetwork
from ssv_tf.training import (
    anchors,
    ends,
    imagenet_student,
    run_folder,
    self_training,
    student_run,
    student_stages,
)
from ssv_tf.training.self_training import PseudoLabels, Rounds
from ssv_tf.training.student_run import Source

FRAMING = cutouts.framing(64)
LABELS = "filename,azimuth_deg,elevation_deg\n"


def known(angles_deg, tolerance_deg=0.0):
    nothing = np.zeros((len(angles_deg), 4, 4, 4), np.uint8)
    return anchors.Anchors(nothing, nothing[..., :3], np.array(angles_deg), tolerance_deg)


def test_the_label_is_asked_where_it_is_known_and_the_own_answer_elsewhere():
    own = np.array([[10.0, 1.0, 2.0], [-170.0, 3.0, 4.0]])
    labels = [[40.0, np.nan, 0.0], [175.0, 5.0, np.nan]]
    asked = anchors.targets_deg(known(labels), own)
    np.testing.assert_allclose(asked, [[40.0, 1.0, 0.0], [175.0, 5.0, 4.0]])


@pytest.mark.parametrize(
    "own, label, wanted", [(10.0, 0.0, 10.0), (60.0, 0.0, 22.5), (-170.0, 180.0, 190.0),
                           (120.0, 180.0, 157.5)],
)  # fmt: skip
def test_a_class_asks_for_no_more_than_its_nearer_end(own, label, wanted):
    asked = anchors.targets_deg(known([[label, 0.0, 0.0]], 22.5), np.array([[own, 9.0, 9.0]]))
    assert viewpoint.wrap_deg(asked[0, 0] - wanted) == pytest.approx(0.0)
    assert asked[0, 1] == 0.0


def test_labels_of_angles_stand_for_these_angles():
    code = Encoding.of_range(np.radians([-180.0, -5.0, -4.0]), np.radians([180.0, 15.0, 4.0]))
    degrees = np.array([[0.0, 5.0, 0.0], [179.0, -5.0, 3.0], [-100.0, 14.0, -4.0]])
    np.testing.assert_allclose(anchors.of_angles(degrees, code).angles_deg(code), degrees, atol=0.1)


def test_an_angle_beyond_the_code_is_asked_as_its_end_and_not_as_another():
    code = Encoding.of_range(np.radians([-180.0, -5.0, -4.0]), np.radians([180.0, 15.0, 4.0]))
    asked = anchors.of_angles(np.array([[-130.0, 60.0, -60.0]]), code).angles_deg(code)[0]
    assert asked[0] == pytest.approx(-130.0, abs=0.1)
    assert 15.0 < asked[1] < 20.0 and -6.0 < asked[2] < -4.0


def _calibrated(offset_deg, kind="symmetric"):
    return Calibration((1.0, 1.0, 1.0), (offset_deg, 0.0, 0.0), (kind, "linear", "linear"))


def _student_and_squares(count):
    student = StudentNetwork(resolution=32, width=0.25)
    student.build()
    rng = np.random.default_rng(0)
    return student, rng.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("offset_deg", [0.0, 180.0, 50.0])
def test_own_answers_stay_where_the_student_has_them(offset_deg):
    student, squares = _student_and_squares(6)
    answered = anchors.answers(student, squares, False, _calibrated(offset_deg))
    own = self_training.pseudo_labels(student, squares, False)
    np.testing.assert_allclose(answered.front, own.front, atol=1e-5)
    np.testing.assert_array_equal(answered.magnitudes, own.magnitudes)


def test_a_calibration_settles_the_ends_of_own_answers():
    student, squares = _student_and_squares(6)
    own = self_training.pseudo_labels(student, squares, False)
    bias = tuple(3.0 * (cosine > 0) for cosine, _ in viewpoint.QUADRANT_SIGNS)
    fitted = dataclasses.replace(_calibrated(0.0), quadrant_bias=bias)
    answered = anchors.answers(student, squares, False, fitted)
    raised = answered.front > own.front
    slanting = own.slant_deg < self_training.SIDE_ON_DEG
    assert slanting.any()
    np.testing.assert_array_equal(raised, slanting)


@pytest.mark.parametrize("way_round", [1.0, -1.0])
@pytest.mark.parametrize("offset_deg, kind", [(180.0, "symmetric"), (0.0, "symmetric"),
                                              (70.0, "circular")])  # fmt: skip
def test_once_an_anchor_is_answered_as_asked_its_label_comes_out(offset_deg, kind, way_round):
    student, squares = _student_and_squares(3)
    fitted = Calibration((way_round, 1.0, 1.0), (offset_deg, 0.0, 0.0), (kind, "linear", "linear"))
    labels = np.array([[30.0, 5.0, np.nan], [-100.0, np.nan, 3.0], [np.nan, -7.0, 0.0]])
    asked = anchors.targets(student, anchors.Anchors(squares, squares, labels, 0.0), False, fitted)

    own_deg = asked.angles_deg(student.encoding)
    calibrated_deg = viewpoint.wrap_deg(own_deg * fitted.scale + np.array(fitted.offset_deg))
    before = self_training.pseudo_labels(student, squares, False).angles_deg(student.encoding)
    apart = viewpoint.wrap_deg(calibrated_deg - labels)
    np.testing.assert_allclose(apart[~np.isnan(labels)], 0.0, atol=0.1)
    np.testing.assert_allclose(own_deg[np.isnan(labels)], before[np.isnan(labels)], atol=0.1)


def test_an_angle_that_the_calibration_answers_alike_for_all_is_still_taught():
    student, squares = _student_and_squares(3)
    fitted = Calibration((1.0, 0.0, 1.0), (0.0, 4.0, 0.0), ("symmetric", "linear", "linear"))
    labels = np.array([[np.nan, 10.0, np.nan], [np.nan, 4.0, np.nan], [np.nan, -2.0, np.nan]])
    asked = anchors.targets(student, anchors.Anchors(squares, squares, labels, 0.0), False, fitted)

    before = self_training.pseudo_labels(student, squares, False).angles_deg(student.encoding)
    moved = asked.angles_deg(student.encoding)[:, 1] - before[:, 1]
    np.testing.assert_allclose(viewpoint.wrap_deg(moved), [6.0, 0.0, -6.0], atol=0.1)


@pytest.fixture
def pictures(tmp_path):
    return write_cutouts(tmp_path / "pictures")


@pytest.fixture
def table(pictures):
    path = pictures / "labels.csv"
    path.write_text(LABELS + "".join(f"{i}.png,{30 * i - 150},{i}\n" for i in range(10)))
    return path


def test_anchors_are_read_from_the_tables_folder(table):
    read = anchors.read(str(table), FRAMING)
    assert len(read) == 10 and read.layers.shape == (10, 128, 128, 4)
    assert read.squares.shape == (10, 64, 64, 3)
    np.testing.assert_array_equal(read.angles_deg[3], [-60.0, 3.0, np.nan])


@pytest.mark.parametrize(
    "text, said",
    [(LABELS, "no row"), (LABELS + "x.png,1,2\n", "none of the 1 selected"),
     (LABELS + "0.png,1,2\n1.png,3,4\n", "give more anchors")],
)  # fmt: skip
def test_too_few_anchors_are_a_users_error(table, text, said):
    table.write_text(text)
    with pytest.raises(UserError, match=said):
        anchors.read(str(table), FRAMING)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    analysis = AnalysisNetwork(resolution=32, width=0.03, style_size=8)
    analysis.build()
    run_folder.save_model(folder / "models", analysis, "analysis.keras")
    (folder / "options.json").write_text(config.Options.of(data="photos").to_json())
    Calibration((1.0, 1.0, 1.0), (180.0, 0.0, 0.0), pictures=30).save(folder / "calibration.json")
    return run_folder.load(folder)


@pytest.mark.slow
def test_they_train_a_quarter_of_each_batch_and_the_run_says_so(
    run, pictures, table, tmp_path, monkeypatch, eager
):
    fed, asked, weights = [], [], []
    fit, targets = student_stages.Fit.__call__, anchors.targets

    def noted(*given):
        asked.append(targets(*given))
        return asked[-1]

    def watched(self, feed, steps, rate, backup_dir):
        if backup_dir.name.startswith("anchors"):
            fed.append(next(feed(0))[0])
            weights.append(self.student.get_weights())
        fit(self, feed, steps, rate, backup_dir)
        if backup_dir.name.startswith("anchors"):
            weights.append(self.student.get_weights())

    monkeypatch.setattr(student_stages.Fit, "__call__", watched)
    monkeypatch.setattr(anchors, "targets", noted)
    settings = imagenet_student.Settings(
        steps=1,
        batch_size=8,
        end_learning=ends.Settings(rounds=0),
        scene_learning=Rounds(rounds=0, steps=1),
        anchor_learning=Rounds(rounds=1, steps=1),
    )
    source, first = Source(str(pictures)), tmp_path / "first"
    scenes_dir = str(pictures)

    def distilled(start, out, **more):
        return imagenet_student.distill(
            start, out, settings, source, scenes_dir=scenes_dir, quiet=True, **more
        )

    record = distilled(run, first, anchors_table=str(table))
    assert record["anchored_on"] == 10 and record["anchors"] == "labels.csv"
    student = run_folder.load(first)
    fitted = student.calibration()
    assert fitted.confidence is None and "anchors" in fitted.doubts[-1]
    assert fitted.quadrant_bias == NO_BIAS
    assert fitted.networks == student.networks and len(fitted.fitted_on) == 10
    assert student.training == "self-supervised, then with 10 labelled pictures (anchors)"
    told = cards.introduction(student.options, student.student, student.anchors)
    assert "self-supervised, then with 10 labelled pictures (anchors); a small student" in told
    assert "No label" not in cards.training_data(student.options, "Photos.", student.anchors)

    # The finished student goes on with them, and with nothing else.
    distilled(student, tmp_path / "second", anchors_table=str(table))
    assert json.loads((tmp_path / "second" / "distill.json").read_text())["teacher"] == "first"

    halfway = self_training.mean_weights(weights[:2])
    for kept, wanted in zip(student.analysis().get_weights(), halfway, strict=True):
        if wanted.dtype == np.float32:
            np.testing.assert_array_equal(kept, wanted)
    assert any(not np.array_equal(*pair) for pair in zip(*weights[:2], strict=True))

    # Two of eight are anchors, with the azimuth asked of one or, mirrored, its negative.
    assert len(fed) == len(asked) == 2
    code = student.analysis().encoding
    for batch, wanted in zip(fed, asked, strict=True):
        assert len(batch["pictures"]) == 8
        azimuths = PseudoLabels(batch["magnitudes"], batch["quadrants"]).angles_deg(code)[:, :1]
        of_anchors = wanted.angles_deg(code)[:, 0]
        apart = viewpoint.wrap_deg(azimuths - np.concatenate([of_anchors, -of_anchors]))
        is_asked = np.abs(apart).min(axis=1) < 0.1
        assert is_asked[3:5].all() and not is_asked.all()


def test_only_a_student_with_imagenet_features_goes_on(run, table, tmp_path):
    record = {"teacher": "run", "backbone": "mobilenet_v3_small"}
    (run.path / student_run.RECORD).write_text(json.dumps(record))
    settings = imagenet_student.Settings()
    with pytest.raises(UserError, match="without ImageNet features"):
        imagenet_student.distill(
            run, tmp_path / "s", settings, Source("x"), anchors_table=str(table)
        )
    (run.path / student_run.RECORD).write_text(
        json.dumps(record | {"backbone": "efficientnet_lite0"})
    )
    small = imagenet_student.Settings(backbone="efficientnet_lite0_small")
    with pytest.raises(SettingError, match=r"has efficientnet_lite0$"):
        imagenet_student.distill(run, tmp_path / "s", small, Source("x"), anchors_table=str(table))
    with pytest.raises(SettingError, match="resolution=64"):
        imagenet_student.distill(
            run, tmp_path / "s", settings, Source("x"), anchors_table=str(table)
        )
