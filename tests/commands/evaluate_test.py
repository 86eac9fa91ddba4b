"""calibrate and evaluate from flags to files, with a V that reads the angle off the picture."""

import base64
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from in_process import run_command
from PIL import Image
from predictions import prediction_of

from ssv_tf import calibrate, config, evaluate
from ssv_tf.data import sources
from ssv_tf.data.collection import PictureSet
from ssv_tf.evaluation import calibration, cards, labelled, metrics, report, scoring
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.models import inference
from ssv_tf.training import run_folder

OFFSET = 50.0


class FakeRun:
    """A run whose V answers -azimuth + 50 of pictures that `_picture` painted."""

    preset, networks, has_synthesis, training = None, "", False, "self-supervised"

    def __init__(self, path, **options):
        self.path = Path(path)
        self.options = config.Options.of(**options)

    def analysis(self):
        return _raw

    def calibration(self):
        path = self.path / "calibration.json"
        return Calibration.load(path) if path.exists() else None


def _picture(azimuth, elevation, size=32):
    colour = [(azimuth % 360) / 360 * 250, elevation * 4, 90]
    return np.full((size, size, 3), np.rint(colour), np.uint8)


def _raw(images):
    colour = images.reshape(len(images), -1, 3).mean(axis=1)
    azimuth, elevation = colour[:, 0] / 250 * 360, colour[:, 1] / 4
    own = np.stack([OFFSET - azimuth, 2 * elevation, np.zeros(len(images))], axis=-1)
    return prediction_of(own)


def _viewpoints(count, seed=0):
    random = np.random.default_rng(seed)
    return random.uniform((-180, 0, -2), (180, 30, 2), (count, 3))


def _picture_set(count, seed=0):
    angles = _viewpoints(count, seed).astype(np.float32)
    images = np.stack([_picture(a, e) for a, e, _ in angles])
    return PictureSet([f"{seed}/{i}" for i in range(count)], images, angles)


