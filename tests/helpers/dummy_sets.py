"""Tiny copies of the published sets' folders, drawn and written here, with known angles."""

import numpy as np
import scipy.io
from PIL import Image

# 68 landmarks of an upright face of 80 x 80 px around (0, 0): jaw, brows, nose, eyes, mouth.
_JAW = np.stack(
    [40 * np.cos(np.linspace(np.pi, 0, 17)), 40 * np.sin(np.linspace(np.pi, 0, 17))], -1
)
_BROWS = np.stack([np.linspace(-30, 30, 10), np.full(10, -40.0)], -1)
_NOSE = np.stack([np.zeros(9), np.linspace(-20, 5, 9)], -1)
_NOSE[3] = (0, 2)  # landmark 30, the tip
_LEFT_EYE, _RIGHT_EYE = np.full((6, 2), (-20.0, -20)), np.full((6, 2), (20.0, -20))
_MOUTH = np.full((20, 2), (0.0, 20))
_MOUTH[0], _MOUTH[6] = (-15, 20), (15, 20)
LANDMARKS = np.concatenate([_JAW, _BROWS, _NOSE, _LEFT_EYE, _RIGHT_EYE, _MOUTH])

RGB_CAL = """500 0 320
0 500 240
0 0 1

0 0 0 0

1 0 0
0 1 0
0 0 1

-25 0 0

640 480
"""


