"""The Python API, driven on the preset cars and rendered cars: the same answers as the commands."""

import importlib
import inspect
import json
import subprocess
import sys
import types

import numpy as np
import pytest
import tiny
from in_process import run_command
from PIL import Image

import ssv_tf
from ssv_tf import evaluate, predict
from ssv_tf.api import angles as angles_of
from ssv_tf.base.errors import SettingError
from ssv_tf.data import sources
from ssv_tf.training import run_folder

METHODS = (
    "predict", "calibrate", "evaluate", "draw", "redraw", "turntable", "export", "distill",
)  # fmt: skip
COUNT = 60


@pytest.fixture(scope="module")
def cars():
    """Rendered cars with their angles, which no training saw."""
    return sources.load_collection(sources.EMBEDDED, resolution=32, split="test", limit=COUNT)


@pytest.fixture(scope="module")
def photos(cars, tmp_path_factory):
    """The same as a folder of files, with a table and one broken file."""
    folder = tmp_path_factory.mktemp("photos")
    lines = ["filename,azimuth_deg,elevation_deg,tilt_deg"]
    for i, (image, row) in enumerate(zip(cars.images, cars.angles_deg, strict=True)):
        Image.fromarray(image).save(folder / f"{i:03d}.png")
        lines.append(f"{i:03d}.png,{','.join(map(repr, row.tolist()))}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


@pytest.fixture(scope="module")
def shared():
    return ssv_tf.load("cars")


@pytest.fixture
def model(shared):
    """The preset as it was loaded, whatever a test fits."""
    kept = shared.calibration
    yield shared
    shared.calibration = kept


# --- The package ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ssv_tf.__all__)
def test_every_public_name_is_there_documented_and_annotated(name):
    public = getattr(ssv_tf, name)
    assert name in dir(ssv_tf) and inspect.getdoc(public)
    if inspect.isfunction(public):
        _check_function(public)
    for method_name, method in inspect.getmembers(public, inspect.isfunction):
        if not method_name.startswith("_") and method.__module__.startswith("ssv_tf"):
            _check_function(method)


def _check_function(function):
    signature = inspect.signature(function)
    assert inspect.getdoc(function), function
    assert signature.return_annotation is not inspect.Signature.empty, function
    for parameter in list(signature.parameters.values()):
        if parameter.name not in ("self", "cls"):
            assert parameter.annotation is not inspect.Parameter.empty, (function, parameter)


@pytest.mark.parametrize("name", [*METHODS, "crop", "load", "train"])
def test_what_does_the_work_tells_its_errors_and_shows_a_call(name):
    function = getattr(ssv_tf.ViewpointModel, name, None) or getattr(ssv_tf, name)
    text = inspect.getdoc(function)
    assert "Raises:" in text and "UserError" in text and "Args:" in text
    assert "    " in text.split("Args:")[0]  # an example stands before the arguments


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing"):
        ssv_tf.nothing  # noqa: B018


def test_train_stays_a_function_when_the_command_is_imported():
    module = importlib.import_module("ssv_tf.train")
    assert isinstance(module, types.ModuleType) and callable(module.main)
    assert inspect.isfunction(ssv_tf.train)


def test_importing_and_predicting_bring_neither_tensorflow_nor_anything_heavy():
    code = (
        "import time; start = time.perf_counter(); import sys, ssv_tf; "
        "took = time.perf_counter() - start; "
        "heavy = {'tensorflow', 'keras', 'PIL', 'numpy', 'absl', 'jax'} & set(sys.modules); "
        "ssv_tf.presets(); ssv_tf.recipes(); "
        "import numpy; black = numpy.zeros((48, 64, 3), numpy.uint8); "
        "assert ssv_tf.load('cars_phone').predict(black).confidence.shape == (1,); "
        "import ssv_tf.predict; "
        "late = {'tensorflow', 'keras', 'jax', 'matplotlib', 'tensorflow_datasets'}; "
        "late &= set(sys.modules); "
        "import json; print(json.dumps([took, sorted(heavy), sorted(late)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    took, heavy, late = json.loads(done.stdout)
    assert heavy == [] and late == [] and done.stderr == ""
    assert took < 5  # measured: 0.02 s; a loaded machine must not fail it


def test_presets_and_recipes_are_listed_with_what_they_are_for():
    presets = {
        "buses",
        "cars",
        "cars_cutouts",
        "cars_phone",
        "cars_photos",
        "cars_photos_phone",
        "faces",
        "faces_phone",
    }
    assert presets <= set(ssv_tf.presets())
    assert {"object", "cars", "cars_photos", "faces"} <= set(ssv_tf.recipes())
    assert all(text and "\n" not in text for text in ssv_tf.presets().values())
    assert all(text and "--" not in text for text in ssv_tf.recipes().values()), ssv_tf.recipes()


def test_load_takes_a_preset_or_a_folder_and_names_what_it_cannot_find(model, tmp_path):
    assert ssv_tf.load(model.run.path).resolution == model.resolution == 32
    assert model.name == "cars" and "calibrated" in repr(model)
    with pytest.raises(ssv_tf.UserError, match="neither a run folder nor a preset"):
        ssv_tf.load("no_such_model")
    with pytest.raises(ssv_tf.UserError, match=r"no options\.json"):
        ssv_tf.load(tmp_path)


# --- predict -------------------------------------------------------------------------------------


def test_predict_answers_what_the_command_writes_to_the_digit(model, photos, tmp_path, capsys):
    views = model.predict(photos)
    assert run_command(predict, "--preset=cars", photos) == 0
    assert views.to_csv() == capsys.readouterr().out
    table, data = tmp_path / "angles.csv", tmp_path / "angles.json"
    assert views.to_csv(table) == table.read_text() and views.to_json(data) == data.read_text()
    assert run_command(predict, "--preset=cars", f"--out={tmp_path / 'their.json'}", photos) == 0
    assert data.read_text() == (tmp_path / "their.json").read_text()


def test_predict_is_right_about_most_cars(model, cars):
    views = model.predict(cars.images)
    errors = np.abs((views.azimuth_deg - cars.angles_deg[:, 0] + 180) % 360 - 180)
    assert np.median(errors) < 12 and np.mean(errors < 30) > 0.7
    assert views.calibrated and views.confidence.shape == (COUNT,) and len(views) == COUNT
    assert views.novelty.shape == (COUNT,) and np.mean(views.novelty < 1.0) > 0.9
    assert views.elevation_deg.shape == views.tilt_deg.shape == (COUNT,)
    assert np.all((views.confidence >= 0) & (views.confidence <= 1))


def test_pictures_of_something_else_are_new_and_not_sure(model, cars):
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    views = model.predict([np.full((40, 40, 3), 127, np.uint8), noise, cars.images[0]])
    assert (views.novelty[:2] > 1.0).all() and (views.confidence[:2] < 0.05).all()
    assert views.novelty[2] < 1.0
    assert views.to_csv().splitlines()[0].endswith(",confidence,novelty")
    assert views.rows()[0]["novelty"] == round(float(views.novelty[0]), 3)


def test_any_mixture_of_pictures_of_any_sizes(model, photos, cars):
    first = photos / "000.png"
    large = Image.open(first).resize((320, 200))
    see_through = Image.open(first).convert("RGBA")
    grey = np.asarray(Image.open(first).convert("L"))
    views = model.predict([first, str(photos / "00*.png"), large, cars.images[0], see_through,
                           cars.images[1:3], grey, first])  # fmt: skip
    names = [str(photos / f"{i:03d}.png") for i in range(10)]
    assert views.names == [*names, *(f"picture_{i}" for i in range(10, 16))]
    alone = model.predict(first).angles_deg[0]
    np.testing.assert_allclose(views.angles_deg[[0, 11, 12]], np.stack([alone] * 3), atol=1e-3)
    np.testing.assert_allclose(views.angles_deg[1], views.angles_deg[13], atol=1e-3)
    assert views.paths[0] == first and views.paths[10] is None and views.skipped == []


def test_bad_pictures_are_named_and_counted_or_the_end(model, photos):
    told = []
    gone = photos / "gone.jpg"
    views = model.predict([photos, gone], on_skip=lambda *pair: told.append(pair))
    assert len(views) == COUNT and "2 skipped" in str(views) and told == views.skipped
    assert dict(views.skipped)[str(gone)] == "no such file"
    assert dict(views.skipped)[str(photos / "broken.png")].startswith("not a JPEG")
    with pytest.raises(ssv_tf.UserError, match="no such file"):
        model.predict([photos, gone], bad_pictures="stop")
    with pytest.raises(ssv_tf.UserError, match=r"none of the 1 pictures could be read.*gone"):
        model.predict(gone)
    with pytest.raises(ssv_tf.UserError, match="no pictures were given"):
        model.predict([])


@pytest.mark.parametrize(
    "wrong",
    [3, [None], np.zeros((4, 4, 3)), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4, 3), np.uint8),
     [b"bytes"]],
)  # fmt: skip
def test_what_is_no_picture_is_a_value_error(model, wrong):
    with pytest.raises(ValueError, match="is no picture, give"):
        model.predict(wrong)


