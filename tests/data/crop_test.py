"""Crops: cut where the boxes are, as the framing wants them, once, and never over another file."""

import csv
import json

import corpus_odd
import numpy as np
import pytest
from in_process import run_command
from PIL import Image

import ssv_tf
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import crop, labels, reading
from ssv_tf.data.framing import Framing

WIDTH, HEIGHT = 120, 90
BOX = (20, 10, 80, 60)  # left, top, right, bottom


def noise(width=WIDTH, height=HEIGHT, seed=0):
    """Smooth noise, so that an interpolated pixel is near its neighbours."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def save(folder, name, picture, **how):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / name, **how)


def coco(path, boxes, size=(WIDTH, HEIGHT), **more):
    """A COCO file of [(picture, edges, further keys)]."""
    names = sorted({name for name, *_ in boxes})
    images = [{"id": i, "file_name": n} for i, n in enumerate(names)]
    images = [image | {"width": size[0], "height": size[1]} for image in images if size] or images
    annotations = [
        {"id": i, "image_id": names.index(name), "category_id": 1,
         "bbox": [e[0], e[1], e[2] - e[0], e[3] - e[1]], **keys}
        for i, (name, e, keys) in enumerate(boxes)
    ]  # fmt: skip
    content = {"images": images, "annotations": annotations} | more
    content.setdefault("categories", [{"id": 1, "name": "car"}, {"id": 2, "name": "dog"}])
    path.write_text(json.dumps(content))
    return path


def rows(path):
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def pixels(path):
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def part(picture, edges=BOX):
    left, top, right, bottom = edges
    return picture[top:bottom, left:right]


@pytest.fixture
def photos(tmp_path):
    for i in range(3):
        save(tmp_path / "photos", f"{i}.png", noise(seed=i))
    return tmp_path / "photos"


@pytest.fixture
def boxes(tmp_path):
    return coco(tmp_path / "boxes.json", [(f"{i}.png", BOX, {}) for i in range(3)])


def cut(photos, boxes=None, **settings):
    settings = {"min_side": 8, "quiet": True, "workers": 2} | settings
    return ssv_tf.crop(photos, photos.parent / "crops", boxes, **settings)


def reasons(done):
    return [left.reason for left in done.left_out]


# --- What is cut ---------------------------------------------------------------------------------


def test_a_crop_is_the_box_to_the_pixel_and_the_tables_say_where_from(photos, boxes):
    done = cut(photos, boxes)
    assert done.names == ["0-1.png", "1-1.png", "2-1.png"] and done.written == 3
    for i in range(3):
        np.testing.assert_array_equal(pixels(done.folder / f"{i}-1.png"), part(noise(seed=i)))
    first = rows(done.folder / "crops.csv")[0]
    assert first == {"filename": "0-1.png", "picture": "0.png", "class": "car", "left": "20",
                     "top": "10", "right": "80", "bottom": "60"}  # fmt: skip
    assert rows(done.folder / "left_out.csv") == [] and done.labels is None
    assert "3 crops, 3 of them new" in str(done)


@pytest.mark.parametrize("how", ["height", "longest"])
def test_the_framing_sees_the_same_as_cut_by_its_own_rule(photos, boxes, how):
    """Half a square from the picture, half from its padding, all where the framing puts it."""
    done = cut(photos, boxes)
    framing = Framing(64, how, 2.4, "blur")
    read = framing.read(done.folder / "1-1.png")
    np.testing.assert_array_equal(read, framing.fit(part(noise(seed=1))))
    side = framing.side(60, 50)
    left, top = 50 - side / 2, 35 - side / 2  # the box's middle is 50, 35
    wide = np.pad(noise(seed=1), ((100, 100), (100, 100), (0, 0)), mode="edge")
    square = (left + 100, top + 100, left + side + 100, top + side + 100)
    whole = Image.fromarray(wide).resize((64, 64), Image.Resampling.LANCZOS, square)
    scale = 64 / side
    inside = np.s_[
        round((10 - top) * scale) + 2 : round((60 - top) * scale) - 2,
        round((20 - left) * scale) + 2 : round((80 - left) * scale) - 2,
    ]
    apart = np.abs(read[inside].astype(int) - np.asarray(whole)[inside])
    assert apart.size > 500 and apart.max() <= 2


@pytest.mark.parametrize(
    ("how", "edges", "wanted"),
    [
        ("height", (20, 10, 80, 60), (0, 10, 100, 60)),  # 120 wide wanted; 20 px are there
        ("height", (50, 30, 70, 60), (24, 30, 96, 60)),
        ("height", (10, 40, 110, 50), (10, 40, 110, 50)),  # wider than the square
        ("longest", (30, 20, 90, 60), (30, 10, 90, 70)),
        ("longest", (50, 20, 70, 70), (35, 20, 85, 70)),
    ],
)
def test_surroundings_change_neither_scale_nor_place(photos, tmp_path, how, edges, wanted):
    file = coco(tmp_path / "b.json", [("0.png", edges, {})])
    done = cut(photos, file, surroundings=True, crop=how)
    np.testing.assert_array_equal(pixels(done.folder / "0-1.png"), part(noise(), wanted))
    framing = Framing(48, how, 2.4, "blur")
    tight, wide = framing.fit(part(noise(), edges)), framing.read(done.folder / "0-1.png")
    scale = 48 / framing.side(edges[2] - edges[0], edges[3] - edges[1])
    half_x, half_y = (int(scale * (edges[i + 2] - edges[i]) / 2) - 2 for i in (0, 1))
    middle = np.s_[24 - half_y : 24 + half_y, max(0, 24 - half_x) : 24 + half_x]
    assert np.abs(tight[middle].astype(int) - wide[middle]).max() <= 2


def test_exif_turns_once_and_boxes_are_of_the_upright_picture(tmp_path):
    upright = noise()
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    save(tmp_path / "photos", "a.png", np.rot90(upright).copy(), exif=exif)
    done = cut(tmp_path / "photos", coco(tmp_path / "b.json", [("a.png", BOX, {})]))
    np.testing.assert_array_equal(pixels(done.folder / "a-1.png"), part(upright))
    with Image.open(done.folder / "a-1.png") as image:
        assert not image.getexif()
    lying = coco(tmp_path / "c.json", [("a.png", BOX, {})], size=(HEIGHT, WIDTH))
    with pytest.raises(UserError, match=r"1 its file is of a picture of another size"):
        ssv_tf.crop(tmp_path / "photos", tmp_path / "other", lying, quiet=True)


def test_names_stay_apart(tmp_path):
    names = ("a.jpg", "a.png", "a.jpg.png", "b/a.png", "a-1.png", f"{'é' * 125}.png")
    for i, name in enumerate(names):
        save(tmp_path / "photos", name, noise(seed=i))
    done = cut(tmp_path / "photos", coco(tmp_path / "b.json", [(n, BOX, {}) for n in names] * 2))
    assert len(set(done.names)) == len(done.names) == 6 and "b/a-1.png" in done.names
    assert f"{'é' * 100}-1.png" in done.names
    assert reasons(done) == ["the same as another box"] * 6


# --- Which boxes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("edges", "keys", "reason"),
    [
        ((20, 10, 27, 60), {}, "smaller than 8 px (7 x 50)"),
        ((0.5, 10, 60, 60), {}, "touches the picture's border"),
        ((20, 10, 140, 60), {}, "touches the picture's border"),
        (BOX, {"attributes": {"truncated": True}}, "truncated, as its file says"),
        (BOX, {"iscrowd": 1}, "a crowd region"),
        (BOX, {"category_id": 2}, "of another class (dog)"),
        (BOX, {"category_id": [2]}, "of another class ()"),
        ((20, 10, 20, 60), {}, "without a size (0 x 50)"),
        ((20, 10, 10, 60), {}, "without a size (-10 x 50)"),
        ((200, 10, 260, 60), {}, "outside its picture"),
        ((-90, -90, -10, -10), {"category_id": 1}, "outside its picture"),
        (BOX, {"bbox": None}, "no bbox of four numbers"),
        (BOX, {"bbox": [1, 2, float("nan"), 4]}, "no finite number (nan)"),
        (BOX, {"bbox": [1, 2, [[3]], 4]}, "no finite number (a list)"),
        (BOX, {"bbox": [1, 2, 10**400, 4]}, "no finite number"),
        (BOX, {"azimuth_deg": 400}, "azimuth_deg holds 400, outside -360 to 360 degrees"),
        (BOX, {"attributes": {"tilt_deg": {}}}, "tilt_deg holds 'a dict', no finite number"),
        (BOX, {"image_id": 9}, "its picture is not in `images` (image_id 9)"),
        (BOX, {"image_id": {"a": 1}}, "its picture is not in `images` (image_id a dict)"),
    ],
)
def test_a_box_is_left_out_with_its_reason(photos, tmp_path, edges, keys, reason):
    file = coco(tmp_path / "b.json", [("0.png", edges, keys), ("1.png", BOX, {})])
    done = cut(photos, file, classes=["car"])
    assert done.names == ["1-1.png"]
    [left] = done.left_out
    assert left.reason.startswith(reason)
    [row] = rows(done.folder / "left_out.csv")
    assert row["reason"] == left.reason and (left.edges is None or float(row["top"]) == edges[1])


def test_truncated_objects_are_kept_where_wanted_and_cut_at_the_border(photos, tmp_path):
    file = coco(tmp_path / "b.json", [("0.png", (-5.2, 10, 60.4, 200), {})])
    done = cut(photos, file, keep_truncated=True)
    np.testing.assert_array_equal(pixels(done.folder / "0-1.png"), part(noise(), (0, 10, 60, 90)))


def test_covered_objects_are_left_out_and_doubled_ones_once(photos, tmp_path):
    before = (60, 10, 100, 60)  # a third of BOX
    crowd, person = {"iscrowd": 1}, {"category_id": 2}
    file = coco(tmp_path / "b.json", [
        ("0.png", BOX, {}), ("0.png", before, person),
        ("1.png", BOX, {}), ("1.png", (20, 10, 81, 61), {}), ("1.png", BOX, person),
        ("2.png", BOX, {}), ("2.png", (1, 1, 119, 89), crowd),
    ])  # fmt: skip
    done = cut(photos, file, classes=["car"])
    assert done.names == ["1-1.png", "2-1.png"]
    assert done.counts() == {"of another class": 2, "overlaps another box": 1, "a crowd region": 1,
                             "the same as another box": 1}  # fmt: skip
    loose = ssv_tf.crop(photos, tmp_path / "loose", file, max_overlap=0.34, quiet=True)
    assert "0-1.png" in loose.names


# --- Labels --------------------------------------------------------------------------------------


def test_angles_are_carried_into_the_packages_own_table(photos, tmp_path):
    file = coco(tmp_path / "b.json", [
        ("0.png", BOX, {"attributes": {"azimuth_deg": -190, "tilt_deg": "2.5"}}),
        ("1.png", BOX, {"azimuth_deg": 20.25, "elevation_deg": 5}),
        ("2.png", BOX, {}),
    ])  # fmt: skip
    done = cut(photos, file)
    read = labels.read_labels(done.labels)
    np.testing.assert_allclose(read["0-1.png"], [170, np.nan, 2.5])
    np.testing.assert_allclose(read["1-1.png"], [20.25, 5, np.nan])
    assert set(read) == {"0-1.png", "1-1.png"}


def test_a_class_of_azimuths_stays_a_class(photos, tmp_path):
    file = coco(tmp_path / "b.json", [
        ("0.png", BOX, {"azimuth_deg": "Front left"}),
        ("1.png", BOX, {"azimuth_deg": "rear", "elevation_deg": 5}),
        ("2.png", BOX, {"azimuth_deg": "upside down"}),
    ])  # fmt: skip
    done = cut(photos, file)
    assert list(rows(done.labels)[0].values()) == ["0-1.png", "Front left", "", ""]
    read = labels.read_table(done.labels)
    np.testing.assert_allclose(read.angles_deg["0-1.png"], [45, np.nan, np.nan])
    np.testing.assert_allclose(read.angles_deg["1-1.png"], [180, 5, np.nan])
    assert read.tolerance_deg > 0
    assert [left.reason for left in done.left_out] == [
        "azimuth_deg holds 'upside down', no finite number"
    ]


def test_angles_added_by_hand_are_not_lost(photos, tmp_path):
    file = coco(tmp_path / "b.json", [("0.png", BOX, {"azimuth_deg": 10})])
    table = cut(photos, file).labels
    more = coco(file, [(f"{i}.png", BOX, {"azimuth_deg": 10}) for i in range(2)])
    assert len(rows(cut(photos, more).labels)) == 2
    table.write_text(table.read_text() + "mine.png,3,,\n")
    with pytest.raises(UserError, match=r"labels.csv holds angles that the boxes do not"):
        cut(photos, file)
    assert "mine.png,3,," in table.read_text()


# --- Again, and by many --------------------------------------------------------------------------


def test_a_second_call_writes_what_is_missing_or_changed(photos, boxes):
    done = cut(photos, boxes)
    before = {name: (done.folder / name).stat().st_mtime_ns for name in done.names}
    (done.folder / "1-1.png").unlink()
    (done.folder / ".0-1.png.abc").write_bytes(b"left by a kill")
    again = cut(photos, boxes)
    assert again.written == 1 and again.names == done.names
    assert (done.folder / "0-1.png").stat().st_mtime_ns == before["0-1.png"]
    assert not (done.folder / ".0-1.png.abc").exists()
    coco(boxes, [("0.png", BOX, {}), ("1.png", (21, 10, 80, 60), {})])
    changed = cut(photos, boxes)
    assert changed.written == 1 and changed.earlier == ["2-1.png"]
    assert pixels(done.folder / "1-1.png").shape == (50, 59, 3)


def test_what_is_written_does_not_depend_on_the_workers(photos, boxes, tmp_path):
    save(tmp_path / "scenes", "s.png", noise(300, 200, seed=9))
    kept = []
    for workers in (1, 3):
        out = tmp_path / f"by_{workers}"
        ssv_tf.crop(photos, out, boxes, min_side=8, workers=workers, quiet=True)
        kept.append({p.name: p.read_bytes() for p in out.iterdir()})
    assert kept[0] == kept[1] and len(kept[0]) == 6


def test_no_file_of_anybody_else_is_replaced(photos, boxes, tmp_path):
    with pytest.raises(SettingError, match="must not lie in"):
        ssv_tf.crop(photos, photos / "crops", boxes)
    (tmp_path / "crops").mkdir()
    (tmp_path / "crops" / "mine.txt").write_text("keep")
    with pytest.raises(SettingError, match="holds something else"):
        cut(photos, boxes)
    (tmp_path / "crops" / "mine.txt").unlink()
    cut(photos, boxes)
    save(tmp_path / "crops", "1-1.png", noise())
    kept = (tmp_path / "crops" / "1-1.png").read_bytes()
    with pytest.raises(UserError, match=r"1-1.png is no crop that this command wrote"):
        cut(photos, boxes)
    assert (tmp_path / "crops" / "1-1.png").read_bytes() == kept
    with pytest.raises(SettingError, match="was begun with"):
        cut(photos, boxes, min_side=9)


def test_the_header_and_the_layers_agree_with_the_picture_as_it_is_read():
    seen = 0
    for case in (*corpus_odd.modes(), *corpus_odd.turned(), *corpus_odd.metadata()):
        try:
            picture = reading.read_picture(case.content)
        except (reading.BadPicture, TypeError):
            continue
        seen += 1
        layers = reading.read_rgba(case.content)
        opaque = layers[..., 3] == 255
        assert reading.upright_size(case.content) == picture.shape[1::-1], case.name
        assert layers.shape == (*picture.shape[:2], 4), case.name
        np.testing.assert_array_equal(layers[opaque][:, :3], picture[opaque], case.name)
    assert seen > 30


# --- The command ---------------------------------------------------------------------------------


def test_the_command_says_what_it_did_and_names_what_is_broken(photos, tmp_path, capsys):
    (photos / "1.png").write_bytes((photos / "1.png").read_bytes()[:3000])
    (photos / "2.png").write_bytes(b"no picture")
    file = coco(tmp_path / "b.json", [(f"{i}.png", BOX, {}) for i in range(4)] + [
        ("0.png", (5, 5, 9, 9), {})])  # fmt: skip
    assert run_command(crop, photos, tmp_path / "out", f"--boxes={file}") == 0
    said = capsys.readouterr()
    assert "out: 1 crops, 1 written in" in said.out and "4 left out (left_out.csv)" in said.out
    assert "skipped 1.png: truncated\nskipped 2.png: not a JPEG" in said.err
    assert "left out: 1 no such picture\n" in said.err and "\r" not in said.err
    table = {row["filename"]: row["reason"] for row in rows(tmp_path / "out" / "left_out.csv")}
    assert table["1.png"] == "truncated" and table["3.png"] == "no such picture"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "name two folders"),
        (["{photos}", "{out}", "--boxes=gone.json"], 1, "the boxes gone.json: it is missing"),
        (["{photos}", "{out}", "--boxes={photos}/0.png"], 1, "is no .json, .xml, .txt or .csv"),
        (["{photos}/gone", "{out}", "--boxes={boxes}"], 1, "is missing, not a folder"),
        (["{photos}", "{photos}/out", "--boxes={boxes}"], 2, "must not lie in"),
        (["{photos}", "{out}", "--boxes={boxes}", "--min_side=0"], 2, "--min_side=0 must be at"),
        (["{photos}", "{out}", "--boxes={boxes}", "--max_overlap=2"], 2, "--max_overlap=2.0 must"),
        (
            ["{photos}", "{out}", "--boxes={boxes}", "--backgrounds=b"],
            2,
            "--backgrounds=b is neither",
        ),
        (["{photos}", "{out}", "--boxes={whole}"], 1, "--keep_truncated keeps what the border"),
        (["{photos}", "{out}", "--boxes={boxes}", "--classes=bus"], 1, "not one crop: 3 of anoth"),
        (["{photos}", "{out}", "--boxes={boxes}", "--boxes_kind=voc"], 1, "no XML that can be re"),
        (["{photos}", "{out}", "--boxes={yolo}", "--classes=car"], 2, "--classes=car: the boxes"),
        (["{photos}", "{out}", "--class_names=a.txt"], 2, "Unknown command line flag 'class_names"),
        (["{photos}", "{out}", "--background=black"], 2, "Did you mean: backgrounds ?"),
        (["{photos}", "{out}"], 1, "not one crop: 3 no transparent pixel"),
        (["{photos}", "{out}", "--boxes_kind=coco"], 2, "is a folder; name one file as --boxes"),
    ],
)
def test_a_mistake_is_one_line(photos, boxes, tmp_path, capsys, words, code, said):
    whole = coco(tmp_path / "whole.json", [("0.png", (0, 0, WIDTH, HEIGHT), {})])
    (tmp_path / "0.txt").write_text("2 0.5 0.5 0.5 0.5\n")
    places = {"photos": photos, "boxes": boxes, "whole": whole, "yolo": tmp_path / "0.txt"}
    places["out"] = tmp_path / "out"
    assert run_command(crop, *(word.format(**places) for word in words)) == code
    error = capsys.readouterr().err
    assert error.startswith("error: ") and said in error and error.count("\n") == 1
