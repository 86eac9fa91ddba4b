"""A student learns the teacher's answers, and its run folder serves every other command."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from in_process import run_command

from ssv_tf import config, distill, viewpoint
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data.framing import to_network
from ssv_tf.evaluation import calibration
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.evaluation.confidence import Confidence
from ssv_tf.models import encoding, inference
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.student import StudentNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import run_folder, student_run
from ssv_tf.training.distillation import Distiller

pytestmark = pytest.mark.slow

OPTIONS = config.Options.of(elevation_max_deg=20.0)
ENCODING = {"centre_rad": (0.0, 0.17, 0.0), "stretch": (1.0, 4.0, 9.0)}


def _teacher():
    network = AnalysisNetwork(resolution=32, width=0.05, style_size=16, trunk="strided", **ENCODING)
    network.build()
    return network


def _synthesis():
    network = SynthesisNetwork(
        resolution=32, width=0.03, code_size=8, mapping_layers=1, volume_size=8
    )
    network.build()
    return network


def _student(resolution=32, width=0.25):
    network = StudentNetwork(resolution=resolution, width=width, **ENCODING)
    network.build()
    return network


def _pictures(count, side=32, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, side, side, 3)).astype("float32")


def test_shapes_and_that_no_answer_depends_on_its_neighbours():
    student, pictures = _student(), _pictures(3)
    together = student.viewpoint(pictures)
    assert {name: tuple(value.shape) for name, value in together.items()} == {
        "magnitude_logits": (3, 3, 2), "quadrant_logits": (3, 3, 4), "confidence_logit": (3, 1),
    }  # fmt: skip
    alone = student.viewpoint(pictures[1:2])
    for name, value in alone.items():
        np.testing.assert_allclose(value[0], together[name][1], atol=1e-4)
    answers = student.answers(pictures)
    assert answers.pop("channel_statistics").shape == (3, 32) and set(answers) == set(together)
    for name, value in answers.items():
        np.testing.assert_array_equal(value, together[name])


def test_keras_file_brings_it_back(tmp_path):
    student, pictures = _student(), _pictures(2)
    student.save(tmp_path / "s.keras")
    again = keras.saving.load_model(tmp_path / "s.keras")
    assert again.encoding == student.encoding
    for name, value in student.answers(pictures).items():
        np.testing.assert_array_equal(again.answers(pictures)[name], value)


def test_raw_predictions_carry_the_head():
    student = _student()
    raw = inference.predict(student, np.zeros((2, 32, 32, 3), np.uint8))
    head = student.viewpoint(to_network(np.zeros((1, 32, 32, 3))))["confidence_logit"]
    assert raw.quadrant_logits.shape == (2, 3, 4) and len(raw) == 2
    assert raw.confidence_logit[0, 0] == pytest.approx(float(head[0, 0]), abs=1e-4)


def _distiller(drawn=2, options=OPTIONS, student=None):
    student = student or _student()
    made = Distiller(
        student=student, teacher=_teacher(), synthesis=_synthesis(), viewpoints=options.viewpoints,
        mirror_data=options.pictures.mirror_data, augment_strength=0.0, right_within_deg=30.0,
        drawn=drawn, mirror_weight=0.1, seed=0,
    )  # fmt: skip
    made.build()
    return made


def _target_code(out):
    return keras.ops.convert_to_numpy(out["magnitudes"]), keras.ops.convert_to_numpy(
        out["quadrants"]
    )


def test_targets_are_the_means_of_the_teachers_two_answers():
    distiller, pictures = _distiller(drawn=0), _pictures(4)
    out = distiller(pictures)
    plain = distiller.teacher.viewpoint(pictures)
    mirrored = distiller.teacher.viewpoint(pictures[:, :, ::-1])
    back = encoding.mirror_prediction(mirrored["magnitude_logits"], mirrored["quadrant_logits"])
    magnitudes, quadrants = _target_code(out)
    for got, own, other in zip(
        (magnitudes, quadrants),
        (plain["magnitude_logits"], plain["quadrant_logits"]), back, strict=True,
    ):  # fmt: skip
        wanted = (keras.ops.softmax(own) + keras.ops.softmax(other)) / 2
        np.testing.assert_allclose(got[:4], wanted, atol=1e-5)
    # The second half is the same for the mirror images: left and right of azimuth swapped.
    np.testing.assert_allclose(quadrants[4:, 0], quadrants[:4, 0][:, [2, 3, 0, 1]], atol=1e-6)
    own = keras.ops.convert_to_numpy(distiller.teacher.angles_rad(mirrored))[:, 0]
    np.testing.assert_allclose(out["azimuth_rad"][4:], own, atol=1e-4)


def test_drawn_pictures_are_taught_as_they_were_drawn():
    distiller = _distiller(drawn=3)
    out = distiller(_pictures(2))
    magnitudes, quadrants = _target_code(out)
    assert magnitudes.shape == (10, 3, 2)
    azimuth = np.asarray(out["azimuth_rad"])
    known = azimuth[2:5]
    np.testing.assert_allclose(azimuth[7:], -known, atol=1e-6)
    np.testing.assert_allclose(magnitudes[2:5, 0, 0], np.cos(known) ** 2, atol=1e-5)
    np.testing.assert_array_equal(
        quadrants[2:5, 0].argmax(1), viewpoint.quadrant_of_deg(np.degrees(known))
    )


def test_without_mirrored_data_nothing_is_mirrored():
    options = OPTIONS.replace(mirror_data=False)
    distiller, pictures = _distiller(drawn=1, options=options), _pictures(2)
    out = distiller(pictures)
    assert out["magnitudes"].shape[0] == 3
    plain = distiller.teacher.viewpoint(pictures)["quadrant_logits"]
    np.testing.assert_allclose(out["quadrants"][:2], keras.ops.softmax(plain), atol=1e-5)


def test_only_the_student_learns_and_it_learns():
    distiller, pictures = _distiller(), _pictures(16)
    before = [w.numpy().copy() for w in distiller.teacher.weights + distiller.synthesis.weights]
    optimizer = keras.optimizers.Adam(3e-3)
    optimizer.build(distiller.trainable_weights)
    distiller.compile(optimizer)
    history = distiller.fit(
        ((pictures,) for _ in range(40)), steps_per_epoch=20, epochs=2, verbose=0, shuffle=False
    )
    first, last = history.history["viewpoint"]
    assert last < 0.8 * first
    after = distiller.teacher.weights + distiller.synthesis.weights
    assert all(np.array_equal(a, b.numpy()) for a, b in zip(before, after, strict=True))
    own = {id(w) for w in distiller.student.trainable_weights}
    assert {id(w) for w in distiller.trainable_weights} == own


def test_confidence_does_not_steer_the_viewpoint():
    import tensorflow as tf

    student = _student()
    with tf.GradientTape() as tape:
        sure = tf.reduce_sum(student.viewpoint(_pictures(2))["confidence_logit"])
    head = {id(v) for v in student.confidence.trainable_weights}
    gradients = tape.gradient(sure, [v.value for v in student.trainable_weights])
    for weight, gradient in zip(student.trainable_weights, gradients, strict=True):
        assert (gradient is not None) == (id(weight) in head)


# --- The command -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def teacher_run(tmp_path_factory):
    """A run of untrained networks on a few of the embedded cars."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("teacher") / "cars"
    options = OPTIONS.replace(limit=24, run_dir=str(folder))
    folder.mkdir()
    (folder / "options.json").write_text(options.to_json())
    run_folder.save_models(folder / "models", _teacher(), _synthesis())
    sure = Confidence(1.0, 0.0, 0.0)
    dataclasses.replace(Calibration.identity(), confidence=sure).save(
        folder / calibration.FILE_NAME
    )
    return folder


