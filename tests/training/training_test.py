"""The training loop for real, at a tiny size: it learns, resumes exactly, stops, refuses."""

import json
import os
import re
import signal
import time
from types import SimpleNamespace

import forked
import keras
import numpy as np
import pytest
import tensorflow as tf
import tiny as sizes
from PIL import Image
from predictions import prediction_of

from ssv_tf import config
from ssv_tf.base.errors import SettingError, TrainingDiverged, UserError
from ssv_tf.data import collection, sources
from ssv_tf.training import checkpoints, loop, networks, precision, run_folder, step

TINY = config.Options.of(
    steps=4,
    **sizes.NETWORKS,
    log_interval=2,
    checkpoint_interval=2,
    evaluation_interval=2,
    prior_rate=0.0,
    analysis_rate=1e-3,
    synthesis_rate=1e-3,
)


@pytest.fixture(autouse=True)
def without_dropout(monkeypatch):
    sizes.without_chance(monkeypatch)
    sizes.with_short_looks(monkeypatch)


@pytest.fixture(autouse=True)
def small_collections(monkeypatch):
    """Random pictures in place of rendered ones."""

    def load_collection(spec, *, resolution, split="train", **_):
        rng = np.random.default_rng(len(split))
        count = 160 if split == "calibration" else 64
        images = rng.integers(0, 256, (count, resolution, resolution, 3), dtype=np.uint8)
        angles = rng.uniform(-30, 30, (count, 3)).astype(np.float32)
        return collection.PictureSet([f"{i}.png" for i in range(count)], images, angles)

    monkeypatch.setattr(sources, "load_collection", load_collection)


def tiny(folder, **changes):
    return TINY.replace(run_dir=str(folder), **changes)


def weights_of(folder):
    run = run_folder.load(folder)
    return [np.asarray(w) for m in (run.analysis(), run.synthesis()) for w in m.get_weights()]


@pytest.mark.slow
def test_run_folder_holds_all_it_promises(tmp_path, monkeypatch, capsys, eager):
    monkeypatch.setattr(loop, "_FIRST_LOOK", 1)
    folder = tmp_path / "run"
    assert loop.train(tiny(folder), quiet=True) == 0
    with Image.open(folder / "pictures" / "turntable_so_far.gif") as turning:
        assert turning.n_frames == 12
    said = capsys.readouterr().out
    assert said.count("turntable_so_far.gif") == 1
    assert re.search(r"step 1 of 4, about \d+ (seconds|minutes) left: azimuth_median_deg ", said)
    assert "step 4 of 4: azimuth_median_deg " in said
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines if x["kind"] == "train"] == [2, 4]
    assert [x["step"] for x in lines if x["kind"] == "score"] == [1, 2, 4]
    first = next(x for x in lines if x["kind"] == "train")
    assert first["v_viewpoint"] > 0 and first["seconds_per_step"] > 0
    assert list((folder / "pictures").glob("turntable_*.png"))
    assert list((folder / "tensorboard").iterdir())
    assert {p.name for p in (folder / "models").iterdir()} == {
        "analysis.keras", "synthesis.keras", "health.json", "best",
    }  # fmt: skip
    health = [x for x in lines if x["kind"] == "health"]
    assert json.loads((folder / "models" / "health.json").read_text())["step"] == 4
    assert health and 0 <= health[-1]["health"] <= 1 and 0 <= health[-1]["explained"] <= 1
    assert config.from_json((folder / "options.json").read_text()) == precision.settle(tiny(folder))