def test_without_a_calibration_the_angles_are_the_networks_own_and_it_says_so(model, cars):
    model.calibration = None
    with pytest.warns(ssv_tf.ViewpointWarning, match=r"no calibration\.json"):
        views = model.predict(cars.images[:2])
    assert not views.calibrated and views.confidence is None and views.novelty is None
    with pytest.raises(ssv_tf.UserError, match="`calibrate_on=100`"):
        model.evaluate(cars)


def test_a_table_for_pandas_is_unrounded(model, cars, monkeypatch):
    frames = []
    fake = types.SimpleNamespace(DataFrame=lambda columns: frames.append(columns) or columns)
    views = model.predict(cars.images[:3])
    monkeypatch.setitem(sys.modules, "pandas", fake)
    table = views.to_pandas()
    angles = ["azimuth_deg", "elevation_deg", "tilt_deg"]
    assert list(table) == ["filename", *angles, "confidence", "novelty"]
    assert np.array_equal(table["azimuth_deg"], views.azimuth_deg)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ssv_tf.UserError, match="pip install pandas"):
        views.to_pandas()


# --- calibrate and evaluate ----------------------------------------------------------------------


class Table(dict):
    """Enough of a pandas.DataFrame: named columns, and their length."""

    @property
    def columns(self):
        return list(self)

    def __len__(self):
        return len(next(iter(self.values())))


