"""The whole way of a student with ImageNet features, on a few pictures and two steps."""

import dataclasses
import json

import numpy as np
import pytest
from cutout_files import write_cutouts
from in_process import run_command
from PIL import Image

import ssv_tf
from ssv_tf import config, distill
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import sources
from ssv_tf.evaluation import labelled
from ssv_tf.evaluation.calibration import NO_BIAS, NO_WARP, Calibration
from ssv_tf.models import inference
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.student import EFFICIENTNET_SMALL, FROM_IMAGENET
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import (
    directions,
    ends,
    imagenet_student,
    own_answers,
    run_folder,
    scenes,
    self_training,
    student_pictures,
)
from ssv_tf.training.self_training import Rounds
from ssv_tf.training.student_run import Source


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    analysis = AnalysisNetwork(resolution=32, width=0.03, style_size=8)
    synthesis = SynthesisNetwork(resolution=32, width=0.03, mapping_layers=1, volume_size=8)
    analysis.build()
    synthesis.build()
    run_folder.save_models(folder / "models", analysis, synthesis)
    (folder / "options.json").write_text(config.Options.of(data="photos").to_json())
    Calibration((1.0, 1.0, 1.0), (180.0, 0.0, 0.0), pictures=30).save(folder / "calibration.json")
    return run_folder.load(folder)


@pytest.fixture
def pictures(tmp_path):
    folder = write_cutouts(tmp_path / "pictures")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for i in range(10):
        Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def fed(monkeypatch):
    """(layers, labels, whether they are moved little) of every stage's batches."""
    batches, given = self_training.batches, []

    def noted(layers, labels, *rest):
        given.append((layers, labels, rest[-1]))
        return batches(layers, labels, *rest)

    monkeypatch.setattr(self_training, "batches", noted)
    return given


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FROM_IMAGENET)
def test_a_student_is_written_as_a_run_that_answers(run, pictures, tmp_path, capsys, backbone):
    settings = imagenet_student.Settings(backbone=backbone, steps=2, batch_size=4)
    out = tmp_path / "student"
    record = imagenet_student.distill(run, out, settings, Source(str(pictures)), quiet=True)
    said = capsys.readouterr().out
    assert "left and right stay as the teacher has them" in said
    assert "front and rear stay as they are known" in said
    assert record["pictures"] == 11 and record["teacher_distance"]["pictures"] == 1
    student = run_folder.load(out)
    assert student.student == "run" and student.options.framing.crop == "longest"
    assert student.options.framing.resolution == 64
    squares = np.zeros((2, 64, 64, 3), np.uint8)
    degrees = inference.decode(inference.predict(student.analysis(), squares)).degrees
    assert degrees.shape == (2, 3) and np.isfinite(degrees).all()
    assert json.loads((out / "distill.json").read_text())["backbone"] == backbone
    assert student.analysis().backbone_name == backbone
    assert not (out / ".unfinished").exists()
    with pytest.raises(SettingError, match="holds a student"):
        imagenet_student.distill(run, out, settings, Source(str(pictures)), quiet=True)


@pytest.mark.slow
def test_a_student_teaches_pictures_of_another_kind_with_their_own_share_of_fronts(
    run, pictures, tmp_path, monkeypatch, eager
):
    first, source = tmp_path / "first", Source(str(pictures))
    settings = imagenet_student.Settings(
        steps=1, batch_size=4, own_learning=Rounds(rounds=0, steps=1), front_share=0.8
    )
    plain = dataclasses.replace(settings, front_share=0.5)
    imagenet_student.distill(run, first, plain, source, quiet=True)
    seen = []

    def watched(differences, labels, whose, front_share, say):
        seen.append((labels, whose, front_share))
        return labels

    monkeypatch.setattr(directions, "with_directions", watched)
    out, student = tmp_path / "second", run_folder.load(first)
    record = imagenet_student.distill(student, out, settings, source, quiet=True)
    ((labels, whose, share),) = seen
    assert whose == "the teacher" and share == 0.8
    squares = student_pictures.load(student, 64, source).squares
    own = self_training.pseudo_labels(student.analysis(), squares)
    np.testing.assert_allclose(labels.quadrants, own.quadrants, atol=1e-5)
    assert record["teacher"] == "first" and record["front_share"] == 0.8
    assert "anchored_on" not in record
    assert run_folder.load(out).student == "first"