@pytest.mark.slow
def test_interrupted_run_ends_with_the_unbroken_runs_weights(tmp_path, monkeypatch, eager):
    # Of compiled steps `lasting_test` shows the same, by kills.
    sizes.without_chance(monkeypatch, dropout=0.3)
    monkeypatch.setattr(networks, "DECAY_SHARE", 0.0)  # else the rates follow the number of steps
    changes = {"deterministic": True, "prior_rate": 0.01}
    loop.train(tiny(tmp_path / "whole", **changes), quiet=True)
    loop.train(tiny(tmp_path / "broken", steps=2, **changes), quiet=True)
    loop.train(tiny(tmp_path / "broken", **changes), quiet=True)
    pairs = zip(weights_of(tmp_path / "whole"), weights_of(tmp_path / "broken"), strict=True)
    for whole, broken in pairs:
        np.testing.assert_array_equal(whole, broken)
    ends = [np.load(tmp_path / name / "checkpoints" / "step-4.npz") for name in ("whole", "broken")]
    assert np.abs(ends[0]["prior/0000"]).max() > 0
    for name in ends[0].files:
        np.testing.assert_array_equal(ends[0][name], ends[1][name], err_msg=name)
    signals = [tmp_path / name / "models" / "health.json" for name in ("whole", "broken")]
    assert signals[0].read_text() == signals[1].read_text()
    assert "stability" in json.loads(signals[0].read_text())


@pytest.mark.slow
def test_averaged_networks_are_what_is_saved_and_scored(tmp_path, monkeypatch, eager):
    scored = []
    predict = loop.inference.predict

    def noting(analysis, images):
        scored.append([w.numpy() for w in analysis.weights])
        return predict(analysis, images)

    monkeypatch.setattr(loop.inference, "predict", noting)
    folder = tmp_path / "run"
    loop.train(tiny(folder, steps=2), quiet=True)
    run, end = run_folder.load(folder), np.load(folder / "checkpoints" / "step-2.npz")
    for name in ("analysis", "synthesis"):
        saved = getattr(run, name)().trainable_weights
        averages, lasts = (
            [value for key, value in sorted(end.items()) if key.startswith(f"{kind}/")]
            for kind in (f"{name}_average", name)
        )
        for weight in saved:
            assert any(np.array_equal(weight.numpy(), average) for average in averages)
        moved = [not any(np.array_equal(w.numpy(), last) for last in lasts) for w in saved]
        assert np.mean(moved) > 0.9
    for weight, saved in zip(scored[-1], run.analysis().weights, strict=True):
        np.testing.assert_array_equal(weight, saved.numpy())


def test_rate_is_constant_then_falls_to_zero_as_a_cosine():
    fall = networks.CosineFall(2e-3, 70, 100)
    rates = [float(fall(step)) for step in (0, 69, 70, 85, 100, 200)]
    np.testing.assert_allclose(rates, [2e-3, 2e-3, 2e-3, 1e-3, 0, 0], atol=1e-9)
    again = networks.CosineFall.from_config(fall.get_config())
    assert float(again(80)) == float(fall(80))


@pytest.mark.parametrize("objective, mapping_rate", [("composite", 1e-4), ("paper", 1e-5)])
def test_every_optimizer_falls_over_the_last_share_of_the_steps(objective, mapping_rate):
    optimizers = networks.make_optimizers(TINY.replace(steps=40, objective=objective))
    for optimizer, rate in zip(optimizers, (1e-3, 1e-3, mapping_rate), strict=True):
        optimizer.build([])
        given = []
        for done in (28, 34, 40):
            optimizer.iterations.assign(done)
            given.append(float(optimizer.learning_rate) / rate)
        np.testing.assert_allclose(given, [1.0, 0.5, 0.0], atol=1e-6)


def test_checkpoints_of_an_earlier_version_are_refused_in_one_line(tmp_path):
    (tmp_path / "ckpt-4.index").write_text("")
    saved = checkpoints.Checkpoints(tmp_path, SimpleNamespace(state=dict), 3)
    with pytest.raises(UserError, match="checkpoints of an earlier version"):
        saved.restore()