@pytest.fixture
def run(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    fake = FakeRun(folder)
    monkeypatch.setattr(run_folder, "load", lambda path, preset=None: fake)
    monkeypatch.setattr(labelled, "predictor", lambda network: network)
    splits = {"calibration": _picture_set(150, 1), "test": _picture_set(60, 2)}
    load = sources.load_collection

    def load_collection(spec, **options):
        return splits[options["split"]] if spec == sources.EMBEDDED else load(spec, **options)

    monkeypatch.setattr(sources, "load_collection", load_collection)
    return fake


@pytest.fixture
def photos(tmp_path):
    """80 labelled pictures, one broken file, one suspect row, a column to choose rows by."""
    folder = tmp_path / "photos"
    folder.mkdir()
    lines = ["filename,azimuth_deg,elevation_deg,tilt_deg,class_id,suspect"]
    for i, (azimuth, elevation, tilt) in enumerate(_viewpoints(80)):
        Image.fromarray(_picture(azimuth, elevation)).save(folder / f"{i:03d}.png")
        lines.append(f"{i:03d}.png,{azimuth % 360:.3f},{elevation:.3f},{tilt:.3f},{i % 4},0")
    (folder / "broken.png").write_bytes(b"no picture")
    lines.append("broken.png,1,2,3,1,0")
    Image.fromarray(_picture(0, 0)).save(folder / "suspect.png")
    lines.append("suspect.png,170,2,3,1,1")
    labels = tmp_path / "labels.csv"
    labels.write_text("\n".join(lines) + "\n")
    return [f"--data_dir={folder}", f"--labels={labels}"]


def test_calibrate_on_the_embedded_cars_finds_sign_and_offset(run, capsys):
    assert run_command(calibrate, "--run=x") == 0
    out = capsys.readouterr().out
    path = run.path / "calibration.json"
    assert str(path) in out and "calibrated on 100 pictures" in out
    fitted = Calibration.load(path)
    assert fitted.scale[0] == -1.0 and fitted.pictures == 100
    assert fitted.offset_deg[0] == pytest.approx(OFFSET, abs=1.5)
    assert fitted.scale[1] == pytest.approx(0.5, abs=0.02)
    assert re.search(r"azimuth +circular +-1.000 +(49|50|51)\.\d deg", out)


def test_calibrate_never_overwrites_unasked(run, capsys):
    (run.path / "calibration.json").write_text("mine")
    assert run_command(calibrate, "--run=x") == 2
    assert "calibration.json exists" in capsys.readouterr().err
    assert (run.path / "calibration.json").read_text() == "mine"
    assert run_command(calibrate, "--run=x", "--overwrite") == 0
    assert Calibration.load(run.path / "calibration.json").scale[0] == -1.0


def test_calibrate_on_a_folder_writes_where_it_is_told(run, photos, tmp_path, capsys):
    out = tmp_path / "other" / "c.json"
    assert run_command(calibrate, "--run=x", *photos, "--count=20", f"--out={out}") == 0
    assert Calibration.load(out).pictures == 20
    assert "only 20 pictures" in capsys.readouterr().err
    assert not (run.path / "calibration.json").exists()


def test_calibrate_uses_a_line_where_the_run_was_trained_on_a_limited_range(run):
    run.options = config.Options.of(azimuth_range_deg=80.0)
    assert run_command(calibrate, "--run=x") == 0
    assert Calibration.load(run.path / "calibration.json").kinds[0] == "linear"


def test_a_preset_keeps_its_calibration(run, capsys):
    assert run_command(calibrate, "--preset=cars") == 2
    assert "--preset needs --out" in capsys.readouterr().err


def test_evaluate_on_embedded_cars_with_the_stored_calibration(run, tmp_path, capsys):
    Calibration((-1.0, 0.5, 1.0), (OFFSET + 20, 0.0, 0.0), pictures=33).save(
        run.path / "calibration.json"
    )
    out = tmp_path / "score.json"
    assert run_command(evaluate, "--run=x", "--calibrate_on=0", f"--json={out}") == 0
    result = json.loads(out.read_text())
    assert (result["pictures"], result["calibrated_on"]) == (60, 33)
    assert result["azimuth"]["median_error_deg"] == pytest.approx(20, abs=1.5)
    assert result["azimuth"]["within_30"] == 1.0 and result["azimuth"]["within_15"] == 0.0
    assert result["baseline_fitted_on"] == "the calibration split"
    shown = capsys.readouterr().out
    assert "60 pictures scored, 0 skipped, calibrated on 33" in shown and str(out) in shown


def test_evaluate_without_a_stored_calibration_says_what_to_do(run, capsys):
    assert run_command(evaluate, "--run=x", "--calibrate_on=0") == 1
    error = capsys.readouterr().err
    assert "has no calibration.json" in error and "ssv_tf.calibrate" in error


def test_evaluate_on_a_folder_leaves_calibration_and_bad_pictures_out(run, photos, tmp_path):
    out, page = tmp_path / "new" / "score.json", tmp_path / "new" / "report.html"
    words = ("--run=x", *photos, "--calibrate_on=30", f"--json={out}", f"--report={page}")
    assert run_command(evaluate, *words) == 0
    result = json.loads(out.read_text())
    assert (result["pictures"], result["skipped"], result["calibrated_on"]) == (50, 1, 30)
    assert result["azimuth"]["median_error_deg"] < 2
    assert result["azimuth"]["baseline"]["median_error_deg"] > 50
    text = page.read_text()
    assert "suspect.png" not in text and "<svg" not in text
    assert text.count("data:image/jpeg") == 2 * 4 + 2 * 12  # above, and below the numbers
    assert run_command(evaluate, *words) == 2, "nothing is overwritten"


def _only(photos, columns):
    """The photos' flags with a table of these columns alone."""
    labels = Path(photos[1].removeprefix("--labels="))
    rows = [line.split(",") for line in labels.read_text().splitlines()]
    kept = [rows[0].index(name) for name in columns]
    partly = labels.with_name("partly.csv")
    partly.write_text("".join(",".join(row[i] for i in kept) + "\n" for row in rows))
    return [photos[0], f"--labels={partly}"]


def test_azimuth_alone_calibrates_and_scores_and_that_is_said(run, photos, tmp_path, capsys):
    words = ["--run=x", *_only(photos, ("filename", "azimuth_deg", "suspect"))]
    assert run_command(calibrate, *words) == 0
    shown = capsys.readouterr()
    assert "tilt        as it is: too few labels know it" in shown.out
    assert "warning: elevation: not calibrated, as 0 pictures know it" in shown.err
    assert Calibration.load(run.path / "calibration.json").uncalibrated == ("elevation", "tilt")
    out, page = tmp_path / "score.json", tmp_path / "report.html"
    words += ["--calibrate_on=40", f"--json={out}", f"--report={page}"]
    assert run_command(evaluate, *words) == 0
    result = json.loads(out.read_text())
    assert result["elevation"] == result["tilt"] == {"pictures": 0}
    assert result["azimuth"]["median_error_deg"] < 2 and result["azimuth"]["pictures"] == 40
    assert result["azimuth"]["front_rear"]["balanced_accuracy"] == 1.0
    shown = capsys.readouterr().out
    assert "no labels of elevation, tilt" in shown and "front/rear: balanced accuracy 1.0" in shown
    text = page.read_text()
    assert "for want of labels: elevation, tilt" in text and "true unknown" in text
    card = cards.markdown("x", run.options, result, {}, "Pictures.", "Own.")
    assert "Not scored, for want of labels: elevation, tilt." in card
    assert "Elevation is not calibrated; it is the network's own answer." in card
    assert "elevation, mean error" not in card and "nan" not in card.lower().replace("finan", "")


def _in_words(photos, folder):
    """The same labels as eight classes, with other names of columns, a row without a label."""
    lines = [line.split(",") for line in Path(photos[1].split("=")[1]).read_text().splitlines()]
    eight = (
        "front",
        "front_left",
        "left",
        "rear left",
        "back",
        "Rear-Right",
        "right",
        "frontright",
    )
    rows = [f"{row[0]},{eight[round(float(row[1]) / 45) % 8]}" for row in lines[1:81]]
    table = folder / "words.csv"
    table.write_text("\n".join(["image,view", *rows, "suspect.png,"]) + "\n")
    return [photos[0], f"--labels={table}", "--columns=azimuth=view,file=image"]


def test_classes_in_words_calibrate_and_score_and_that_is_said(run, photos, tmp_path, capsys):
    words = ["--run=x", *_in_words(photos, tmp_path)]
    assert run_command(calibrate, *words) == 0
    shown = capsys.readouterr().out
    assert "errors of azimuth are those beyond the label's tolerance of 22.5" in shown
    fitted = Calibration.load(run.path / "calibration.json")
    assert fitted.label_tolerance_deg == 22.5 and fitted.scale[0] == -1.0
    assert fitted.offset_deg[0] == pytest.approx(OFFSET, abs=3)
    out, page = tmp_path / "score.json", tmp_path / "report.html"
    asked = ["--calibrate_on=40", f"--json={out}", f"--report={page}"]
    assert run_command(evaluate, *words, *asked) == 0
    result = json.loads(out.read_text())
    assert result["azimuth"]["within_tolerance"]["share"] > 0.9
    said = "tolerance of 22.5 degrees (best constant 0."
    assert said in capsys.readouterr().out and said in page.read_text()
    assert "° (not calibrated), true unknown" in page.read_text()
    card = cards.markdown("x", run.options, result, {}, "Pictures.", "Own.")
    assert said in card and said in cards.score_sentence(result)
    asked = ["--label_tolerance_deg=0", "--calibrate_on=40", f"--json={out}", "--overwrite"]
    assert run_command(evaluate, *words, *asked) == 0
    assert "within_tolerance" not in json.loads(out.read_text())["azimuth"]


def test_a_convention_turns_the_labels(run, photos, tmp_path, capsys):
    lines = Path(photos[1].split("=")[1]).read_text().splitlines()
    rows = [line.split(",") for line in lines[1:81]]
    table = tmp_path / "radians.csv"  # counted to the other side, from the nose at image left
    turned = [f"{row[0]},{np.radians((90 - float(row[1])) % 360):.5f}" for row in rows]
    table.write_text("\n".join(["filename,azimuth_deg", *turned]) + "\n")
    words = ["--run=x", photos[0], f"--labels={table}"]
    assert run_command(calibrate, *words) == 0
    assert "Then say --convention=radians" in capsys.readouterr().err
    asked = ["--convention=radians,nose_right,zero_left", "--overwrite"]
    assert run_command(calibrate, *words, *asked) == 0
    fitted = Calibration.load(run.path / "calibration.json")
    assert fitted.scale[0] == -1.0 and fitted.offset_deg[0] == pytest.approx(OFFSET, abs=1.5)


def test_elevation_alone_is_scored_too(run, photos, tmp_path, capsys):
    out, page = tmp_path / "score.json", tmp_path / "report.html"
    words = ["--run=x", *_only(photos, ("filename", "elevation_deg", "suspect"))]
    words += ["--calibrate_on=40", f"--json={out}", f"--report={page}"]
    assert run_command(evaluate, *words) == 0
    result = json.loads(out.read_text())
    assert result["azimuth"] == {"pictures": 0} and result["elevation"]["mean_error_deg"] < 1
    assert "no labels of azimuth, tilt" in capsys.readouterr().out
    assert "No picture has a label of azimuth" in page.read_text()
    assert "elevation, mean error" in cards.score_sentence(result)


def test_a_protocol_wants_all_three_angles(run, photos, capsys):
    words = _only(photos, ("filename", "azimuth_deg", "suspect"))
    assert run_command(evaluate, "--run=x", *words, "--protocol=pascal3d", "--calibrate_on=40") == 1
    assert "needs all three angles of every picture; 80 know fewer" in capsys.readouterr().err


def test_the_draw_follows_the_seed(run, photos, tmp_path):
    scores = []
    for seed in (0, 0, 1):
        out = tmp_path / f"{len(scores)}.json"
        words = (*photos, "--calibrate_on=30", f"--seed={seed}", f"--json={out}")
        assert run_command(evaluate, "--run=x", *words) == 0
        scores.append(json.loads(out.read_text())["azimuth"]["mean_error_deg"])
    assert scores[0] == scores[1] != scores[2]


def test_where_chooses_rows_by_column(run, photos, tmp_path):
    out = tmp_path / "score.json"
    words = (*photos, "--where=class_id%4==1", "--calibrate_on=12", f"--json={out}")
    assert run_command(evaluate, "--run=x", *words) == 0
    assert json.loads(out.read_text())["pictures"] == 20 - 12


def test_a_folder_may_be_scored_whole_with_the_stored_calibration(run, photos, tmp_path):
    assert run_command(calibrate, "--run=x") == 0
    out = tmp_path / "score.json"
    assert run_command(evaluate, "--run=x", *photos, "--calibrate_on=0", f"--json={out}") == 0
    result = json.loads(out.read_text())
    assert result["pictures"] == 80
    assert result["baseline_fitted_on"] == "the test pictures themselves"


@pytest.mark.parametrize(
    "words, code, reason",
    [
        (["--calibrate_on=80"], 1, "none is left to score"),
        (["--calibrate_on=3"], 1, "3 labelled pictures are too few"),
        (["--where=class_id%4"], 2, "cannot read the condition"),
        (["--where=class_id==9"], 1, "chooses no row"),
        (["--calibrate_on=-1"], 2, "calibrate_on"),
        (["--calibrate_on=many"], 2, "calibrate_on"),
        (["spare"], 2, "only flags are taken, got spare"),
        (["--labels="], 2, "--data_dir and --labels together"),
        (["--labels=/no/such.csv"], 1, "/no/such.csv"),
        (["--convention=clockwise"], 2, "--convention has no word 'clockwise'"),
        (["--columns=azimuth=yaw"], 1, "no column yaw"),
        (["--columns=yaw"], 2, "--columns cannot read yaw="),
        (["--label_tolerance_deg=180"], 2, "--label_tolerance_deg is from 0 to below 180"),
        (["--label_tolerance_deg=45", "--calibrate_on=40", "--protocol=pascal3d"], 2, "classes"),
        (["--data_dir=", "--labels=", "--convention=radians"], 2, "--convention needs --labels"),
    ],
)
def test_bad_input_is_one_line_and_a_code(run, photos, capsys, words, code, reason):
    assert run_command(evaluate, "--run=x", *photos, *words) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert error[-1].startswith("error: ") and reason in error[-1]
    assert not any("Traceback" in line for line in error)


def test_a_run_on_other_pictures_needs_labels_of_its_own(run, capsys):
    run.options = config.Options.of(data="/photos")
    assert run_command(evaluate, "--run=x") == 2
    assert "trained on /photos, which brings no labels" in capsys.readouterr().err


def test_the_circular_mean_goes_the_shorter_way_and_keeps_the_first_in_conflict():
    first = np.array([170.0, 10.0, -20.0, 100.0])
    second = np.array([-170.0, 30.0, 40.0, -30.0])
    np.testing.assert_allclose(scoring.circular_mean(first, second), [180, 20, 10, 100])


def test_mirror_average_mirrors_the_second_answer_back_whatever_the_offset():
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[:, :, :2] = 200  # the mirrored picture is bright on the other side

    def predict(given):
        plain = given[0, 0, 0, 0] == 200
        calibrated = np.array([[30.0, 8.0, 4.0]]) if plain else np.array([[-40.0, 10.0, -6.0]])
        return prediction_of(np.repeat((calibrated - (77, 0, 0)) * (-1, 1, 1), 2, axis=0))

    fitted = Calibration((-1.0, 1.0, 1.0), (77.0, 0.0, 0.0))
    plain = inference.decode(predict(images), fitted).degrees
    np.testing.assert_allclose(plain, [[30, 8, 4]] * 2, atol=1e-4)
    averaged = scoring.with_mirrored(predict, images, fitted, plain)
    np.testing.assert_allclose(averaged, [[35, 9, 5]] * 2, atol=1e-4)


def test_mirror_average_is_asked_for_by_flag(run, photos, tmp_path):
    errors = {}
    for flag in ("--nomirror_average", "--mirror_average"):
        path = tmp_path / f"{flag}.json"
        asked = ["--run=x", *photos, "--calibrate_on=40", f"--json={path}", flag]
        assert run_command(evaluate, *asked) == 0
        score = json.loads(path.read_text())
        assert score["mirror_average"] == (flag == "--mirror_average")
        errors[flag] = score["azimuth"]["median_error_deg"]
    # These pictures are their own mirror images, which spoils the average.
    assert errors["--nomirror_average"] < 5 < 10 < errors["--mirror_average"]


def _outcome():
    test = _picture_set(40, 5)
    test.names[0] = "<script>alert(1)</script>.png"
    known = _picture_set(30, 6)
    split = labelled.Split(known, test, known.angles_deg, "the calibration pictures")
    outcome = scoring.evaluate(_raw, split)
    outcome.result.update(run="my <run>", data="photos", where="", seed=0)
    return outcome


@pytest.mark.slow
def test_the_report_is_self_contained_and_says_its_numbers(tmp_path):
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 32)).save(tmp_path / "pictures" / "turntable_000500.png")
    Image.new("RGB", (64, 32)).save(tmp_path / "pictures" / "turntable.gif")
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 5, "kind": "train", "v_viewpoint": 1.5}\n{"step": 10, "ki'
    )
    outcome = _outcome()
    page = report.build(tmp_path, config.Options.of(), outcome, pictures=40)
    assert f"{outcome.result['azimuth']['median_error_deg']:.1f}°" in page
    assert "image/gif" in page and "<h2>Training</h2>" in page
    assert "my &lt;run&gt;" in page and "alert(1)" in page and "<script" not in page
    assert "http://" not in page and "https://" not in page
    sources_ = re.findall(r'<img alt="([^"]+)" src="([^"]{20})', page)
    assert len(sources_) == page.count("<img") == 7 + 1 + 8 + 1 + 1 + 80
    assert page.index("seen from above") < page.index("<h2>Best</h2>") < page.index("Numbers")
    assert all(source.startswith("data:image/") for _, source in sources_)
    assert 'name="viewport"' in page