@pytest.mark.parametrize(
    "student, scenes_dir, share", [(False, "", 0.7), (True, "", 0.8), (True, "photos", 0.5)]
)
def test_whose_share_of_fronts_the_pictures_have(run, student, scenes_dir, share):
    options = run.options.replace(front_share=0.7, prior_rate=0.003)
    (run.path / "options.json").write_text(options.to_json())
    if student:
        (run.path / "distill.json").write_text('{"teacher": "other"}')
    settings = imagenet_student.Settings(front_share=0.8)
    found = imagenet_student._front_share(run_folder.load(run.path), settings, scenes_dir)
    assert found == share


def test_its_backbone_starts_from_imagenet(run, tmp_path):
    settings = imagenet_student.Settings(backbone="mobilenet_v3_small")
    with pytest.raises(SettingError, match="backbone=mobilenet_v3_small` is none of"):
        imagenet_student.distill(run, tmp_path / "s", settings, Source())


def test_a_share_of_fronts_is_for_scenes_or_a_student(run, pictures, tmp_path):
    settings = imagenet_student.Settings(front_share=0.7)
    with pytest.raises(SettingError, match=r"front_share=0\.7` needs `scenes`"):
        imagenet_student.distill(run, tmp_path / "s", settings, Source(str(pictures)))


@pytest.mark.slow
def test_photos_in_surroundings_join_and_an_interrupted_call_comes_to_the_same_end(
    run, pictures, photos, tmp_path, monkeypatch, eager
):
    monkeypatch.setattr(scenes, "_FEWEST", 1)
    monkeypatch.setattr(scenes, "_SLANT_EDGES_DEG", ())
    settings = imagenet_student.Settings(
        steps=1,
        batch_size=4,
        end_learning=ends.Settings(rounds=0),
        scene_learning=Rounds(rounds=2, steps=1),
    )

    def distilled(out):
        return imagenet_student.distill(
            run, out, settings, Source(str(pictures)), scenes_dir=str(photos), quiet=True
        )

    chosen = scenes.confident_ends

    def broken_off(labels, front_share, number):
        if number == 1:
            raise KeyboardInterrupt
        return chosen(labels, front_share, number)

    monkeypatch.setattr(scenes, "confident_ends", broken_off)
    with pytest.raises(KeyboardInterrupt):
        distilled(tmp_path / "broken")
    monkeypatch.setattr(scenes, "confident_ends", chosen)
    with pytest.raises(SettingError, match="scenes was 'photos'"):
        imagenet_student.distill(run, tmp_path / "broken", settings, Source(str(pictures)))
    assert distilled(tmp_path / "broken")["pictures"] == 21
    distilled(tmp_path / "whole")
    broken, whole = (
        run_folder.load(tmp_path / name).analysis().get_weights() for name in ("broken", "whole")
    )
    for one, other in zip(broken, whole, strict=True):
        np.testing.assert_array_equal(one, other)


def _bent():
    return Calibration(
        (1.0, 1.0, 1.0),
        (180.0, 0.0, 0.0),
        ("symmetric", "linear", "linear"),
        pictures=30,
        quadrant_bias=(-0.4, 0.4, -0.4, 0.4),
        azimuth_warp=(1.3, 1.7),
    )


