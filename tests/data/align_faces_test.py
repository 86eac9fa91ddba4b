"""Aligned faces: where the square lies, what turning does to a label, going on after a stop."""

import csv
import os

import drawn_faces
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from in_process import run_command
from PIL import Image

from ssv_tf import viewpoint
from ssv_tf.data import labels, turntable_heads
from ssv_tf.data.align_faces import __main__ as command
from ssv_tf.data.align_faces import detector, geometry, worker
from ssv_tf.data.align_faces.detector import Face

CENTRE = np.array([120.0, 95.0])
# Eyes, nose, mouth of a head in object space (x right, y up, z out of the face).
_MOUTH = [[-0.2, -0.35, 0.85], [0.2, -0.35, 0.85]]
HEAD = np.array([[-0.3, 0.3, 0.8], [0.3, 0.3, 0.8], [0, 0, 1.1], *_MOUTH])

angle = st.floats(-60, 60)


def _projected(angles_deg, scale=40.0):
    """[5, 2]: the head seen from a viewpoint, x right, y down."""
    camera = HEAD @ viewpoint.rotation_matrix(np.radians(angles_deg))
    return scale * camera[:, :2] * (1, -1)


@pytest.mark.parametrize("tilt", [-50, -10, 0, 25, 80])
def test_a_face_turned_clockwise_is_turned_back(tilt):
    landmarks = drawn_faces.turned(drawn_faces.UPRIGHT, tilt) + CENTRE
    assert (landmarks[0, 1] < landmarks[1, 1]) == (tilt > 0)  # clockwise lifts the left eye
    alignment = geometry.align(landmarks)
    assert alignment.rotation_deg == pytest.approx(-tilt)
    # 40 between the eyes and from there to the mouth: 4 x 40 is more than 3.6 x 40.
    assert alignment.side_px == pytest.approx(160)
    aligned = alignment.to_aligned(landmarks)
    scale = 256 / 160
    np.testing.assert_allclose(aligned[0], [128 - 20 * scale, 128 - 4 * scale], atol=1e-6)
    np.testing.assert_allclose(aligned[4], [128 + 15 * scale, 128 + 36 * scale], atol=1e-6)


@settings(deadline=None)
@given(azimuth=st.floats(-70, 70), elevation=angle, tilt=angle)
def test_the_carried_viewpoint_is_that_of_the_aligned_face(azimuth, elevation, tilt):
    landmarks = _projected((azimuth, elevation, tilt)) + CENTRE
    alignment = geometry.align(landmarks)
    carried = geometry.carry(np.array([azimuth, elevation, tilt]), alignment.rotation_deg)
    assert carried[0] == azimuth and carried[1] == elevation
    expected = _projected(carried) * 256 / alignment.side_px
    aligned = alignment.to_aligned(landmarks)
    np.testing.assert_allclose(aligned - aligned[2], expected - expected[2], atol=1e-6)


def test_a_profile_is_no_larger_than_a_front():
    front, profile = (geometry.align(_projected((a, 0, 0))).side_px for a in (0, 75))
    assert 0.8 < profile / front <= 1


def test_carried_tilt_stays_on_the_circle():
    np.testing.assert_allclose(geometry.carry([[5, 6, 170]], [20]), [[5, 6, -170]])


@pytest.mark.parametrize("tilt, factor", [(0, 1.0), (33, 1.0), (-20, 4.6)])
def test_pixels_go_where_the_transform_says(tilt, factor):
    landmarks = (drawn_faces.turned(drawn_faces.UPRIGHT, tilt) + CENTRE) * factor
    picture = drawn_faces.picture(landmarks, (int(200 * factor), int(240 * factor)), 3 * factor)
    alignment = geometry.align(landmarks)
    for size in (96, 192):
        cropped = geometry.crop(picture, alignment, size)
        assert cropped.shape == (size, size, 3) and cropped.dtype == np.uint8
        expected = (alignment.to_aligned(landmarks) - 32) * size / 192
        np.testing.assert_allclose(drawn_faces.dots(cropped), expected, atol=0.4)


def test_beyond_the_picture_its_border_is_repeated():
    landmarks = drawn_faces.UPRIGHT + 30.0
    picture = drawn_faces.picture(landmarks, (60, 60))
    cropped = geometry.crop(picture, geometry.align(landmarks), 96)
    corners = np.stack([cropped[:5], cropped[-5:]]).astype(int)
    assert np.abs(corners - 60).max() <= 2  # a constant fill would be 0 or 127
    np.testing.assert_allclose(drawn_faces.dots(cropped)[:2, 0], [32, 64], atol=0.5)


