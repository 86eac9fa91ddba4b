"""The command that writes the page, and the built files it copies."""

import gzip
import hashlib
import json
import re
import shutil
import subprocess

import exported
import numpy as np
import pytest
import tensorflow as tf
from in_process import run_command
from PIL import Image

from ssv_tf import config
from ssv_tf.base import files
from ssv_tf.export import tflite
from ssv_tf.export.fold import FoldedViewpoint
from ssv_tf.export.web import __main__ as command
from ssv_tf.export.web import build, site
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.training import run_folder

pytestmark = pytest.mark.slow

SIZE = 32
LARGEST = 4_000_000  # bytes of all built files


@pytest.fixture(scope="module")
def written_run(tmp_path_factory):
    """A run without calibration, of the smallest network."""
    place = tmp_path_factory.mktemp("run")
    options = config.Options.of(
        data="/somebody/photos", resolution=SIZE, crop="height", padding="blur"
    )
    files.write_atomically(place / "options.json", options.to_json())
    network = AnalysisNetwork(resolution=SIZE, width=0.03, style_size=4)
    network.build()
    (place / "models").mkdir()
    network.save(place / "models" / "analysis.keras")
    return place


@pytest.fixture(scope="module")
def model(written_run):
    """A .tflite of that run."""
    folded = FoldedViewpoint(run_folder.load(written_run).analysis())
    return tflite.write(folded, "fp16", written_run / "model_fp16.tflite")


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_page_is_written_whole(written_run, tmp_path, capsys):
    out = tmp_path / "deep" / "page"
    assert run_command(command, f"--run={written_run}", f"--out={out}") == 0
    own = {"README.md", "model.json", "model.tflite", *(f"samples/{i}.jpg" for i in range(1, 7))}
    assert names(out) == own | set(site.BUILT_FILES)
    assert [path.name for path in out.parent.iterdir()] == ["page"]
    said = capsys.readouterr()
    assert "python -m http.server" in said.out and "not calibrated" in said.err
    settings = json.loads((out / "model.json").read_text())
    assert (settings["crop"], settings["padding"], settings["resolution"]) == ("height", "blur", 32)
    assert "not calibrated" in settings["doubt"]
    assert any("another" in limit or "azimuth" in limit for limit in settings["limits"])
    assert [sample["file"] for sample in settings["samples"]] == sorted(
        name for name in own if name.startswith("samples/")
    )
    written = "".join(p.read_text() for p in out.iterdir() if p.suffix in (".json", ".md"))
    assert "somebody" not in written and str(tmp_path) not in written
    degrees = tflite.Predictor(out / "model.tflite")(np.zeros((1, SIZE, SIZE, 3), np.uint8))
    assert degrees.shape == (1, 3)


def test_rendered_cars_that_are_new_to_the_model_are_no_samples(written_run, tmp_path, capsys):
    def bright_is_new(picture):
        mean = tf.reduce_mean(picture, axis=(1, 2, 3))[:, None]  # [1, 1], 0 to 255
        return {"viewpoint_deg": tf.concat([mean] * 3, axis=1), "novelty": mean / 90.0}

    shapes = {"picture": (1, SIZE, SIZE, 3)}
    given = tmp_path / "new.tflite"
    given.write_bytes(exported.converted(bright_is_new, tmp_path / "saved", **shapes))
    words = [f"--run={written_run}", f"--model={given}", f"--out={tmp_path / 'page'}"]
    assert run_command(command, *words) == 0
    shown = json.loads((tmp_path / "page" / "model.json").read_text())["samples"]
    assert 0 < len(shown) < 6
    assert f"{len(shown)} of 6 rendered cars look like" in capsys.readouterr().err


