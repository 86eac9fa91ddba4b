"""The rendered heads: angle and gaze convention, exact labels, the two commands, the slope."""

import csv
import dataclasses

import numpy as np
import pytest
from in_process import run_command
from PIL import Image

from ssv_tf import viewpoint
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import labels, sources
from ssv_tf.data.turntable_cars.scene import studio
from ssv_tf.data.turntable_heads import Pose, collection, paint, picture_seed, render, write
from ssv_tf.data.turntable_heads import mesh as head_mesh

_NIGHT = dataclasses.replace(studio(), kind="plain", backdrop=np.zeros((64, 64, 3), np.uint8))


def _pose(azimuth=0.0, elevation=0.0, tilt=0.0, yaw=0.0, pitch=0.0):
    return Pose(np.array([azimuth, elevation, tilt]), np.array([yaw, pitch]))


def _bare(index):
    head, look, _ = render.draw((5, index))
    return dataclasses.replace(head, hair=dataclasses.replace(head.hair, thickness=0.0)), look


def _where(colours, pose, index=0, size=128):
    """Pixels [size, size] that change with the look's colours, and how much."""
    head, look = _bare(index)
    look = dataclasses.replace(look, shine=0.0)
    shining = dataclasses.replace(look, **dict.fromkeys(colours, np.full(3, 4.0)))
    rotations = collection.pose_rotations(pose)
    dark, bright = (
        render.render_linear(head, each, _NIGHT, size, rotations) for each in (look, shining)
    )
    return np.abs(bright - dark).sum(axis=-1)


def _centroid(weights):
    """(x right, y up) in pixels from the centre of the picture."""
    rows, columns = np.mgrid[: weights.shape[0], : weights.shape[1]] + 0.5
    x, y = (float((weights * place).sum() / weights.sum()) for place in (columns, rows))
    return x - weights.shape[1] / 2, weights.shape[0] / 2 - y


def _iris_of_each_eye(pose):
    """x of the irises, image left first: an eye alone, for the one turned in shows more iris."""
    eyes = np.flatnonzero(_where(["iris", "white"], pose).sum(axis=0))
    gap = np.diff(eyes).argmax()
    middle = (eyes[gap] + eyes[gap + 1]) // 2
    iris = _where(["iris"], pose)
    left, right = iris.copy(), iris.copy()
    left[:, middle:] = right[:, :middle] = 0
    return _centroid(left)[0], _centroid(right)[0]


def _nose_tip(pose, index=0):
    """(x right, y up) of the nose's tip in camera space, centimetres."""
    mesh = head_mesh.build_mesh(_bare(index)[0], np.eye(3))
    nose = np.unique(mesh.triangles[mesh.parts == head_mesh.Part.NOSE])
    tip = mesh.vertices[nose][mesh.vertices[nose][:, 2].argmax()]
    return (tip @ collection.pose_rotations(pose)[0])[:2]


@pytest.mark.parametrize("index", range(3))
def test_nose_and_mouth_go_to_image_left_as_azimuth_grows(index):
    azimuths = (-60, -30, 0, 30, 60)
    mouths = [_centroid(_where(["lips"], _pose(a), index))[0] for a in azimuths]
    assert np.all(np.diff(mouths) < -5) and abs(mouths[2]) < 1
    noses = [_nose_tip(_pose(a), index)[0] for a in azimuths]
    assert np.all(np.diff(noses) < -2) and abs(noses[2]) < 1e-9


def test_a_camera_above_sees_the_nose_lower():
    heights = [_nose_tip(_pose(elevation=e))[1] for e in (-10, 0, 20)]
    assert np.all(np.diff(heights) < -1)
    mouths = [_centroid(_where(["lips"], _pose(elevation=e)))[1] for e in (-10, 0, 20)]
    assert np.all(np.diff(mouths) < -1)


@pytest.mark.parametrize("tilt", [-10, 10])
def test_tilt_turns_clockwise_by_its_angle(tilt):
    def direction(pose):
        eyes, mouth = (_centroid(_where([name], pose)) for name in ("white", "lips"))
        return np.degrees(np.arctan2(eyes[1] - mouth[1], eyes[0] - mouth[0]))

    turned = direction(_pose(tilt=tilt)) - direction(_pose())
    assert turned == pytest.approx(-tilt, abs=0.7)


@pytest.mark.parametrize("azimuth", [-30, 0, 30])
def test_irises_go_to_image_left_as_gaze_yaw_grows(azimuth):
    places = [_iris_of_each_eye(_pose(azimuth, yaw=y)) for y in (-20, 0, 20)]  # [yaws, eyes]
    assert np.all(np.diff(places, axis=0) < -2)


def test_irises_rise_as_gaze_pitch_grows():
    places = [_centroid(_where(["iris"], _pose(pitch=p)))[1] for p in (-15, 0, 15)]
    assert np.all(np.diff(places) > 0.5)