def test_angles_in_every_form_give_the_same_calibration(model, photos, cars):
    rows = cars.angles_deg.astype(float)
    columns = {f"{n}_deg": rows[:, i] for i, n in enumerate(("azimuth", "elevation", "tilt"))}
    names = [f"{i:03d}.png" for i in range(COUNT)]
    files = [photos / name for name in names]
    forms = [
        rows,
        rows.tolist(),
        dict(zip(names, rows, strict=True)),
        photos / "labels.csv",
        Table(columns),
        Table({"filename": names} | columns),
    ]
    fitted = [model.calibrate(files, form) for form in forms]
    assert len({result.calibration.to_json() for result in fitted}) == 1
    assert model.calibration is fitted[-1].calibration
    assert fitted[0].pictures == COUNT and fitted[0].path is None
    assert fitted[0].doubts == () and "calibrated on 60 pictures" in str(fitted[0])
    assert run_folder.load(preset="cars").calibration() != model.calibration  # its own stays


def test_pictures_without_angles_are_left_out(model, cars):
    rows = cars.angles_deg.astype(float)
    rows[:20] = np.nan
    assert model.calibrate(cars.images, rows).pictures == COUNT - 20
    with pytest.raises(ssv_tf.UserError, match="too few to calibrate on"):
        model.calibrate(cars.images[:24], rows[:24])