def test_an_exported_file_and_own_samples_are_taken(written_run, model, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    exif = Image.Exif()
    exif[0x010F] = "a camera's maker"
    for i in range(15):
        picture = Image.new("RGB", (1500, 900), (i * 10, 60, 200))
        picture.save(pictures / f"{i:02}.jpg", exif=exif)
    (pictures / "00.jpg").write_bytes(b"broken")
    words = [f"--run={written_run}", f"--model={model}", f"--samples={pictures}", "--name=Mine"]
    assert run_command(command, f"--out={tmp_path / 'page'}", *words) == 0
    assert (tmp_path / "page" / "model.tflite").read_bytes() == model.read_bytes()
    settings = json.loads((tmp_path / "page" / "model.json").read_text())
    assert settings["name"] == "Mine"
    assert [s["title"] for s in settings["samples"]] == [f"{i:02}" for i in range(1, 12)]
    sample = (tmp_path / "page" / "samples" / "1.jpg").read_bytes()
    assert b"maker" not in sample
    assert max(Image.open(tmp_path / "page" / "samples" / "1.jpg").size) == 1024


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--run=RUN"], 2, "--out=FOLDER is missing"),
        (["--out=OUT"], 2, "--run"),
        (["--run=RUN", "--preset=cars", "--out=OUT"], 2, "--preset"),
        (["--run=RUN", "--out=OUT", "stray"], 2, "stray"),
        (["--run=MISSING", "--out=OUT"], 1, "no such run folder"),
        (["--run=EMPTY", "--out=OUT"], 1, "not a run"),
        (["--preset=bikes", "--out=OUT"], 2, "known presets"),
        (["--run=RUN", "--out=FILE"], 2, "is a file"),
        (["--run=RUN", "--out=FILE/page"], 1, "cannot write"),
        (["--run=RUN", "--out=FULL"], 2, "holds other things"),
        (["--run=RUN", "--out=FULL", "--overwrite"], 2, "holds other things"),
        (["--run=RUN", "--out=OUT", "--model=MISSING"], 1, "no such file"),
        (["--run=RUN", "--out=OUT", "--model=FILE"], 1, "not a TFLite file"),
        (["--run=RUN", "--out=OUT", "--model=TORN"], 1, "not a model of this run"),
        (["--preset=cars", "--out=OUT", "--model=LARGER"], 1, "not a model of this run"),
        (["--run=RUN", "--out=OUT", "--samples=EMPTY"], 1, "no picture there can be used"),
        (["--run=RUN", "--out=OUT", "--samples=MISSING"], 1, "missing"),
    ],
)
def test_mistakes_give_one_line_and_write_nothing(
    written_run, model, tmp_path, capsys, words, code, said
):
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("words, not a model")
    (tmp_path / "torn").write_bytes(model.read_bytes()[:3000])
    larger = AnalysisNetwork(resolution=64, width=0.03, style_size=4)
    if "--model=LARGER" in words:
        larger.build()
        tflite.write(FoldedViewpoint(larger), "fp16", tmp_path / "larger")
    before = names(tmp_path)
    places = {"RUN": written_run} | {
        name: tmp_path / name.lower()
        for name in ("OUT", "MISSING", "EMPTY", "FILE", "FULL", "TORN", "LARGER")
    }
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    assert run_command(command, *words) == code
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1 and errors[0].startswith("error: ") and said in errors[0], errors
    assert names(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_a_page_is_replaced_only_when_asked_and_only_by_a_whole_one(
    written_run, model, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "page"
    words = [f"--run={written_run}", f"--model={model}", f"--out={out}"]
    assert run_command(command, *words) == 0
    assert run_command(command, *words) == 2
    assert "--overwrite" in capsys.readouterr().err
    monkeypatch.setattr(site, "BUILT", tmp_path / "nowhere")
    assert run_command(command, *words, "--overwrite", "--name=New") == 1
    assert "package is not whole" in capsys.readouterr().err
    assert json.loads((out / "model.json").read_text())["name"] != "New"
    assert [path.name for path in tmp_path.iterdir()] == ["page"]
    monkeypatch.undo()
    assert run_command(command, *words, "--overwrite", "--name=New") == 0
    assert json.loads((out / "model.json").read_text())["name"] == "New"


def test_built_files_are_those_of_the_sources():
    recorded = json.loads((site.BUILT / build.RECORD).read_text())
    hint = "python -m ssv_tf.export.web.build writes them anew"
    assert recorded["sources"] == build.source_hashes(), hint
    for name in ("index.html", "icon.svg", "licenses.txt"):
        assert (site.BUILT / name).read_bytes() == (build.SOURCE / name).read_bytes(), hint
    assert sum(path.stat().st_size for path in site.BUILT.iterdir()) < LARGEST


def test_the_lock_names_hashes_and_no_host():
    text = (build.SOURCE / "package-lock.json").read_text()
    assert "://" not in text and "resolved" not in text
    packages = json.loads(text)["packages"]
    assert all("integrity" in package for name, package in packages.items() if name)
    wanted = json.loads((build.SOURCE / "package.json").read_text())
    versions = wanted["dependencies"] | wanted["devDependencies"]
    for name, version in versions.items():
        assert packages[f"node_modules/{name}"]["version"] == version


def test_the_page_names_no_foreign_host_and_all_licences():
    for name in ("index.html", "app.js", "worker.js", "style.css"):
        text = (site.BUILT / name).read_text()
        hosts = set(re.findall(r"https?://([\w.-]+)", text)) - {"www.w3.org", "localhost"}
        assert not hosts, (name, hosts)
    licences = (site.BUILT / "licenses.txt").read_text()
    versions = json.loads((build.SOURCE / "package.json").read_text())["dependencies"]
    for name, version in versions.items():
        assert f"{name} {version}" in licences
    for part in ("Apache-2.0", "BSD-3-Clause", "BSD-2-Clause", "MIT", "MPL-2.0", "XNNPACK"):
        assert part in licences


def test_a_build_gives_the_committed_files(tmp_path):
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("no node and npm on this machine")
    ping = ["npm", "view", "esbuild@0.28.2", "version", "--fetch-retries=0"]
    if subprocess.run(ping, capture_output=True, timeout=120).returncode:
        pytest.skip("the npm registry cannot be reached")
    build.build(tmp_path / "built")
    for name in (*site.BUILT_FILES, build.RECORD):
        ours, fresh = ((folder / name).read_bytes() for folder in (site.BUILT, tmp_path / "built"))
        if name.endswith(".gz"):  # versions of zlib pack differently
            ours, fresh = gzip.decompress(ours), gzip.decompress(fresh)
        assert hashlib.sha256(ours).digest() == hashlib.sha256(fresh).digest(), name