def test_the_signs_of_gaze_are_those_of_the_head():
    for yaw, pitch in ((20.0, 0.0), (0.0, 10.0), (-25.0, 8.0)):
        into_eyes = collection.pose_rotations(_pose(yaw=yaw, pitch=pitch))[1]
        x, y, z = into_eyes.T @ [0.0, 0.0, 1.0]  # the gaze, object space
        assert np.degrees(np.arctan2(-x, z)) == pytest.approx(yaw)
        assert np.degrees(np.arcsin(y)) == pytest.approx(pitch)
        nose = _nose_tip(_pose(azimuth=yaw))
        assert np.sign(round(nose[0], 6)) == np.sign(round(x, 6))


def test_eyes_that_turn_with_the_head_look_into_the_camera():
    """At azimuth 25, gaze yaw -25 brings the iris to where it is seen in full."""
    seen = {y: _where(["iris"], _pose(25, yaw=y)).sum() for y in (-25, 25)}
    assert seen[-25] > 1.2 * seen[25]


@pytest.mark.parametrize("index", range(8))
def test_gaze_changes_the_eyes_and_nothing_else(index):
    seed = picture_seed(0, "test", index)
    head, look, scene = render.draw(seed)
    angles = collection.draw_pose(seed).angles_deg
    pictures, eyes = [], None
    for yaw in (-30.0, -15.0, 0.0, 15.0, 30.0):
        pose = Pose(angles, np.array([yaw, 0.0]))
        rotations = collection.pose_rotations(pose)
        pictures.append(render.render_picture(seed, 64, rotations).astype(int))
        blue = np.array([0.0, 0.0, 9.0])
        shining = dataclasses.replace(look, white=blue, iris=blue)
        lit = [render.render_linear(head, each, scene, 64, rotations) for each in (look, shining)]
        own = (lit[0] != lit[1]).any(axis=-1)
        eyes = own if eyes is None else eyes | own
    changed = np.ptp(np.stack(pictures), axis=0).max(axis=-1) > 0
    assert not (changed & ~eyes).any()
    assert changed.sum() >= 6 and eyes.mean() < 0.04


def test_triangles_do_not_depend_on_gaze():
    head = render.draw((1,))[0]
    ahead, aside = (
        head_mesh.build_mesh(head, collection.pose_rotations(_pose(yaw=yaw))[1]) for yaw in (0, 30)
    )
    for name in ("vertices", "triangles", "normals", "parts"):
        assert np.array_equal(getattr(ahead, name), getattr(aside, name))
    moved = (ahead.places != aside.places).any(axis=1)
    eyes = np.unique(ahead.triangles[ahead.parts == head_mesh.Part.EYE])
    assert moved[eyes].all() and moved.sum() == len(eyes)


def test_meshes_are_symmetric_and_face_outward():
    for index in range(20):
        head = render.draw((2, index))[0]
        mesh = head_mesh.build_mesh(head, np.eye(3))
        rounded = {tuple(point) for point in np.round(mesh.vertices, 6) + 0.0}
        assert rounded == {(-x + 0.0, y, z) for x, y, z in rounded}
        a, b, c = np.moveaxis(mesh.vertices[mesh.triangles], 1, 0)
        flat = np.cross(b - a, c - a)
        solid = np.linalg.norm(flat, axis=-1) > 1e-3
        facing = np.einsum("ij,ij->i", flat, mesh.normals.mean(axis=1))
        # Edges of hair and lids tuck under the skin, and a nostril may have a crease.
        shown = solid & ~np.isin(mesh.parts, (head_mesh.Part.HAIR, head_mesh.Part.LID))
        assert (facing[shown] <= 0).sum() <= 4, mesh.parts[shown][facing[shown] <= 0]


@pytest.mark.parametrize("index", range(6))
def test_mirrored_picture_is_the_mirrored_pose_and_gaze(index):
    head, look, scene = render.draw((11, index))
    pose = collection.draw_pose((11, index))
    mirrored = Pose(viewpoint.mirror(pose.angles_deg), pose.gaze_deg * [-1, 1])
    half = Pose(mirrored.angles_deg, pose.gaze_deg)

    def photograph(scene, pose):
        noise, rotations = np.random.default_rng(0), collection.pose_rotations(pose)
        return render.photograph(head, look, scene, 64, rotations, noise).astype(int)

    picture = photograph(scene, pose)[:, ::-1]
    differs = np.abs(picture - photograph(scene.mirror(), mirrored)).max(axis=-1) > 2
    # A few subpixels lie so exactly on an edge that rounding decides.
    assert differs.sum() <= 4
    assert (np.abs(picture - photograph(scene.mirror(), half)).max(axis=-1) > 2).sum() > 5