@pytest.mark.slow
def test_training_lowers_the_consistency_losses(tmp_path, monkeypatch):
    # A short code and instance norm, else so small a V needs more steps to learn styles.
    sizes.without_chance(monkeypatch, code_size=4, trunk="paper", camera_distance=0.0)
    options = tiny(tmp_path / "run", steps=40, log_interval=10, evaluation_interval=100)
    rates = {"analysis_rate": 5e-3, "synthesis_rate": 5e-3, "gradient_penalty_weight": 10.0}
    options = options.replace(**rates)
    loop.train(options, quiet=True)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    kept = [x for x in map(json.loads, lines) if x["kind"] == "train"]
    assert kept[-1]["v_style"] < kept[0]["v_style"]
    assert kept[-1]["v_viewpoint"] < 0.9 * kept[0]["v_viewpoint"]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [
    {"objective": "paper"},
    {"accumulate": 2, "batch_size": 16},
    {"precision": "mixed_bfloat16"},
    {"mirror_data": False},
])  # fmt: skip
def test_every_choice_trains(tmp_path, changes, request):
    if not set(changes) & {"objective", "precision"}:  # the graph holds no other operations
        request.getfixturevalue("eager")
    options = tiny(tmp_path, **changes)
    trainer = step.Trainer(options, step.make_strategy())
    real = tf.random.stateless_normal([options.run.batch_size, 32, 32, 3], [1, 2])
    before = [w.numpy() for w in trainer.analysis.weights + trainer.synthesis.weights]
    first = tf.constant(0, tf.int64)
    parts = {k: float(v) for k, v in trainer.step(real, first, True).items()}
    assert all(np.isfinite(value) for value in parts.values()), parts
    assert parts["v_gradient"] > 0 and parts["s_gradient"] > 0
    after = [w.numpy() for w in trainer.analysis.weights + trainer.synthesis.weights]
    moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert np.mean(moved) > 0.9


@pytest.mark.slow
def test_micro_batches_average_to_the_whole_batchs_gradient(eager):
    real = tf.random.stateless_normal([16, 32, 32, 3], [1, 2])
    norms = []
    for accumulate in (1, 2):
        options = TINY.replace(batch_size=16, accumulate=accumulate, image_weight=0.0)
        trainer = step.Trainer(options, step.make_strategy())
        parts = trainer.step(real, tf.constant(0, tf.int64), True)
        norms.append([float(parts["v_gradient"]), float(parts["s_viewpoint"])])
    np.testing.assert_allclose(norms[0], norms[1], rtol=2e-3)


@pytest.mark.slow
def test_each_half_moves_its_own_network_only(eager):
    trainer = step.Trainer(TINY, step.make_strategy())
    real = tf.random.stateless_normal([8, 32, 32, 3], [1, 2])
    nets = {"analysis": trainer.analysis, "synthesis": trainer.synthesis}
    halves = {
        "analysis": lambda: trainer.train_analysis(real, tf.constant(0, tf.int64), False),
        "synthesis": lambda: trainer.train_synthesis(tf.constant(0, tf.int64)),
    }
    for name, half in halves.items():
        before = {n: [w.numpy() for w in net.trainable_weights] for n, net in nets.items()}
        trainer.strategy.run(tf.function(half, autograph=False))
        for other, net in nets.items():
            same = [
                np.array_equal(a, w.numpy())
                for a, w in zip(before[other], net.trainable_weights, strict=True)
            ]
            assert all(same) == (other != name)


@pytest.mark.slow
def test_average_follows_its_recursion(monkeypatch):
    monkeypatch.setattr(networks, "EMA_DECAY", 0.5)
    trainer = step.Trainer(TINY, step.make_strategy())
    real = tf.random.stateless_normal([8, 32, 32, 3], [1, 2])
    average = [w.numpy() for w in trainer.synthesis_ema.trainable_weights]
    for number in range(12):
        trainer.step(real, tf.constant(number, tf.int64), False)
        rate = max(0.5, 9 / (10 + number))
        weights = trainer.synthesis.trainable_weights
        average = [a + rate * (w.numpy() - a) for a, w in zip(average, weights, strict=True)]
    for expected, weight in zip(average, trainer.synthesis_ema.trainable_weights, strict=True):
        np.testing.assert_allclose(weight.numpy(), expected, atol=1e-5)


