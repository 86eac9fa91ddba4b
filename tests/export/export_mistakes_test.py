"""Runs, files and places that the export cannot use: one line, an exit code, nothing written."""

import contextlib
import functools
import json
import resource
import shutil
import subprocess
import sys

import exported
import numpy as np
import pytest
from in_process import run_command
from PIL import Image

from ssv_tf import config
from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.export import __main__ as command
from ssv_tf.export import saved_model, tflite
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import run_folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of six pictures, and a model of another kind."""
    place = tmp_path_factory.mktemp("made")
    (place / "pictures").mkdir()
    for i, picture in enumerate(exported.pictures(6)):
        Image.fromarray(picture).save(place / "pictures" / f"{i}.jpg")
    (place / "run" / "models").mkdir(parents=True)
    exported.analysis().save(place / "run" / "models" / "analysis.keras")
    options = config.Options.of(data=str(place / "pictures"), resolution=exported.SIZE)
    (place / "run" / "options.json").write_text(options.to_json())
    synthesis = SynthesisNetwork(
        resolution=32, width=0.03, code_size=4, mapping_layers=1, volume_size=8
    )
    synthesis.build()
    synthesis.save(place / "synthesis.keras")
    return place


@pytest.fixture
def place(made, tmp_path):
    """A copy to spoil."""
    shutil.copytree(made, tmp_path / "made")
    return tmp_path / "made"


def _refused(capsys, place, *words, code=1):
    """The line that an export into `place` ends with; asserts that it is all and leaves nothing."""
    before = {path: path.stat().st_mtime_ns for path in place.rglob("*")}
    got = run_command(command, "--formats=fp32", *words)
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if not line.startswith("writing ")]
    assert got == code and len(errors) == 1 and errors[0].startswith("error: "), lines
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*")} == before
    return errors[0]


def _spoilt(place, name, content):
    (place / "run" / name).write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("models/analysis.keras", b"", "analysis.keras cannot be read as a Keras model: empty"),
        ("models/analysis.keras", b"\xff\xd8\xff\xe0JFIF", "analysis.keras cannot be read"),
        ("models/analysis.keras", b"PK\x03\x04" + bytes(900), "analysis.keras cannot be read"),
        ("options.json", b"\xff\xd8\xff\xe0JFIF", "options.json cannot be read"),
        ("options.json", b"[]", "options.json"),
        ("calibration.json", b"{}", "calibration.json is no calibration"),
        ("calibration.json", b"\xff\xd8", "calibration.json cannot be read"),
        ("score.json", b"\xff\xd8", "score.json cannot be read"),
        ("score.json", b'{"azimuth": {}}', "score.json is no score of ssv_tf.evaluate"),
    ],
)
def test_a_damaged_run_is_named_by_its_file(place, capsys, name, content, said):
    _spoilt(place, name, content)
    assert said in _refused(capsys, place, f"--run={place / 'run'}", f"--out={place / 'out'}")


def test_half_a_model_and_a_model_of_another_kind(place, capsys):
    words = (f"--run={place / 'run'}", f"--out={place / 'out'}")
    model = place / "run" / "models" / "analysis.keras"
    whole = model.read_bytes()
    model.write_bytes(whole[: len(whole) // 2])
    assert "analysis.keras cannot be read as a Keras model" in _refused(capsys, place, *words)
    shutil.copy(place / "synthesis.keras", model)
    assert "holds a SynthesisNetwork, no AnalysisNetwork" in _refused(capsys, place, *words)
    model.unlink()
    assert "analysis.keras is missing" in _refused(capsys, place, *words)


def test_a_model_of_another_size_than_the_options(place, capsys):
    path = place / "run" / "options.json"
    options = json.loads(path.read_text())
    path.write_text(json.dumps(options | {"resolution": 64}))
    said = _refused(capsys, place, f"--run={place / 'run'}", f"--out={place / 'out'}")
    assert "options.json says 64 px, but its analysis.keras takes 32 px" in said


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--run=PLACE/none"], 1, "no such run folder"),
        (["--run=PLACE/pictures/0.jpg"], 1, "no such run folder"),
        (["--run=PLACE/pictures"], 1, "is not a run: it has no options.json"),
        (["--run=PLACE/run", "--preset=cars"], 2, "either --run=FOLDER or --preset=NAME"),
        (["--preset=tractors"], 2, "known presets: buses, cars"),
        (["--run=PLACE/run", "--score=PLACE/none.json"], 1, "none.json cannot be read"),
        (["--run=PLACE/run", "--data_dir=PLACE/none"], 1, "none"),
        (["--run=PLACE/run", "--data_dir=PLACE/run/models"], 1, "models"),
        (["--run=PLACE/run", "--out=PLACE/pictures/0.jpg"], 2, "is a file"),
        (["--run=PLACE/run", "--out=PLACE/pictures/0.jpg/out"], 1, "cannot write"),
        (["--run=PLACE/run", "--out=/proc/none/out"], 1, "cannot write"),
    ],
)
def test_a_place_that_is_none_costs_one_line(place, capsys, words, code, said):
    words = [f"--out={place / 'out'}", *(word.replace("PLACE", str(place)) for word in words)]
    assert said in _refused(capsys, place, *words, code=code)


@pytest.mark.parametrize("name", ["model_fp32.tflite", "model_card.md", "saved_model"])
def test_what_no_export_wrote_is_kept_even_with_overwrite(place, capsys, name):
    out = place / "out"
    if name == "saved_model":
        out.mkdir()
        (out / name).write_text("a file")
    else:
        (out / name).mkdir(parents=True)
    words = (f"--run={place / 'run'}", f"--out={out}", "--overwrite", "--formats=fp32,saved_model")
    assert f"{name} is not of an earlier export" in _refused(capsys, place, *words, code=2)


@contextlib.contextmanager
def _no_file_above(size):
    """The system refuses longer files, as a full disk does in the middle of a write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_breaks_off_leaves_neither_half_nor_temporary_file(tmp_path, monkeypatch):
    monkeypatch.setattr(tflite, "convert", lambda *_: exported.student(tmp_path / "saved"))
    monkeypatch.setattr(tflite, "check", lambda *_: None)
    old = files.write_atomically(tmp_path / "out" / "model_fp32.tflite", "old")
    content = tflite.metadata.attach(tflite.convert(), tflite.UNKNOWN, "fp32")
    shutil.rmtree(tmp_path / "saved")
    monkeypatch.setattr(tflite, "convert", lambda *_: content)
    with _no_file_above(2000), pytest.raises(UserError, match=r"cannot write .*: File too large"):
        tflite.write(None, "fp32", old)
    assert old.read_text() == "old" and list(old.parent.iterdir()) == [old]
    tflite.write(None, "fp32", old)
    assert old.stat().st_size > 2000