def test_seed_decides_and_splits_differ():
    images, pose = collection.render_range(range(4), 32, "train")
    again, same = collection.render_range(range(2, 4), 32, "train")
    assert np.array_equal(images[2:], again) and np.array_equal(pose.gaze_deg[2:], same.gaze_deg)
    others = [
        collection.render_range(range(4), 32, *how)[0]
        for how in (("train", "free", 1), ("test", "free", 0))
    ]
    known = {image.tobytes() for image in (*images, *others[0], *others[1])}
    assert len(known) == 12
    heads = {render.draw(picture_seed(0, split, 0))[0] for split in collection.SPLITS}
    assert len(heads) == 3


def test_pictures_do_not_depend_on_workers():
    images, pose = collection.render_range(range(130), 16, "test", workers=2)
    alone, same = collection.render_range(range(60, 70), 16, "test", workers=1)
    assert np.array_equal(images[60:70], alone)
    assert np.array_equal(pose.angles_deg[60:70], same.angles_deg)


def test_poses_and_gazes_cover_their_ranges():
    drawn = {
        mode: [collection.draw_pose((0, index), mode) for index in range(2000)]
        for mode in collection.GAZES
    }
    angles, free = (np.stack(values) for values in zip(*drawn["free"], strict=True))
    both = np.hstack([angles, free])
    ranges = [(-60, 60), (-10, 20), (-10, 10), (-35, 35), (-15, 15)]
    for column, (low, high) in zip(both.T, ranges, strict=True):
        counts, _ = np.histogram(column, bins=5, range=(low, high))
        assert counts.sum() == 2000 and np.abs(counts - 400).max() < 90
    assert np.abs(np.corrcoef(both.T) - np.eye(5)).max() < 0.1
    same, followed = (np.stack(values) for values in zip(*drawn["with_head"], strict=True))
    assert np.array_equal(same, angles)
    rest = followed[:, 0] - 0.5 * angles[:, 0]
    assert 2 < rest.std() < 4 and abs(rest.mean()) < 0.3
    assert np.abs(followed[:, 0]).max() <= 35
    assert not np.stack([pose.gaze_deg for pose in drawn["ahead"]]).any()
    with pytest.raises(SettingError, match="'away'"):
        collection.draw_pose((0,), "away")
    with pytest.raises(UserError, match="no split 'dev'"):
        picture_seed(0, "dev", 0)


def test_irises_can_be_told_from_the_white():
    for index in range(100):
        look = paint.draw_look(np.random.default_rng(index))
        assert look.iris.mean() < 0.3 * look.white.mean()


def test_command_writes_pictures_that_load_with_their_labels(tmp_path, capsys):
    out = tmp_path / "heads"
    words = ["--count=5", "--resolution=32", "--gaze=with_head", "--split=test", "--seed=3"]
    assert run_command(write, out, *words) == 0
    assert "5 heads of 32 px, test, gaze with_head" in capsys.readouterr().out
    with open(out / "labels.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == [
        "filename", "azimuth_deg", "elevation_deg", "tilt_deg", "gaze_yaw_deg", "gaze_pitch_deg",
    ]  # fmt: skip
    images, pose = collection.render_range(range(5), 32, "test", "with_head", 3)
    for row, image, yaw in zip(rows, images, pose.gaze_deg[:, 0], strict=True):
        assert np.array_equal(np.asarray(Image.open(out / row["filename"])), image)
        assert float(row["gaze_yaw_deg"]) == pytest.approx(yaw, abs=1e-3)
    loaded = sources.load_collection(out, resolution=32, labels=out / "labels.csv")
    assert np.array_equal(loaded.images, images)
    np.testing.assert_allclose(loaded.angles_deg, pose.angles_deg, atol=1e-3)
    assert len(labels.read_labels(out / "labels.csv")) == 5


def test_command_overwrites_only_when_told_and_only_its_own(tmp_path, capsys):
    assert run_command(write, tmp_path / "a", "--count=3", "--resolution=16") == 0
    (tmp_path / "a" / "mine.png").write_bytes(b"kept")
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert run_command(write, tmp_path / "a", "--count=2", "--seed=1") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    again = ("--count=2", "--resolution=16", "--seed=1", "--overwrite")
    assert run_command(write, tmp_path / "a", *again) == 0
    left = {path.name for path in (tmp_path / "a").iterdir()}
    assert left == {"head-00000.png", "head-00001.png", "labels.csv", "mine.png"}
    assert (tmp_path / "a" / "mine.png").read_bytes() == b"kept"
    assert (tmp_path / "a" / "head-00000.png").read_bytes() != before["head-00000.png"]


@pytest.mark.parametrize(
    "words, code, said",
    [
        ([], 2, "name one folder"),
        (["a", "b"], 2, "a b"),
        (["a", "--gaze=away"], 2, "away"),
        (["a", "--split=dev"], 2, "dev"),
        (["a", "--count=0"], 2, "count"),
        (["a", "--resolution=8"], 2, "resolution"),
        (["a", "--seed=-1"], 2, "seed"),
        (["file", "--count=1"], 1, "cannot write file"),
    ],
)
def test_mistakes_get_one_line(words, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    assert run_command(write, *words) == code
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and said in lines[0]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