@pytest.mark.slow
def test_own_answers_become_labels_and_an_interrupted_call_comes_to_the_same_end(
    run, pictures, fed, tmp_path, monkeypatch, eager
):
    settings = imagenet_student.Settings(
        steps=1,
        batch_size=4,
        end_learning=ends.Settings(rounds=0),
        own_learning=Rounds(rounds=1, steps=1),
        last_learning=Rounds(rounds=2, steps=1),
    )
    _bent().save(run.path / "calibration.json")
    settled, asked = own_answers.settled, []

    def distilled(out):
        return imagenet_student.distill(run, out, settings, Source(str(pictures)), quiet=True)

    def broken_off(answers, first, differences):
        assert len(first.front) == len(differences) == 11
        asked.append(answers)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return settled(answers, first, differences)

    monkeypatch.setattr(own_answers, "settled", broken_off)
    with pytest.raises(KeyboardInterrupt):
        distilled(tmp_path / "broken")
    assert np.any(asked[0].quadrants != asked[1].quadrants)  # it answers anew
    monkeypatch.setattr(own_answers, "settled", settled)
    record = distilled(tmp_path / "broken")
    assert [record[name]["rounds"] for name in ("own_learning", "last_learning")] == [1, 2]
    little = [moved_little for *_, moved_little in fed]
    assert all(little[-2:]) and not any(little[:-2])  # moved little in the last two rounds alone
    kept = run_folder.load(tmp_path / "broken").calibration()
    assert kept.azimuth_warp == (1.3, 1.7) and kept.quadrant_bias == NO_BIAS
    averaged, means = self_training.mean_weights, []

    def noted_mean(sets):
        means.append((sets, averaged(sets)))
        return means[-1][1]

    monkeypatch.setattr(self_training, "mean_weights", noted_mean)
    distilled(tmp_path / "whole")
    ((sets, mean),) = means
    assert len(sets) == 2 and any(np.any(a != b) for a, b in zip(*sets, strict=True))
    broken, whole = (
        run_folder.load(tmp_path / name).analysis().get_weights() for name in ("broken", "whole")
    )
    for one, other, expected in zip(broken, whole, mean, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(other, expected)


@pytest.mark.slow
def test_a_small_student_imitates_a_student_and_an_interrupted_call_comes_to_the_same_end(
    run, pictures, photos, fed, tmp_path, monkeypatch, eager
):
    _bent().save(run.path / "calibration.json")
    (run.path / "distill.json").write_text('{"teacher": "other"}')
    teacher = run_folder.load(run.path)
    settings = imagenet_student.Settings(
        backbone=EFFICIENTNET_SMALL, steps=1, batch_size=4, last_learning=Rounds(2, 1)
    )
    monkeypatch.setattr(ends, "learn_ends", None)
    monkeypatch.setattr(directions, "with_directions", None)
    averaged, firsts = own_answers.averaged, []

    def distilled(out):
        return imagenet_student.distill(
            teacher, out, settings, Source(str(pictures)), scenes_dir=str(photos), quiet=True
        )

    def broken_off(answers, first):
        firsts.append(first)
        if len(firsts) == 3:
            raise KeyboardInterrupt
        return averaged(answers, first)

    monkeypatch.setattr(own_answers, "averaged", broken_off)
    with pytest.raises(KeyboardInterrupt):
        distilled(tmp_path / "broken")
    assert [little for *_, little in fed] == [False, False, True, True]
    for (layers, labels, _), kept, folder in zip(fed, firsts, (pictures, photos), strict=False):
        assert kept is labels  # of the last rounds too: the mean with them
        squares = student_pictures.load(teacher, 64, Source(str(folder))).squares
        wanted = self_training.pseudo_labels(teacher.analysis(), squares)
        found = np.abs(labels.magnitudes[:, None] - wanted.magnitudes).max(axis=(2, 3)).min(axis=1)
        assert len(layers) == len(labels.front) and found.max() < 1e-5
    monkeypatch.setattr(own_answers, "averaged", averaged)
    record = distilled(tmp_path / "broken")
    assert record["pictures"] == 21 and record["last_learning"]["rounds"] == 2
    assert not {"end_learning", "own_learning", "scene_learning", "front_share"} & set(record)
    small = run_folder.load(tmp_path / "broken")
    assert small.calibration().quadrant_bias == (-0.4, 0.4, -0.4, 0.4)  # the ends are the teacher's
    distilled(tmp_path / "whole")
    whole = run_folder.load(tmp_path / "whole").analysis().get_weights()
    for one, other in zip(small.analysis().get_weights(), whole, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(SettingError, match=r"front_share=0\.7`: efficientnet_lite0_small imitates"):
        imagenet_student.distill(
            teacher, tmp_path / "s", dataclasses.replace(settings, front_share=0.7),
            Source(str(pictures)),
        )  # fmt: skip


@pytest.mark.slow
def test_of_a_limited_azimuth_own_answers_keep_their_signs_and_end_on_pictures_moved_little(
    run, pictures, fed, tmp_path, monkeypatch, eager
):
    options = run.options.replace(azimuth_range_deg=80.0)
    (run.path / "options.json").write_text(options.to_json())
    settings = imagenet_student.Settings(steps=1, batch_size=4)
    monkeypatch.setattr(ends, "learn_ends", None)
    monkeypatch.setattr(directions, "with_directions", None)
    averaged, asked = own_answers.averaged, []

    def averages(answers, first):
        asked.append((first, averaged(answers, first)))
        return asked[-1][1]

    monkeypatch.setattr(own_answers, "averaged", averages)
    limited = run_folder.load(run.path)
    out = tmp_path / "student"
    record = imagenet_student.distill(limited, out, settings, Source(str(pictures)), quiet=True)
    assert [little for *_, little in fed] == [False, False, True, True]
    for (_, labels, _), (first, between) in zip(fed[1:], asked, strict=True):
        assert labels is between and first is fed[0][1]
    assert record["own_learning"]["rounds"] == 1
    assert record["last_learning"] == {"rounds": 2, "steps": 1, "rate": 5e-4}


@pytest.mark.slow
def test_the_embedded_cars_teach_a_student_which_is_scored_on_their_splits(
    run, pictures, tmp_path, eager
):
    options = config.Options.of(
        data=sources.EMBEDDED, crop="longest", padding="constant", limit=9, prior_rate=0.0
    )
    (run.path / "options.json").write_text(options.to_json())
    _bent().save(run.path / "calibration.json")
    settings = imagenet_student.Settings(
        steps=1, batch_size=2, end_learning=ends.Settings(rounds=0)
    )
    out = tmp_path / "student"
    imagenet_student.distill(
        run_folder.load(run.path), out, settings, Source(limit=5), str(pictures), quiet=True
    )
    record = json.loads((out / "distill.json").read_text())
    assert record["pictures"] == 4 and record["teacher_distance"]["pictures"] == 1
    student = run_folder.load(out)
    assert student.options.pictures.data == sources.EMBEDDED and student.options.pictures.limit == 5
    kept = student.calibration()
    assert kept.offset_deg == (180.0, 0.0, 0.0) and kept.quadrant_bias == NO_BIAS
    assert kept.azimuth_warp == NO_WARP  # the slants of an even prior were spread
    cars = labelled.embedded_pictures(student.options, "calibration")
    assert cars.images.shape[1:] == (64, 64, 3)


@pytest.mark.parametrize("teacher", [32, 128])
def test_teacher_and_student_see_the_same_cars_each_at_its_size(run, teacher):
    options = config.Options.of(
        data=sources.EMBEDDED, crop="longest", padding="constant", resolution=teacher
    )
    (run.path / "options.json").write_text(options.to_json())
    source = Source(sources.EMBEDDED, limit=3)
    loaded = student_pictures.load(run_folder.load(run.path), 64, source)
    cars = sources.load_collection(sources.EMBEDDED, resolution=max(teacher, 64), limit=3).images
    seen = loaded.squares, loaded.layers[..., :3]
    for pictures, side in zip(seen, (teacher, 64), strict=True):
        k = len(cars[0]) // side
        means = cars.reshape(3, side, k, side, k, 3).mean(axis=(2, 4))
        np.testing.assert_array_equal(pictures, np.rint(means))
    assert (loaded.layers[..., 3] == 255).all()


@pytest.mark.parametrize("share", [0.1, 0.95])
def test_a_share_of_fronts_that_leaves_one_end_out_is_refused(run, pictures, tmp_path, share):
    settings = imagenet_student.Settings(front_share=share)
    with pytest.raises(SettingError, match="front_share"):
        imagenet_student.distill(run, tmp_path / "s", settings, Source(str(pictures)))


@pytest.mark.parametrize("size", [32, 48])
def test_other_sizes_are_refused(run, pictures, tmp_path, size):
    with pytest.raises(SettingError, match=f"resolution={size}"):
        imagenet_student.distill(
            run, tmp_path / "s", imagenet_student.Settings(resolution=size), Source(str(pictures))
        )


def test_what_cannot_be_read_leaves_nothing_behind(run, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    settings = imagenet_student.Settings(end_learning=ends.Settings(rounds=0))
    with pytest.raises(UserError, match="empty"):
        imagenet_student.distill(run, tmp_path / "s", settings, Source(str(empty)))
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_pictures_are_chosen_by_a_condition_and_the_runs_own_folder_is_the_default(
    run, pictures, tmp_path, capsys, eager
):
    rows = [f"{i}.png,{i % 2}" for i in range(12)]
    (pictures / "labels.csv").write_text("\n".join(["filename,class_id", *rows]) + "\n")
    settings = imagenet_student.Settings(steps=1, batch_size=2)
    chosen = Source(str(pictures), "class_id%2==1")
    record = imagenet_student.distill(run, tmp_path / "s", settings, chosen, quiet=True)
    assert record["pictures"] == 5 and record["teacher_distance"]["pictures"] == 1
    with pytest.raises(SettingError, match="photos is no folder of pictures"):
        imagenet_student.distill(run, tmp_path / "t", settings, Source())


@pytest.mark.parametrize(
    ("backbone", "more", "expected"),
    [
        ("resnet", {}, "backbone is one of"),
        ("mobilenet_v3_small", {"backgrounds": "photos"}, "backgrounds are for"),
        ("mobilenet_v3_small", {"scenes": "photos"}, "scenes are for"),
        ("efficientnet_lite0", {"width": 2.0}, "unknown setting width"),
        ("efficientnet_lite0", {"pictures": np.zeros((2, 8, 8, 3), np.uint8)}, "reads a folder"),
        ("efficientnet_lite0_small", {"width": 2.0}, "unknown setting width"),
    ],
)
def test_the_python_api_refuses_what_does_not_go_together(run, tmp_path, backbone, more, expected):
    model = ssv_tf.load(run.path)
    pictures = more.pop("pictures", None)
    with pytest.raises(ValueError, match=expected):
        model.distill(pictures, tmp_path / "s", backbone=backbone, **more)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--backgrounds=photos"], "--backgrounds is for --backbone=efficientnet_lite0"),
        (["--scenes=photos"], "--scenes is for --backbone=efficientnet_lite0"),
        (["--front_share=0.7"], "--front_share is not for"),
        (
            ["--backbone=efficientnet_lite0", "--front_share=0.7"],
            "--front_share=0.7 needs --scenes",
        ),
        (["--backbone=efficientnet_lite0", "--width=2"], "--width is not for"),
        (["--backbone=efficientnet_lite0_small", "--width=2"], "--width is not for"),
        (["--backbone=efficientnet_lite0", "--data_dir=missing"], "missing"),
    ],
)
def test_the_command_refuses_it_in_one_line(run, tmp_path, capsys, flags, expected):
    assert run_command(distill, f"--run={run.path}", f"--out={tmp_path / 's'}", *flags) != 0
    error = capsys.readouterr().err
    assert expected in error and "Traceback" not in error