def test_a_saved_model_that_breaks_off_leaves_the_old_one(tmp_path):
    path = tmp_path / "saved_model"
    path.mkdir()
    (path / "old").write_text("kept")
    with _no_file_above(20_000), pytest.raises(UserError) as caught:
        saved_model.write(exported.folded(), path)
    assert str(caught.value) == f"cannot write {path}: File too large"
    assert [p.name for p in tmp_path.iterdir()] == ["saved_model"]
    assert [p.name for p in path.iterdir()] == ["old"]


def test_an_export_that_breaks_off_leaves_nothing(place, monkeypatch, capsys):
    few = functools.partial(command.Settings.of, parity_pictures=2)
    monkeypatch.setattr(command.Settings, "of", few)
    words = (f"--run={place / 'run'}", f"--out={place / 'out'}")
    with _no_file_above(20_000):
        assert "File too large" in _refused(capsys, place, *words)


# $1: an empty folder, $2: a run, $3: Python. A SavedModel finds no room beside the run.
_FULL_DISK = """
mount -t tmpfs -o size=300k none "$1" && cp -r "$2" "$1/run" || exit 99
"$3" -m ssv_tf.export --run="$1/run" --out="$1/out" --formats=fp32,saved_model
code=$?
ls -A "$1"
exit $code
"""


@pytest.mark.slow
def test_a_full_disk_costs_one_line(made, tmp_path):
    """A real one, of 300 kB, where the system lets a user mount it."""
    allowed = subprocess.run(
        ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)],
        capture_output=True, check=False, timeout=60,
    ) if shutil.which("unshare") else None  # fmt: skip
    if allowed is None or allowed.returncode:
        pytest.skip("no file system may be mounted here")
    words = [
        "unshare",
        "-rm",
        "bash",
        "-c",
        _FULL_DISK,
        "-",
        tmp_path,
        made / "run",
        sys.executable,
    ]
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=280, check=False
    )
    errors = [line for line in done.stderr.splitlines() if not line.startswith("writing ")]
    assert done.returncode == 1 and len(errors) == 1, done.stderr
    assert errors[0].startswith("error: ") and "No space left on device" in errors[0]
    assert done.stdout.split() == ["run"]  # no folder out, no temporary one


def test_a_damaged_archive_is_no_model_for_any_command(tmp_path):
    path = tmp_path / "models" / "analysis.keras"
    path.parent.mkdir()
    np.savez(path.with_suffix(".npz"), a=np.zeros(3))
    path.with_suffix(".npz").rename(path)  # a sound zip of something else
    with pytest.raises(UserError, match=r"analysis\.keras cannot be read as a Keras model"):
        run_folder.Run(tmp_path, config.Options.of()).analysis()