@pytest.mark.slow
def test_divergence_stops_with_its_cause_and_keeps_the_last_good_checkpoint(
    tmp_path, monkeypatch, eager
):
    folder = tmp_path / "run"
    loop.train(tiny(folder, steps=2), quiet=True)
    before = weights_of(folder)
    real_step = step.Trainer._step

    def poisoned(self, *args):
        parts = real_step(self, *args)
        return parts | {"v_style": parts["v_style"] * float("nan")}

    monkeypatch.setattr(step.Trainer, "_step", poisoned)
    with pytest.raises(
        TrainingDiverged, match=r"step 3: v_style not a number.*step-2\.npz remains"
    ):
        loop.train(tiny(folder), quiet=True)
    for a, b in zip(before, weights_of(folder), strict=True):
        np.testing.assert_array_equal(a, b)


def test_changed_setting_is_refused_and_named(tmp_path):
    loop.prepare_folder(tiny(tmp_path / "run"), False)
    with pytest.raises(SettingError, match="`volume_size` was 8"):
        loop.prepare_folder(tiny(tmp_path / "run", volume_size=16), False)
    loop.prepare_folder(tiny(tmp_path / "run", steps=9), False)
    loop.prepare_folder(tiny(tmp_path / "run", volume_size=16), True)


def test_foreign_folder_is_never_removed(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(UserError):
            loop.prepare_folder(tiny(tmp_path), overwrite)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


@pytest.mark.slow
def test_damaged_newest_checkpoint_falls_back_to_the_one_before(tmp_path, eager):
    folder = tmp_path / "run"
    loop.train(tiny(folder), quiet=True)
    newest = folder / "checkpoints" / "step-4.npz"
    newest.write_bytes(newest.read_bytes()[:100])
    trainer = step.Trainer(tiny(folder), step.make_strategy())
    saved = checkpoints.Checkpoints(folder / "checkpoints", trainer, 1)
    assert saved.restore() == 2
    saved.save(4)
    assert {p.name for p in newest.parent.iterdir()} == {"step-4.npz", "step-4.npz.damaged"}
    assert saved.restore() == 4


@pytest.mark.slow
def test_two_devices_give_one_devices_numbers():
    done = forked.run("two_devices")
    assert "same numbers" in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
def test_sigterm_saves_then_leaves(tmp_path):
    folder = tmp_path / "run"
    running = forked.start("endless_run", folder)
    log, deadline = folder / "metrics.jsonl", time.monotonic() + 240
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(running.process.pid, signal.SIGTERM)
    done = running.end(120)
    assert done.returncode == 128 + signal.SIGTERM
    assert "everything is saved" in done.stdout
    assert (folder / "models" / "analysis.keras").is_file()
    assert list((folder / "checkpoints").glob("step-*.npz"))


def test_shapes_come_to_differ_with_the_ramp():
    ramp_steps = networks.ramp_steps(config.Options.of(steps=100, shape_ramp=0.5))
    for number, wanted in ((0, 0.0), (25, 0.5), (50, 1.0), (99, 1.0)):
        width = keras.ops.convert_to_numpy(networks.style_width(ramp_steps, 4, number))
        np.testing.assert_allclose(width, [wanted] * 4 + [1.0] * 4, rtol=1e-6)


def test_the_engine_draws_styles_as_wide_as_the_ramp_says():
    options = TINY.replace(shape_ramp=1.0)
    trainer = step.make_trainer(options)
    size, shapes = 32, trainer.objective.synthesis_draws(options.run.batch_size)

    def drawn(number):
        return trainer.strategy.run(lambda: trainer._draws(shapes, tf.constant(number), 1))[0]

    plain = step.make_trainer(TINY)
    full = plain.strategy.run(lambda: plain._draws(shapes, tf.constant(3), 1))[0]["style_first"]
    ramped = drawn(3)["style_first"]
    np.testing.assert_allclose(ramped[:, :size], 0.75 * full[:, :size], rtol=1e-6)
    np.testing.assert_array_equal(ramped[:, size:], full[:, size:])
    assert not np.any(drawn(0)["style_second"][:, :size])


def test_a_run_of_an_earlier_version_goes_on_or_says_why_not(tmp_path):
    """The settings that are gone stand in its options.json, some with another value."""
    folder = tmp_path / "run"
    loop.prepare_folder(tiny(folder), False)
    path = folder / "options.json"
    now = json.loads(path.read_text())
    before = {k: v for k, v in now.items() if k not in ("objective", "evaluation_interval")}
    before |= {"adversarial": "logistic", "projection": "composite", "code_size": 32, "keep": 5}
    path.write_text(json.dumps(before))
    loop.check_folder(tiny(folder), False)
    path.write_text(json.dumps(before | {"code_size": 64, "beta_1": 0.5}))
    with pytest.raises(SettingError, match=r"with code_size=64, beta_1=0\.5, which") as caught:
        loop.check_folder(tiny(folder), False)
    assert "`overwrite`" in str(caught.value) and "\n" not in str(caught.value)
    loop.check_folder(tiny(folder), True)


def test_a_resumed_run_may_have_its_records_decoded_elsewhere(tmp_path):
    folder = tmp_path / "run"
    options = tiny(folder, data="a/*.tfrecord", stream="files")
    loop.prepare_folder(options, False)
    loop.check_folder(options.replace(stream="grpc://a:1"), False)
    with pytest.raises(SettingError, match="`stream` was True"):
        loop.check_folder(options.replace(stream=""), False)


def test_a_small_collection_is_warned_of_and_one_below_a_batch_refused():
    options = config.Options.of(data="/photos", batch_size=16)
    with pytest.raises(UserError, match="/photos has 15 usable pictures, fewer than a batch of 16"):
        loop.few_pictures(15, options)
    assert loop.few_pictures(72, options).startswith("72 pictures are few: V can learn them by")
    assert "--init_from" in loop.few_pictures(499, options)
    assert "--init_from" not in loop.few_pictures(72, options.replace(init_from="cars"))
    assert loop.few_pictures(500, options) == ""
    assert loop.few_pictures(72, options.replace(supervised=True)) == ""


def test_periodic_scores_tell_only_what_was_calibrated_and_go_by_the_labels_tolerance(monkeypatch):
    random = np.random.default_rng(0)
    true = random.uniform((-180, 0, -5), (180, 30, 5), (140, 3))
    classed = np.stack([45 * np.round(true[:, 0] / 45), true[:, 1], true[:, 2] * np.nan], axis=1)
    classed[:97, 1] = np.nan  # 3 of the 100 to calibrate on know their elevation
    pictures = collection.PictureSet(
        [str(i) for i in range(140)], np.zeros((140, 2, 2, 3), np.uint8), classed, [], 22.5
    )
    said, recorded = [], []
    watch = SimpleNamespace(histogram=lambda *_: None, say=said.append, when="step {}".format)
    watch.record = lambda _, values, __: recorded.append(values)
    monkeypatch.setattr(loop.inference, "predict", lambda *_: prediction_of(true))
    session = SimpleNamespace(
        scoring=pictures, watch=watch, options=TINY, trainer=SimpleNamespace(analysis_ema=None)
    )
    loop._Session._score(session, 7)
    assert set(recorded[0]) == {"azimuth_median_deg", "azimuth_within_30", "front_rear_balanced"}
    assert recorded[0]["azimuth_median_deg"] == 0.0 and "elevation" not in said[0]
    pictures.angles_deg[:] = np.nan
    loop._Session._score(session, 8)
    assert "step 8: no score: 0 labelled pictures" in said[1] and len(recorded) == 1