def test_the_report_shows_what_s_draws_beside_the_best_and_the_worst(tmp_path):
    asked = []

    def redraw(images):
        asked.append(images)
        return 255 - images

    outcome = _outcome()
    page = report.build(tmp_path, config.Options.of(), outcome, pictures=2, redraw=redraw)
    assert "<h2>Best and what S draws of them</h2>" in page and [len(a) for a in asked] == [2, 2]
    errors = metrics.error_deg(outcome.predicted_deg[:, 0], outcome.test.angles_deg[:, 0])
    np.testing.assert_array_equal(asked[0], outcome.test.images[np.argsort(errors)[:2]])
    np.testing.assert_array_equal(asked[1], outcome.test.images[np.argsort(errors)[:-3:-1]])


def test_the_newest_moving_turntable_is_shown(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in (
        ("turntable.gif", 9),
        ("turntable_so_far.gif", 99),
        ("turntable_9.png", 3),
    ):
        Image.new("RGB", (64, 32), (colour,) * 3).save(folder / name)
    os.utime(folder / "turntable.gif", (0, 0))
    page = report.build(tmp_path, config.Options.of(), _outcome(), pictures=0)
    newest = base64.b64encode((folder / "turntable_so_far.gif").read_bytes()).decode()
    assert newest in page


def test_words_of_a_table_wrap_and_numbers_do_not(tmp_path):
    line = {"step": 10, "kind": "health", "health": 0.9, "coverage": 0.8}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    page = report.build(tmp_path, config.Options.of(), _outcome(), pictures=0)
    assert page.count('<table class="words">') == 1
    assert re.search(r"\.words td:last-child[^}]*white-space:normal", page)


def test_the_report_leaves_private_pictures_and_their_names_out(tmp_path):
    page = report.build(tmp_path, config.Options.of(), _outcome(), pictures=0)
    assert page.count("<img") == 7 + 1 and "seen from above" in page
    assert "image/jpeg" not in page and "alert(1)" not in page


def test_nothing_of_a_failing_predictor_is_hidden():
    known = _picture_set(30, 6)
    split = labelled.Split(known, known, known.angles_deg, "")
    with pytest.raises(calibration.UserError, match="30 of 30 predictions are no numbers"):
        scoring.evaluate(lambda images: prediction_of(np.full((len(images), 3), np.nan)), split)
