"""The ceiling: V trained from labels learns them, never without being asked, and always says so."""

import itertools
import json

import numpy as np
import pytest
import tensorflow as tf
import tiny
from PIL import Image

from ssv_tf import config, viewpoint
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import collection, sources
from ssv_tf.data.pipeline import training_dataset
from ssv_tf.evaluation import calibration, labelled, report, scoring
from ssv_tf.training import engines, loop, networks, run_folder, supervised

TINY = config.Options.of(
    supervised=True, steps=2, **tiny.NETWORKS, log_interval=1, checkpoint_interval=2,
    evaluation_interval=2,
)  # fmt: skip


def _angles(count, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform((-180, 0, -8), (180, 30, 8), (count, 3)).astype(np.float32)


def _picture_set(count, seed=0, labelled=True):
    images = np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    names = [f"{i}.png" for i in range(count)]
    return collection.PictureSet(names, images, _angles(count, seed) if labelled else None)


@pytest.mark.slow
def test_it_learns_the_labels_of_a_few_pictures(monkeypatch):
    tiny.without_chance(monkeypatch, augment=0.0, trunk="paper")
    monkeypatch.setattr(networks, "EMA_DECAY", 0.9)
    options = TINY.replace(mirror_data=False, analysis_rate=5e-3, steps=150, front_share=0.7)
    few = _picture_set(8)
    trainer = supervised.make_trainer(options, few.angles_deg)
    before = [w.numpy() for w in trainer.synthesis.weights]
    batches = trainer.batches(few.images, 0)
    seen = []
    for number in range(options.run.steps):
        parts = trainer.step(next(batches), tf.constant(number, tf.int64), number % 8 == 0)
        seen.append(float(parts["v_viewpoint"]))
    assert set(parts) == {"v_viewpoint", "v_gradient"}
    assert seen[-1] < 0.1 * seen[0]
    predicted = labelled.inference.predict(trainer.analysis_ema, few.images)
    predicted = labelled.inference.decode(predicted).degrees
    errors = np.abs(viewpoint.wrap_deg(predicted - few.angles_deg))
    assert np.all(np.median(errors, axis=0) < (15, 3, 2)), errors
    for was, weight in zip(before, trainer.synthesis.weights, strict=True):
        np.testing.assert_array_equal(was, weight.numpy())


def test_a_mirrored_picture_has_the_mirrored_label():
    images = np.zeros((20, 4, 4, 3), np.uint8)
    images += np.arange(20, dtype=np.uint8).reshape(-1, 1, 1, 1)
    images[:, :, 0] = 255
    angles = np.radians(_angles(20))
    for mirror in (True, False):
        pairs = training_dataset(images, 10, seed=3, mirror=mirror, angles=angles)
        plain = training_dataset(images, 10, seed=3, mirror=mirror).as_numpy_iterator()
        turned = 0
        for pictures, labels in itertools.islice(pairs.as_numpy_iterator(), 6):
            np.testing.assert_array_equal(pictures, next(plain))
            which = np.rint((pictures[:, 1, 1, 0] + 1) * 127.5).astype(int)
            mirrored = pictures[:, 0, -1, 0] == 1.0
            turned += mirrored.sum()
            signs = np.where(mirrored[:, None], (-1, 1, -1), (1, 1, 1))
            np.testing.assert_allclose(labels, angles[which] * signs, rtol=1e-6)
        assert 15 < turned < 45 if mirror else turned == 0


def test_labels_beyond_what_the_code_can_hold_stay_at_its_end():
    degrees = np.array([[179.0, 35.0, 9.0], [-179.0, 80.0, -60.0], [10.0, -70.0, 60.0]])
    held = np.degrees(supervised.targets_rad(degrees, TINY.viewpoints))
    expected = [[179, 35, 9], [-179, 51, -19.2], [10, -21, 19.2]]
    np.testing.assert_allclose(held, expected, atol=1e-3)


@pytest.fixture
def collections(monkeypatch):
    """Random pictures in place of rendered ones; what was asked for is noted."""
    asked = []

    def load_collection(spec, *, split="train", labels=None, **options):
        asked.append((spec, split, labels, options.get("labelled_only")))
        own = spec == sources.EMBEDDED or labels
        return _picture_set(160 if split == "calibration" else 24, len(split), bool(own))

    monkeypatch.setattr(sources, "load_collection", load_collection)
    return asked


@pytest.mark.slow
def test_a_run_is_trained_scored_and_shown_as_the_ceiling(tmp_path, collections, capsys, eager):
    options = TINY.replace(run_dir=str(tmp_path / "run"))
    assert loop.train(options, quiet=True) == 0
    assert f"pictures of 32 px, {config.SUPERVISED}" in capsys.readouterr().out
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    shown = [x for x in map(json.loads, lines) if x["kind"] == "train"]
    assert [x["step"] for x in shown] == [1, 2] and "s_viewpoint" not in shown[0]
    assert not list((tmp_path / "run" / "pictures").iterdir()), "S has nothing to show"
    assert loop.train(options.replace(steps=3), quiet=True) == 0
    run = run_folder.load(tmp_path / "run")
    with pytest.raises(UserError, match="it has no trained S"):
        run.synthesis()
    known, test = _picture_set(40, 1), _picture_set(30, 2)
    split = labelled.Split(known, test, known.angles_deg, "")
    outcome = scoring.evaluate(labelled.predictor(run.analysis()), split)
    outcome.result.update(run="r", training=run.options.training)
    assert scoring.table(outcome.result).startswith(config.SUPERVISED)
    page = report.build(run.path, run.options, outcome, pictures=0)
    assert f"<h1>Viewpoint score of r, {config.SUPERVISED}</h1>" in page
    assert calibration.FILE_NAME not in [p.name for p in run.path.iterdir()]


def test_labels_come_from_the_table_or_the_source(collections):
    folder = TINY.replace(data="photos", labels="a.csv")
    assert loop.load_training_pictures(folder).has_label.all()
    assert collections.pop() == ("photos", "train", "a.csv", True)
    assert loop.load_training_pictures(TINY).has_label.all()
    assert collections.pop() == (sources.EMBEDDED, "train", None, False)


def test_pictures_without_a_label_are_left_out(monkeypatch):
    some = _picture_set(4)
    some.angles_deg[2] = np.nan
    monkeypatch.setattr(sources, "load_collection", lambda *_, **__: some)
    assert loop.load_training_pictures(TINY).names == ["0.png", "1.png", "3.png"]
    assert len(loop.load_training_pictures(TINY.replace(supervised=False))) == 4


def test_where_and_the_angles_stand_in_one_table(tmp_path):
    for i in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
    rows = "".join(f"{i}.png,{i},2,3,{i % 2}\n" for i in range(3))
    head = "filename,azimuth_deg,elevation_deg,tilt_deg,kind\n"
    table = tmp_path / "angles.csv"
    table.write_text(head + rows)
    options = TINY.replace(data=str(tmp_path), labels=str(table), where="kind==0")
    chosen = loop.load_training_pictures(options)
    assert chosen.names == ["0.png", "2.png"] and chosen.angles_deg[:, 0].tolist() == [0, 2]
    unlabelled = loop.load_training_pictures(options.replace(supervised=False))
    assert unlabelled.names == ["0.png", "2.png"] and not unlabelled.has_label.any()


def test_without_labels_nothing_is_trained(tmp_path, collections):
    options = TINY.replace(data="photos", run_dir=str(tmp_path / "run"))
    with pytest.raises(SettingError, match="photos brings no angles; give `labels=CSV`"):
        loop.train(options, quiet=True)
    assert not (tmp_path / "run").exists()


def test_labels_of_another_run_are_refused():
    with pytest.raises(SettingError, match=r"`labels=a\.csv` needs `where` or `supervised`"):
        config.Options.of(data="photos", labels="a.csv")


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(engines.keras.backend, "backend", lambda: "jax")
    with pytest.raises(SettingError, match="`supervised` trains on TensorFlow alone"):
        engines.make_trainer(TINY, _angles(4))


def test_a_run_says_how_it_was_trained(capsys):
    run_folder.say_if_supervised(config.Options.of())
    assert capsys.readouterr().err == ""
    run_folder.say_if_supervised(TINY)
    assert config.SUPERVISED in capsys.readouterr().err
    run_folder.say_if_supervised(config.from_json('{"teacher_weight": 0.5, "teacher_from": 0.1}'))
    assert capsys.readouterr().err.splitlines() == [
        "note: the run was trained by an earlier version with teacher_weight=0.5"
    ]