def _distil(teacher_run, out, *words):
    return run_command(
        distill, f"--run={teacher_run}", f"--out={out}", "--resolution=32", "--width=0.25",
        "--batch_size=4", "--steps=2", "--quiet", *words,
    )  # fmt: skip


@pytest.fixture(scope="module")
def student_folder(teacher_run, tmp_path_factory):
    """Its training runs as a graph, as users have it."""
    out = tmp_path_factory.mktemp("student") / "phone"
    run = run_folder.load(teacher_run)
    student_run.distill(run, out, student_run.Settings(32, 0.25, 3, 4), quiet=True)
    return out


def test_student_folder_is_a_run(student_folder):
    run = run_folder.load(student_folder)
    assert run.student == "cars" and run.options.framing.resolution == 32
    assert isinstance(run.analysis(), StudentNetwork)
    # The teacher's confidence would be a guess; its angles hold.
    assert run.calibration() == Calibration.identity()
    record = json.loads((student_folder / student_run.RECORD).read_text())
    assert record["pictures"] == 22 and record["teacher_distance"]["pictures"] == 2
    assert set(student_folder.iterdir()) == {
        student_folder / name
        for name in ("options.json", "models", "distill.json", "calibration.json")
    }
    with pytest.raises(UserError, match="a student of cars: it has no S"):
        run.synthesis()