def test_landmarks_in_one_place_are_no_face():
    with pytest.raises(ValueError, match="coincide"):
        geometry.align(np.ones((5, 2)))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Four faces of known tilt, a doubtful one, a blank picture, a broken file; drawn detector."""
    monkeypatch.setattr(detector, "check", lambda: None)
    monkeypatch.setattr(detector, "load", drawn_faces.load)
    monkeypatch.setattr(worker.align_all, "__defaults__", (drawn_faces.load,))
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    for name, tilt in {"a.png": 0, "b.jpg": 20, "sub/c.png": -35, "sub/d.webp": 5}.items():
        landmarks = drawn_faces.turned(drawn_faces.UPRIGHT, tilt) + CENTRE
        options = {"lossless": True} if name.endswith("webp") else {"subsampling": 0, "quality": 98}
        Image.fromarray(drawn_faces.picture(landmarks)).save(source / name, **options)
    doubtful = drawn_faces.picture(drawn_faces.UPRIGHT + CENTRE)
    doubtful[0, 0] = 255
    Image.fromarray(doubtful).save(source / "doubtful.png")
    Image.new("RGB", (50, 50)).save(source / "blank.png")
    (source / "broken.png").write_bytes(b"no picture")
    return source


def _table(path):
    with path.open(newline="") as stream:
        return {row.pop("filename"): row for row in csv.DictReader(stream)}


def test_the_command_aligns_and_says_what_it_skipped(photos, tmp_path, capsys):
    out = tmp_path / "out"
    table = tmp_path / "labels.csv"
    table.write_text(
        "filename,azimuth_deg,elevation_deg,tilt_deg\n"
        "a.png,10,1,2\nb.jpg,20,2,25\nsub/c.png,350,3,-30\nblank.png,1,1,1\n"
    )
    assert (
        run_command(command, photos, out, "--resolution=64", "--workers=1", f"--labels={table}")
        == 0
    )
    assert "4 faces aligned, 3 pictures skipped" in capsys.readouterr().out
    faces = _table(out / "faces.csv")
    assert {n: round(float(r["rotation_deg"])) for n, r in faces.items()} == {
        "a.png": 0, "b.jpg": -20, "sub/c.png": 35, "sub/d.webp": -5,
    }  # fmt: skip
    skipped = {name: row["reason"] for name, row in _table(out / "skipped.csv").items()}
    assert (
        skipped["blank.png"] == "no face" and skipped["doubtful.png"] == "no face surer than 0.50"
    )
    assert skipped["broken.png"].startswith("not a JPEG")
    for name in faces:
        assert Image.open(out / name).size == (64, 64)
    carried = labels.read_labels(out / "labels.csv")
    assert set(carried) == {"a.png", "b.jpg", "sub/c.png"}
    np.testing.assert_allclose(carried["b.jpg"], [20, 2, 5], atol=0.5)
    np.testing.assert_allclose(carried["sub/c.png"], [-10, 3, 5], atol=0.5)


def test_a_stopped_command_goes_on(photos, tmp_path, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert run_command(command, photos, whole, "--workers=1") == 0
    align_picture, seen = worker.align_picture, []

    def counted(job, *rest):
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(job.name)
        return align_picture(job, *rest)

    monkeypatch.setattr(worker, "align_picture", counted)
    assert run_command(command, photos, out, "--workers=1") == 130
    with (out / "faces.csv").open("a") as stream:
        stream.write("sub/c.png,1.0,2")  # cut off by a crash
    (out / "a.png").unlink()
    first, seen[:] = list(seen), []
    assert len(first) == 4

    def watched(job, *rest):
        seen.append(job.name)
        return align_picture(job, *rest)

    monkeypatch.setattr(worker, "align_picture", watched)
    assert run_command(command, photos, out, "--workers=1") == 0
    names = {*_table(whole / "faces.csv"), *_table(whole / "skipped.csv")}
    assert sorted(seen) == sorted((names - {*first}) | {"a.png"})
    for name in ("faces.csv", "skipped.csv", "a.png", "sub/c.png"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    seen.clear()
    (out / "skipped.csv").unlink()
    assert run_command(command, photos, out, "--workers=1") == 0
    assert sorted(seen) == ["blank.png", "broken.png", "doubtful.png"]


def test_processes_give_what_one_process_gives(photos, tmp_path):
    for out, workers in ((tmp_path / "one", 1), (tmp_path / "two", 2)):
        assert run_command(command, photos, out, f"--workers={workers}") == 0
    for name in ("faces.csv", "skipped.csv", "b.jpg", "sub/d.webp"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_largest_sure_face_is_taken():
    sizes = {5: 0.99, 9: 0.95, 50: 0.4}
    small, large, doubtful = (Face(area, sure, np.zeros((5, 2))) for area, sure in sizes.items())
    assert worker._chosen([small, large, doubtful], 0.9) is large


def test_a_name_that_is_not_utf8_is_skipped_by_name(photos, tmp_path):
    try:
        os.rename(photos / "a.png", os.fsencode(photos) + b"/\xff.png")
    except OSError:
        pytest.skip("the file system takes UTF-8 names only")
    assert run_command(command, photos, tmp_path / "out", "--workers=1") == 0
    assert (
        _table(tmp_path / "out" / "skipped.csv")["\ufffd.png"]["reason"] == "its name is not UTF-8"
    )


@pytest.mark.parametrize(
    "words, code, reason",
    [
        (["{in}"], 2, "name two folders"),
        (["{in}", "{in}/out"], 2, "must not lie in IN"),
        (["/no/such", "{out}"], 1, "missing"),
        (["{in}", "{other}"], 2, "holds something else"),
        (["{in}", "{out}", "--resolution=4"], 2, "resolution"),
        (["{in}", "{out}", "--labels=/no/such.csv"], 1, "/no/such.csv"),
    ],
)
def test_mistakes_are_one_line_and_a_code(photos, tmp_path, capsys, words, code, reason):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    places = {"in": photos, "out": tmp_path / "out", "other": tmp_path / "other"}
    assert run_command(command, *(word.format(**places) for word in words)) == code
    assert reason in capsys.readouterr().err.strip().splitlines()[-1]


def test_other_settings_want_another_folder(photos, tmp_path, capsys):
    assert run_command(command, photos, tmp_path / "out", "--workers=1", "--resolution=64") == 0
    assert run_command(command, photos, tmp_path / "out", "--workers=1", "--resolution=32") == 2
    assert "was begun with" in capsys.readouterr().err


def test_without_the_package_it_says_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(detector.importlib.util, "find_spec", lambda name: None)
    assert run_command(command, tmp_path / "in", tmp_path / "out") == 1
    assert "pip install 'ssv-tf[faces]'" in capsys.readouterr().err


def test_nothing_but_bad_pictures_is_an_error(photos, tmp_path):
    for path in [*photos.glob("[ad]*.png"), *photos.glob("*.jpg"), *photos.glob("sub/*")]:
        path.unlink()
    assert run_command(command, photos, tmp_path / "out", "--workers=1") == 1
    assert "broken.png" in (tmp_path / "out" / "skipped.csv").read_text()


def test_mtcnn_finds_nothing_in_noise_and_bears_odd_shapes():
    pytest.importorskip("mtcnn", reason="the extra faces is not installed")
    detect = detector.load()
    random = np.random.default_rng(0)
    for shape in [(1, 1), (24, 24), (24, 3000), (2000, 20), (2100, 1500)]:
        assert detect(random.integers(0, 255, (*shape, 3), np.uint8)) == []


@pytest.mark.parametrize("angles_deg", [(0, 0, 0), (0, 0, 20), (25, 5, -15)])
def test_mtcnn_straightens_rendered_heads(angles_deg):
    """The order of the landmarks and the sign of the turn, on heads that nobody has."""
    pytest.importorskip("mtcnn", reason="the extra faces is not installed")
    detect = detector.load()
    turned = []
    for index in (6, 8):
        seed = turntable_heads.picture_seed(0, "test", index)
        pose = turntable_heads.Pose(np.array(angles_deg, np.float32), np.zeros(2, np.float32))
        (face,) = detect(turntable_heads.render_head(seed, 160, pose))
        assert face.confidence > 0.9
        turned.append(geometry.align(face.landmarks_px).rotation_deg)
    np.testing.assert_allclose(turned, -angles_deg[2], atol=6)