@pytest.mark.parametrize(
    ("angles", "kind", "said"),
    [
        (None, ValueError, "angles are missing"),
        (np.zeros((2, 3)), ValueError, "3 pictures need angles"),
        ("text.csv", ssv_tf.UserError, "cannot read the labels"),
        ([["a", "b", "c"]] * 3, ValueError, "no numbers"),
        ({"other.png": [1, 2, 3]}, ssv_tf.UserError, "no name of the angles"),
        (np.full((3, 3), 95.0), ssv_tf.UserError, "beyond 90 degrees"),
        (Table({"yaw": [1, 2, 3]}), ssv_tf.UserError, "no column azimuth_deg"),
        ({"picture_0": {"yaw": 1}}, ValueError, "has none of azimuth_deg"),
    ],
)
def test_angles_that_do_not_fit_are_named(model, cars, angles, kind, said):
    with pytest.raises(kind, match=said):
        model.calibrate(cars.images[:3], angles)


def test_azimuth_alone_and_whole_turns():
    rows = angles_of.of_pictures([350.0, -190.0], ["a", "b"])
    assert np.array_equal(rows[:, 0], [-10.0, 170.0]) and np.isnan(rows[:, 1:]).all()
    named = angles_of.of_pictures({"x/a.png": 10, "b.png": [20, 5, 1]}, ["x/a.png", "y/b.png"])
    assert named[0, 0] == 10 and named[1].tolist() == [20, 5, 1]


def test_some_angles_in_any_form_and_what_is_not_calibrated_is_said(model, cars):
    azimuths = cars.angles_deg[:, 0].astype(float)
    names = [f"picture_{i}" for i in range(COUNT)]
    nothing = np.full(COUNT, np.nan)
    forms = [
        azimuths,
        azimuths[:, None],
        np.stack([azimuths, nothing, nothing], axis=1),
        {"azimuth_deg": azimuths},
        Table({"azimuth_deg": azimuths, "elevation_deg": nothing}),
        {name: {"azimuth_deg": azimuth} for name, azimuth in zip(names, azimuths, strict=True)},
        dict(zip(names, azimuths, strict=True)),
    ]
    fitted = [model.calibrate(cars.images, form, save=False).calibration for form in forms]
    assert len({one.to_json() for one in fitted}) == 1
    assert fitted[0].uncalibrated == ("elevation", "tilt")
    turned = {"yaw": np.radians(-azimuths)}
    same = model.calibrate(
        cars.images, turned, columns="azimuth=yaw", convention="radians,nose_right"
    )
    assert same.calibration.offset_deg == fitted[0].offset_deg
    with pytest.warns(ssv_tf.ViewpointWarning, match="elevation and tilt: not calibrated"):
        model.predict(cars.images[:2])
    score = model.evaluate(cars.images, azimuths)
    assert score["elevation"] == {"pictures": 0} and "nan" not in str(score)


def test_classes_in_words_and_steps(model, cars):
    eight = ["front", "front_left", "left", "rear_left", "rear", "rear_right", "right"]
    eight += ["front_right"]
    steps = np.round(cars.angles_deg[:, 0] / 45).astype(int)
    words = [eight[step % 8] for step in steps]
    result = model.calibrate(cars.images, words)
    assert "tolerance of 22.5" in str(result) and result.calibration.label_tolerance_deg == 22.5
    again = model.calibrate(cars.images, 45.0 * steps, label_tolerance_deg=22.5)
    assert again.calibration == result.calibration
    score = model.evaluate(
        cars.images, dict(zip([f"picture_{i}" for i in range(COUNT)], words, strict=True))
    )
    assert score["azimuth"]["within_tolerance"]["share"] > 0.5
    with pytest.raises(ValueError, match="no numbers"):
        model.calibrate(cars.images, ["sideways"] * COUNT)