def picture(path, size=(200, 200), colour=(90, 120, 150), spot=None):
    """A plain picture with a white spot of 20 px around (x, y)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = np.full((*size, 3), colour, np.uint8)
    if spot:
        x, y = spot
        drawn[y - 10 : y + 10, x - 10 : x + 10] = 255
    Image.fromarray(drawn).save(path)


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def _pose(pitch, yaw, roll):
    return np.array([[*np.radians([pitch, yaw, roll]), 0, 0, 0, 1.0]])


def clockwise(points, degrees):
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return points @ np.array([[cosine, sine], [-sine, cosine]])


def aflw2000(root):
    """Yaw 30 upright; roll 20 with landmarks turned as much; yaw 120; a broken picture."""
    for name, pose, turn in (
        ("image00002", (0, 30, 0), 0),
        ("image00004", (0, 0, 20), 20),
        ("image00006", (5, 120, 0), 0),
        ("image00008", (0, 0, 0), 0),
    ):
        folder = root / "AFLW2000"
        picture(folder / f"{name}.jpg", spot=(100, 100))
        points = clockwise(LANDMARKS, turn) + 100
        points = np.concatenate([points.T, np.zeros((1, 68))])  # [3, 68]
        scipy.io.savemat(folder / f"{name}.mat", {"Pose_Para": _pose(*pose), "pt3d_68": points})
    (root / "AFLW2000" / "image00008.jpg").write_bytes(b"no picture")


def the300w_lp(root):
    """Two faces of AFW and a mirrored copy, which is left out."""
    shapes = {"Illum_Para": 10, "Color_Para": 7, "Tex_Para": 199, "Shape_Para": 199}
    for folder, name, pose in (
        ("AFW", "AFW_1_1", (0, -45, 0)),
        ("HELEN", "HELEN_2_0", (10, 0, 0)),
        ("AFW_Flip", "AFW_1_1", (0, 45, 0)),
    ):
        place = root / "300W_LP" / folder
        picture(place / f"{name}.jpg", size=(450, 450), spot=(225, 225))
        points = LANDMARKS + 225
        values = {key: np.zeros((size, 1)) for key, size in shapes.items()}
        values |= {"Exp_Para": np.zeros((29, 1)), "roi": np.array([[1, 1, 450, 450]])}
        values |= {"Pose_Para": _pose(*pose), "pt2d": points.T}
        scipy.io.savemat(place / f"{name}.mat", values)
        marks = root / "300W_LP" / "landmarks" / folder / f"{name}_pts.mat"
        marks.parent.mkdir(parents=True, exist_ok=True)
        scipy.io.savemat(marks, {"pts_2d": points, "pts_3d": points})


def biwi(root):
    """A head that faces the axis 1 m away, one turned by 30 degrees beside it, a broken pose."""
    cosine, sine = np.cos(np.radians(30)), np.sin(np.radians(30))
    frames = {
        3: (np.eye(3), (25, 0, 1000)),  # before the colour camera: (0, 0, 1000)
        4: (np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]]), (125, 0, 1000)),
    }
    for number, (matrix, centre) in frames.items():
        stem = f"hpdb/01/frame_{number:05d}"
        rows = [*matrix, [], centre]
        lines = [" ".join(f"{value:.9f}" for value in row) for row in rows]
        text(root / f"{stem}_pose.txt", "\n".join(lines) + "\n")
        picture(root / f"{stem}_rgb.png", size=(480, 640), spot=(320 + 50 * (number - 3), 240))
    text(root / "hpdb/01/frame_00005_pose.txt", "1 0 0\n")
    text(root / "hpdb/01/rgb.cal", RGB_CAL)


def _object(category="car", azimuth=30.0, box=(11, 21, 110, 80), **changes):
    found = {
        "class": category,
        "bbox": np.array(box, float),
        "viewpoint": {
            "azimuth": azimuth, "elevation": 5.0, "theta": 0.0, "distance": 7.0,
            "azimuth_coarse": azimuth, "elevation_coarse": 0.0,
        },
        "truncated": 0, "occluded": 0, "difficult": 0,
    }  # fmt: skip
    return found | changes


def pascal3d(root):
    """PASCAL's train; its validation, of a car and six objects that are refused; ImageNet's two."""
    release = root / "PASCAL3D+_release1.1"
    coarse = _object()["viewpoint"] | {"distance": 0.0}
    objects = {
        ("pascal", "2008_000001"): [_object(azimuth=120.0)],
        ("pascal", "2008_000002"): [
            _object(azimuth=270.0),
            _object(truncated=1),
            _object(occluded=1),
            _object(difficult=1),
            _object(viewpoint=coarse),
            _object(viewpoint=[]),
            _object(category="bus"),
        ],
        ("imagenet", "n02814533_1"): [_object(azimuth=10.0, truncated=1)],
        ("imagenet", "n02814533_2"): [_object(azimuth=200.0)],
    }
    for (collection, name), found in objects.items():
        suffix = "jpg" if collection == "pascal" else "JPEG"
        picture(release / "Images" / f"car_{collection}" / f"{name}.{suffix}", size=(150, 200))
        place = release / "Annotations" / f"car_{collection}"
        place.mkdir(parents=True, exist_ok=True)
        row = np.empty((1, len(found)), object)
        row[0] = found
        # A struct array has one set of fields for all its members.
        record = {"objects": row[0][0] if len(found) == 1 else row}
        scipy.io.savemat(place / f"{name}.mat", {"record": record})
    lists = release / "PASCAL/VOCdevkit/VOC2012/ImageSets/Main"
    text(lists / "train.txt", "2008_000001\n2008_000009\n")  # the last shows no car
    text(lists / "val.txt", "2008_000002\n")
    text(release / "Image_sets" / "car_imagenet_train.txt", "n02814533_1\n")
    text(release / "Image_sets" / "car_imagenet_val.txt", "n02814533_2\n")


def comp_cars(root):
    """Four cars, one of uncertain view, one whose label is broken."""
    labels = {
        "1/10/2010/aaa": "1\n1\n11 21 110 80\n",
        "1/10/2011/bbb": "5\n1\n1 1 200 150\n",
        "2/20/2012/ccc": "-1\n1\n1 1 200 150\n",
        "2/20/2012/ddd": "nothing\n",
    }
    for name, content in labels.items():
        text(root / "CompCars" / "data" / "label" / f"{name}.txt", content)
        picture(root / "CompCars" / "data" / "image" / f"{name}.jpg", size=(150, 200))
    lists = root / "CompCars" / "data" / "train_test_split" / "classification"
    text(lists / "train.txt", "1/10/2010/aaa.jpg\n")
    text(lists / "test.txt", "1/10/2011/bbb.jpg\n")


_COLUMNS = (
    "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,"
    "IsOccluded,IsTruncated,IsGroupOf,IsDepiction,IsInside"
)


def open_images(root):
    """A whole bus, one that is occluded, one too small, a train, a bus without its picture."""
    rows = [
        "aaa,x,/m/01bjv,1,0.1,0.6,0.2,0.8,0,0,0,0,0",
        "aaa,x,/m/01bjv,1,0.1,0.6,0.2,0.8,1,0,0,0,0",
        "aaa,x,/m/01bjv,1,0.0,0.1,0.0,0.1,0,0,0,0,0",
        "aaa,x,/m/07jdr,1,0.0,1.0,0.0,1.0,0,0,0,0,0",
        "zzz,x,/m/01bjv,1,0.0,1.0,0.0,1.0,0,0,0,0,0",
    ]
    root = root / "open_images"
    for split, table in (("train", "oidv6-train"), ("validation", "validation"), ("test", "test")):
        text(root / f"{table}-annotations-bbox.csv", "\n".join([_COLUMNS, *rows]) + "\n")
        picture(root / split / "aaa.jpg", size=(200, 300))
