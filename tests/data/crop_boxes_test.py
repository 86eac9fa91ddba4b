"""Boxes in every file that people have them in, and files that only look like it."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import ssv_tf
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data.boxes import coco, kinds, masks
from ssv_tf.data.boxes.masks import CocoMask, PolygonMask
from ssv_tf.data.boxes.names import PictureNames

WIDTH, HEIGHT = 100, 80
EDGES = (20, 10, 70, 50)
VOC = """<annotation><folder>x</folder><filename>{name}</filename>
<size><width>100</width><height>80</height><depth>3</depth></size>
<object><name>car</name><truncated>{cut}</truncated><part><name>wheel</name><bndbox><xmin>1</xmin>
</bndbox></part><bndbox><xmin>21</xmin><ymin>11</ymin><xmax>70</xmax><ymax>50</ymax></bndbox>
</object></annotation>"""
COCO = {
    "images": [{"id": 1, "file_name": "a.png"}],
    "categories": [{"id": 7, "name": "car"}],
    "annotations": [{"image_id": 1, "category_id": 7, "bbox": [20, 10, 50, 40]}],
}


def picture():
    return np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture()).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, (str, bytes)) else json.dumps(content)
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def cut(photos, boxes=None, **how):
    return ssv_tf.crop(photos, photos.parent / "out", boxes, min_side=8, quiet=True, **how)


def read_crop(done, name="a-1.png"):
    return np.asarray(Image.open(done.folder / name))


# --- Every kind ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"b.json": COCO}, "b.json"),
        ({"b.json": b"\xef\xbb\xbf" + json.dumps(COCO).encode()}, "b.json"),
        ({"photos/_annotations.coco.json": COCO}, None),
        ({"b.csv": "file,x,y,width,height,class\na.png,20,10,50,40,car\n"}, "b.csv"),
        ({"b.csv": "class,filename,left,top,right,bottom\ncar,a.png,20,10,70,50\n"}, "b.csv"),
        ({"b.csv": "image,xmin,ymin,xmax,ymax,label\na.png,20,10,70,50,car\n"}, "b.csv"),
        ({"v/a.xml": VOC.format(name="a.png", cut=0)}, "v"),
        ({"v/a.xml": VOC.format(name="/their/disk/photos/a.png", cut=0)}, "v/a.xml"),
        ({"v/a.xml": VOC.format(name="renamed.jpg", cut=0)}, "v"),
        ({"y/a.txt": "1 0.45 0.375 0.5 0.5\n", "y/classes.txt": "dog\ncar\n"}, "y"),
        ({"photos/a.txt": "car 0.45 0.375 0.5 0.5 0.93\n"}, None),
        ({"y/labels/train/a.txt": "1 0.45 0.375 0.5 0.5", "y/classes.txt": "dog\ncar\n"},
         "y/labels/train"),
        ({"y/labels/a.txt": "0 .2 .125 .7 .125 .7 .625 .2 .625", "y/obj.names": "car"}, "y/labels"),
    ],
)  # fmt: skip
def test_every_kind_gives_the_same_crop(photos, tmp_path, files, where):
    write(tmp_path, files)
    done = cut(photos, tmp_path / where if where else None, classes="car")
    np.testing.assert_array_equal(read_crop(done), picture()[10:50, 20:70])
    assert ",a.png,car,20,10,70,50" in (done.folder / "crops.csv").read_text()


def test_names_of_classes_come_from_a_file(photos, tmp_path):
    write(tmp_path, {"y/a.txt": "1 0.45 0.375 0.5 0.5", "mine": "dog\nred car\n"})
    done = cut(photos, tmp_path / "y", class_names=tmp_path / "mine", classes=["red car"])
    assert done.names == ["a-1.png"]


def test_classes_by_name_need_a_file_of_names(photos, tmp_path):
    write(tmp_path, {"d/y/l/t/a.txt": "1 0.45 0.375 0.5 0.5", "d/classes.txt": "dog\ncar\n"})
    with pytest.raises(SettingError) as caught:  # three folders above is another's
        cut(photos, tmp_path / "d/y/l/t", classes=["car"])
    places = ", ".join(str(tmp_path / place) for place in ("d/y/l/t", "d/y/l", "d/y"))
    assert f"no classes.txt, obj.names or classes.names lies in {places}; " in str(caught.value)
    assert not (tmp_path / "out").exists()
    assert cut(photos, tmp_path / "d/y/l/t", classes=["1"]).names == ["a-1.png"]
    write(tmp_path, {"x/a.txt": "1 2 3\n"})
    with pytest.raises(UserError, match="not one crop: 1 no line"):
        ssv_tf.crop(photos, tmp_path / "x_out", tmp_path / "x", classes=["car"], quiet=True)


def test_truncated_of_voc_and_angles_of_a_table(photos, tmp_path):
    write(tmp_path, {"v/a.xml": VOC.format(name="a.png", cut=1)})
    with pytest.raises(UserError, match="1 truncated, as its file says"):
        cut(photos, tmp_path / "v")
    lines = "file,x,y,width,height,azimuth_deg,tilt_deg\na.png,20,10,50,40,90,\na.png,x,10,50,40,,"
    write(tmp_path, {"b.csv": lines})
    done = ssv_tf.crop(photos, tmp_path / "other", tmp_path / "b.csv", min_side=8, quiet=True)
    assert done.labels.read_text().splitlines()[1] == "a-1.png,90.000,,"
    assert [left.reason for left in done.left_out] == ["no finite number ('x')"]


def test_pictures_of_images_find_labels_beside_it():
    names = PictureNames(["images/train/a.jpg", "images/val/a.jpg", "b.PNG"])
    assert names.find_stem("labels/train/a.txt") == ("images/train/a.jpg", "")
    assert names.find_stem("b.txt") == ("b.PNG", "")
    assert names.find("/data/images/val/a.jpg")[0] == "images/val/a.jpg"
    assert names.find("C:\\x\\b.PNG") == ("b.PNG", "")
    assert names.find("a.jpg")[1].startswith("fits several pictures (images/train/a.jpg")
    assert names.find("test/a.jpg")[1] == names.find("b.jpg")[1] == "no such picture"


@pytest.mark.parametrize("name", ["../../etc/passwd", "../photos/a.png", "x/../a.png"])
def test_a_name_that_leads_out_is_left_out(photos, tmp_path, name):
    images = [{"id": 2, "file_name": name}, *COCO["images"]]
    boxes = [{"image_id": 2, "bbox": [20, 10, 50, 40]}, *COCO["annotations"]]
    write(tmp_path, {"b.json": COCO | {"images": images, "annotations": boxes}})
    done = cut(photos, tmp_path / "b.json")
    assert done.names == ["a-1.png"]
    assert [(x.filename, x.reason) for x in done.left_out] == [
        (name, "its name leads out of the folder")
    ]


@pytest.mark.parametrize("name", ["/etc/passwd", "\0", "", "..", "/", 3, None, ["a.png"]])
def test_a_name_that_is_none_finds_nothing(name):
    found, problem = PictureNames(["a.png"]).find(name)
    assert problem and found != "a.png"


# --- Masks ---------------------------------------------------------------------------------------


def object_mask():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:50, 20:70] = 255
    mask[10:20, 20:30] = 0  # one corner is not the object's
    return mask


@pytest.mark.parametrize("scale", [1, 255])
def test_a_folder_of_masks(photos, tmp_path, scale):
    (tmp_path / "masks").mkdir()
    Image.fromarray(object_mask() // 255 * scale).save(tmp_path / "masks" / "a.png")
    done = cut(photos, tmp_path / "masks", backgrounds="black")
    wanted = np.where(object_mask()[..., None], picture(), 0)[10:50, 20:70]
    np.testing.assert_array_equal(read_crop(done), wanted)


def test_the_pictures_own_transparency_before_the_mean_and_before_other_pictures(tmp_path):
    photos, scenes = tmp_path / "photos", tmp_path / "scenes"
    photos.mkdir(), scenes.mkdir()
    Image.fromarray(np.dstack([picture(), object_mask()])).save(photos / "a.png")
    Image.fromarray(np.full((60, 90, 3), 77, np.uint8)).save(scenes / "s.png")
    (scenes / "broken.png").write_bytes(b"none")
    inside = object_mask()[10:50, 20:70] > 0
    mean = picture()[10:20, 20:30].mean(axis=(0, 1))
    for background, behind in (("keep", 127), ("mean", mean), (scenes, 77)):
        out = tmp_path / f"out_{getattr(background, 'name', background)}"
        done = ssv_tf.crop(photos, out, backgrounds=background, min_side=8, quiet=True)
        got = read_crop(done)
        np.testing.assert_array_equal(got[inside], picture()[10:50, 20:70][inside])
        assert np.abs(got[~inside] - np.asarray(behind, float)).max() <= 0.5


def test_what_has_no_mask_keeps_its_background(photos, tmp_path):
    write(tmp_path, {"b.json": COCO})
    with pytest.raises(UserError, match="1 no mask to take its background out with"):
        cut(photos, tmp_path / "b.json", backgrounds="black")
    (tmp_path / "masks").mkdir()
    for name, array in (("a.png", np.zeros((HEIGHT, WIDTH), np.uint8)), ("c.png", object_mask())):
        Image.fromarray(array).save(tmp_path / "masks" / name)
    with pytest.raises(UserError, match="1 no such picture, 1 its mask is empty"):
        ssv_tf.crop(photos, tmp_path / "other", tmp_path / "masks", quiet=True)
    (tmp_path / "masks" / "a.png").write_bytes(b"none")
    with pytest.raises(UserError, match="1 its mask cannot be read"):
        ssv_tf.crop(photos, tmp_path / "other", tmp_path / "masks", quiet=True)


RUNS = [20 * HEIGHT + 20, 30] + [50, 30] * 9 + [40, 40] + [40, 40] * 39 + [30 * HEIGHT + 30]
POLYGON = [30, 10, 70, 10, 70, 50, 20, 50, 20, 20, 30, 20]


def test_polygons_and_run_lengths_of_coco(photos, tmp_path):
    coco_masks = pytest.importorskip("pycocotools.mask")
    packed = coco_masks.encode(np.asfortranarray(object_mask() // 255))
    shares = np.array(POLYGON) / np.resize([WIDTH, HEIGHT], len(POLYGON))
    for mask in (
        CocoMask([POLYGON]),
        CocoMask({"counts": RUNS, "size": [HEIGHT, WIDTH]}),
        CocoMask({"counts": packed["counts"].decode(), "size": [HEIGHT, WIDTH]}),
        PolygonMask(tuple(shares)),
    ):
        np.testing.assert_array_equal(mask.opacity(WIDTH, HEIGHT), object_mask())
    boxes = [COCO["annotations"][0] | {"segmentation": [POLYGON]}]
    write(tmp_path, {"b.json": COCO | {"annotations": boxes}})
    wanted = np.where(object_mask()[..., None], picture(), 0)[10:50, 20:70]
    done = cut(photos, tmp_path / "b.json", backgrounds="black")
    np.testing.assert_array_equal(read_crop(done), wanted)


@pytest.mark.parametrize(
    "wild",
    [3, "text", {}, {"counts": [5], "size": [HEIGHT, WIDTH]}, {"counts": "\x01\xff", "size": 3},
     {"counts": "zzzz", "size": [HEIGHT, WIDTH]}, {"counts": [-1, 8001], "size": [HEIGHT, WIDTH]},
     {"counts": None, "size": [HEIGHT, WIDTH]}, {"counts": "é", "size": [HEIGHT, WIDTH]},
     [[1, 2, 3]], [["a"] * 6], [[float("nan")] * 6], [[10**400] * 6],
     [[0, 0, 1e12, 0, 5, 5]], [{}], [[]],
     {"counts": [10**30], "size": [HEIGHT, WIDTH]}],
)  # fmt: skip
def test_a_mask_that_is_none_says_so(wild):
    pytest.importorskip("pycocotools")
    with pytest.raises(ValueError, match="its mask"):
        CocoMask(wild).opacity(WIDTH, HEIGHT)


def test_the_extra_is_named_where_a_mask_needs_it(photos, tmp_path, monkeypatch):
    boxes = [COCO["annotations"][0] | {"segmentation": [POLYGON]}]
    write(tmp_path, {"b.json": COCO | {"annotations": boxes}})
    monkeypatch.setattr(masks.importlib.util, "find_spec", lambda name: None)
    assert cut(photos, tmp_path / "b.json").names == ["a-1.png"]  # a box needs no package
    with pytest.raises(UserError, match=r"pip install 'ssv-tf\[crop\]'"):
        ssv_tf.crop(photos, tmp_path / "other", tmp_path / "b.json", backgrounds="black")


# --- Files that are broken or wild ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "where", "said"),
    [
        ({"b.json": "{"}, "b.json", "b.json: no JSON that can be read"),
        ({"b.json": b"\xff\xfe\x00"}, "b.json", "no JSON that can be read"),
        ({"b.json": "[" * 100_000}, "b.json", "nested too deeply"),
        ({"b.json": "[]"}, "b.json", "no COCO file, which holds lists"),
        ({"b.json": {"images": {}, "annotations": []}}, "b.json", "no COCO file"),
        ({"b.json": {"images": [], "annotations": []}}, "b.json", "no box in"),
        ({"b.csv": ""}, "b.csv", "no box in"),
        ({"b.csv": "file,x,y\na.png,1,2\n"}, "b.csv", "line 1: no columns file and x, y, width"),
        ({"b.csv": "file,x,y,width,height,azimuth\na.png,1,2,3,4,5\n"}, "b.csv", "azimuth_deg"),
        ({"b.csv": b"file,x\n\xff,1"}, "b.csv", "line 2: not UTF-8"),
        ({"b.csv": b"file,x\n\0,1"}, "b.csv", "line 2: a NUL byte"),
        ({"v/a.xml": "<annotation>"}, "v", "a.xml: no XML that can be read"),
        ({"v/a.xml": "<html/>"}, "v", "a.xml: no Pascal VOC file"),
        ({"v/a.xml": "<!DOCTYPE a [<!ENTITY x 'y'>]><annotation/>"}, "v", "it holds a DOCTYPE"),
        ({"v/a.xml": "<!DOCTYPE a [<!ENTITY x 'y'>]><annotation/>".encode("utf-16")}, "v",
         "it holds a DOCTYPE"),
        ({"v/a.xml": "<?xml version='1.0' encoding='nonsense'?><annotation/>"}, "v", "no XML"),
        ({"y/a.txt": b"\xff"}, "y", "a.txt: not UTF-8 text"),
    ],
)  # fmt: skip
def test_a_broken_file_is_one_line(photos, tmp_path, files, where, said):
    write(tmp_path, files)
    with pytest.raises(UserError) as caught:
        cut(photos, tmp_path / where)
    assert said in str(caught.value) and not (tmp_path / "out").exists()


def test_lines_that_are_no_boxes_are_left_out(photos, tmp_path):
    write(tmp_path, {"y/a.txt": "1 2 3\n\n0 0.45 0.375 0.5 nan\n0 0.45 0.375 0.5 0.5\nhello\n",
                     "y/b.txt": "0 0.5 0.5 0.1 0.1\n"})  # fmt: skip
    done = cut(photos, tmp_path / "y")
    assert done.names == ["a-3.png"]
    assert done.counts() == {
        "no line `class cx cy w h`": 2, "no finite number": 1, "no such picture": 1,
    }  # fmt: skip


def test_several_kinds_at_one_place_are_not_guessed(photos, tmp_path):
    write(tmp_path, {"m/a.txt": "", "m/a.xml": ""})
    with pytest.raises(SettingError, match=r"several kinds \(voc, yolo\); give `boxes_kind`"):
        cut(photos, tmp_path / "m")
    write(tmp_path, {"j/a.json": "", "j/b.json": ""})
    with pytest.raises(SettingError, match=r"several \.json files"):
        cut(photos, tmp_path / "j")
    assert kinds.recognised(photos, photos)[0] == "alpha"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
KEYS = st.sampled_from(["id", "image_id", "file_name", "bbox", "category_id", "segmentation",
                        "iscrowd", "attributes", "name", "width", "height"])  # fmt: skip
ENTRIES = st.lists(JSON | st.dictionaries(KEYS, JSON | st.just(1)), max_size=4)


@settings(max_examples=25, deadline=None)
@given(images=ENTRIES, annotations=ENTRIES, categories=JSON | ENTRIES)
def test_no_shape_of_json_is_a_traceback(tmp_path_factory, images, annotations, categories):
    path = tmp_path_factory.getbasetemp() / "wild.json"
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    boxes = list(coco.read(path, PictureNames(["a.png"])))
    assert len(boxes) == len(annotations)
    assert all(isinstance(box.class_name, str) and (box.edges or box.problem) for box in boxes)