def test_evaluate_is_the_commands_score(model, photos, tmp_path):
    score = model.evaluate(photos, photos / "labels.csv")
    out = tmp_path / "score.json"
    words = [f"--data_dir={photos}", f"--labels={photos / 'labels.csv'}", "--calibrate_on=0"]
    assert run_command(evaluate, "--preset=cars", *words, f"--json={out}") == 0
    theirs = json.loads(out.read_text())
    ours = json.loads(json.dumps(score))
    assert theirs.pop("skipped") == 0 and ours.pop("skipped") == 0  # the table names whole files
    assert ours == theirs
    assert "60 pictures scored" in str(score) and score["azimuth"]["median_error_deg"] < 12
    fresh = model.evaluate(photos, photos / "labels.csv", calibrate_on=40)
    assert fresh["pictures"] == 20 and fresh["calibrated_on"] == 40


def test_calibrate_saves_into_a_run_folder_and_evaluate_reads_it(model, cars, tmp_path):
    import shutil

    shutil.copytree(model.run.path, tmp_path / "run")
    (tmp_path / "run" / "calibration.json").unlink()
    run = ssv_tf.load(tmp_path / "run")
    assert run.calibration is None
    kept = run.calibrate(cars.images, cars.angles_deg, save=False)
    assert kept.path is None and not (tmp_path / "run" / "calibration.json").exists()
    saved = run.calibrate(cars)
    assert saved.path == tmp_path / "run" / "calibration.json"
    again = ssv_tf.load(tmp_path / "run")
    assert again.calibration.to_json() == saved.calibration.to_json()
    assert again.evaluate(cars)["calibrated_on"] == COUNT


# --- draw, turntable, export, distill, train -----------------------------------------------------


def test_draw_shows_the_axes_and_the_angles(model, photos, cars):
    drawn = model.draw(photos / "000.png")
    assert drawn.width == 320 and drawn.height > 320 and drawn.mode == "RGB"
    assert np.array_equal(drawn, model.draw(cars.images[0]))
    assert not np.array_equal(drawn, model.draw(cars.images[0], np.array([90.0, 0, 0])))
    with pytest.raises(ssv_tf.UserError, match="broken"):
        model.draw(photos / "broken.png")
    with pytest.raises(ssv_tf.UserError, match="one picture is needed, got 2"):
        model.draw(cars.images[:2])


@pytest.mark.slow
def test_turntables_turn_and_are_saved(model, tmp_path):
    table = model.turntable(count=2, views=6)
    assert table.pictures.shape == (2, 6, 32, 32, 3) and table.pictures.dtype == np.uint8
    np.testing.assert_allclose(table.azimuth_deg, [0, 60, 120, 180, -120, -60], atol=1e-4)
    assert np.abs(table.pictures[:, 0].astype(int) - table.pictures[:, 1]).mean() > 2
    with Image.open(table.save(tmp_path / "t.gif")) as gif:
        assert gif.n_frames == 6
    with Image.open(table.save(tmp_path / "t.png")) as sheet:
        assert sheet.size == (6 * 32, 2 * 32) and np.array_equal(sheet, table.sheet())
    assert model.viewpoint_grid().size == (12 * 32, 5 * 32)
    with pytest.raises(ValueError, match="must end in"):
        table.save(tmp_path / "t.jpg")
    with pytest.raises(ValueError, match="at least 1 object"):
        model.turntable(0)
    with pytest.raises(ssv_tf.UserError, match="student"):
        ssv_tf.load("cars_phone").turntable()


def test_pictures_are_drawn_anew_as_the_model_sees_them(model, cars):
    drawn = model.redraw(cars.images)
    assert drawn.shape == cars.images.shape and drawn.dtype == np.uint8

    def apart(others):
        return np.abs(drawn.astype(int) - others).mean()

    assert apart(cars.images) < 0.8 * apart(np.roll(cars.images, 7, axis=0))
    with pytest.raises(ssv_tf.UserError, match="student"):
        ssv_tf.load("cars_phone").redraw(cars.images)