def test_interrupted_student_goes_on(teacher_run, tmp_path, monkeypatch, eager):
    monkeypatch.setattr(student_run, "STEPS_AN_EPOCH", 2)
    run, out = run_folder.load(teacher_run), tmp_path / "phone"
    settings = student_run.Settings(32, 0.25, 6, 4)
    whole = student_run.distill(run, tmp_path / "whole", settings, quiet=True)
    seen = []

    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(epoch)
            if len(seen) == 3:  # after the second epoch was kept, before the third is
                raise KeyboardInterrupt

    monkeypatch.setattr(
        student_run, "callbacks", lambda *args, old=student_run.callbacks: [Stop(), *old(*args)]
    )
    with pytest.raises(KeyboardInterrupt):
        student_run.distill(run, out, settings, quiet=True)
    assert not (out / "options.json").exists()
    with pytest.raises(SettingError, match="unfinished student of other settings"):
        student_run.distill(run, out, dataclasses.replace(settings, rate=1.0), quiet=True)
    again = student_run.distill(run, out, settings, quiet=True)
    assert seen == [0, 1, 2, 2]
    assert again == whole
    first, second = (run_folder.load(folder).analysis() for folder in (tmp_path / "whole", out))
    for one, other in zip(first.weights, second.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)


def test_mistakes_cost_one_line(teacher_run, student_folder, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("keep")
    for out, words, said in (
        (tmp_path / "a", ["--width=9"], "width"),
        (tmp_path / "other", [], "exists and is no student"),
        (tmp_path / "other", ["--overwrite"], "exists and is no student"),
        (student_folder, [], "holds a student"),
        (tmp_path / "b", ["--data_dir=/no/such/folder"], "is no folder"),
    ):
        code, err = _distil(teacher_run, out, *words), capsys.readouterr().err
        assert code != 0 and said in err and len(err.strip().splitlines()) == 1, (said, err)
    assert (tmp_path / "other" / "mine.txt").read_text() == "keep"


def test_a_student_teaches_without_drawings_and_hands_on_what_labels_it_saw(
    student_folder, tmp_path
):
    record_path = student_folder / student_run.RECORD
    before = record_path.read_text()
    record_path.write_text(json.dumps(json.loads(before) | {"anchored_on": 30}))
    try:
        assert _distil(student_folder, tmp_path / "c") == 0
    finally:
        record_path.write_text(before)
    record = json.loads((tmp_path / "c" / student_run.RECORD).read_text())
    assert record["teacher"] == "phone" and record["drawn_share"] == 0.0
    assert record["anchored_on"] == 30
    student = run_folder.load(tmp_path / "c")
    assert student.anchors == 30 and "30 labelled pictures" in student.training
    assert student.calibration() == Calibration.identity()


def test_smaller_than_the_teacher_is_refused(tmp_path):
    with pytest.raises(SettingError, match="less than the teacher's 64"):
        options = OPTIONS.replace(resolution=64)
        student_run._check(run_folder.Run(tmp_path, options), student_run.Settings(resolution=32))