@pytest.mark.slow
def test_a_preset_of_photos_is_exported_without_a_photo(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()  # somebody's own, which the preset's `photos` does not mean
    model = ssv_tf.load("cars_cutouts")
    settings = {"representative": 10, "parity_pictures": 20}
    exported = model.export("out", formats=["tflite_fp32"], **settings)
    assert exported.files["fp32"].is_file() and exported.parity[0]["pictures"] == 20
    assert exported.parity[0]["azimuth"]["max_deg"] < 0.05
    assert exported.pictures.startswith("drawn by its synthesis network")
    assert exported.pictures in (tmp_path / "out" / "parity.md").read_text()
    [row] = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert row["pictures_from"] == exported.pictures
    with pytest.raises(SettingError, match=r"exists; give `overwrite`"):
        model.export("out", formats=["fp32"], **settings)


@pytest.mark.slow
def test_export_writes_the_calibration_in_memory(model, cars, tmp_path):
    from ssv_tf.export import tflite

    turned = cars.angles_deg[:, 0] + 90.0  # azimuth alone: the others stay the network's own
    model.calibrate(cars.images, turned, azimuth="circular")
    exported = model.export(tmp_path / "out", ["fp32"], cars.images, details={"author": "Me"})
    answers = tflite.Predictor(exported.files["fp32"])(cars.images[:5])
    apart = answers - model.predict(cars.images[:5]).angles_deg
    assert np.abs((apart + 180) % 360 - 180).max() < 0.05
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "Author: Me" in card and "the network's own: elevation, tilt" in card
    with pytest.raises(ValueError, match="onnx"):
        model.export(tmp_path / "other", ["onnx"])
    with pytest.raises(ValueError, match="unknown setting wide"):
        model.export(tmp_path / "other", wide=3)


@pytest.mark.slow
def test_distill_gives_a_student_that_predicts(model, photos, tmp_path, eager):
    settings = {"steps": 3, "batch_size": 4, "resolution": 32, "width": 0.25, "quiet": True}
    student = model.distill(photos, tmp_path / "student", **settings)
    assert student.run.student == "cars" and len(student.predict(photos)) == COUNT
    arrays = [np.asarray(Image.open(photos / f"{i:03d}.png")) for i in range(8)]
    other = model.distill(arrays, tmp_path / "other", **settings)
    assert other.options.pictures.data == "pictures in memory"
    with pytest.raises(ssv_tf.UserError, match="holds a student"):
        model.distill(photos, tmp_path / "student", **settings)
    with pytest.raises(ValueError, match="unknown setting depth"):
        model.distill(photos, tmp_path / "third", depth=3)


@pytest.mark.slow
def test_train_takes_a_recipe_by_name_and_returns_a_model(photos, tmp_path, monkeypatch, eager):
    monkeypatch.chdir(tmp_path)
    tiny.with_short_looks(monkeypatch)
    small = {"batch_size": 8, "analysis_width": 0.03, "synthesis_width": 0.03, "volume_size": 8,
             "quiet": True}  # fmt: skip
    run = ssv_tf.train(photos, recipe="cars", steps=1, run_dir=tmp_path / "run", **small)
    assert run.run.path == tmp_path / "run" and run.options.synthesis.volume_width == 0.5
    assert run.calibration is None and run.options.run.steps == 1
    assert run.turntable(1, 2).pictures.shape == (1, 2, 32, 32, 3)
    again = ssv_tf.train(photos, "cars", steps=2, run_dir=tmp_path / "run", **small)
    assert again.options.run.steps == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"recipe": "no_such"}, "no recipe 'no_such'; there are buses, "),
        ({"no_such": 1}, "unknown setting no_such"),
        ({"steps": 0}, "`steps` must be at least 1"),
        ({"steps": [1]}, "`steps` must be int"),
    ],
)
def test_what_train_cannot_take_is_a_value_error_without_flags(words, said, tmp_path):
    with pytest.raises(ValueError, match=said) as caught:
        ssv_tf.train(tmp_path, **words)
    assert "--" not in str(caught.value)
