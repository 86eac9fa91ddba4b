"""A run's network as a LiteRT file: it says what Keras says, and a stale one is never used."""

import os

import exported
import keras
import numpy as np
import pytest

import ssv_tf
from ssv_tf import config, predict
from ssv_tf.base import files
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.export import quick
from ssv_tf.models import inference
from ssv_tf.models.student import StudentNetwork
from ssv_tf.training import run_folder

pytestmark = pytest.mark.slow

KEEP = quick.keep  # the real one: others in tests keep nothing


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of the smallest V, and the content of its file."""
    folder = tmp_path_factory.mktemp("run")
    options = config.Options.of(data="/no/such/folder", resolution=exported.SIZE)
    files.write_atomically(folder / "options.json", options.to_json())
    keras.utils.set_random_seed(1)
    run_folder.save_model(folder / "models", exported.analysis(), "analysis.keras")
    Calibration((-1.0, 1.2, 0.9), (150.0, 3.0, -2.0)).save(folder / "calibration.json")
    return folder, quick.made(run_folder.load(folder))


@pytest.fixture
def run(made, monkeypatch, tmp_path):
    """The run without a file, and a cache directory of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(quick, "made", lambda run: made[1])
    (made[0] / "models" / quick.FILE_NAME).unlink(missing_ok=True)
    return run_folder.load(made[0])


def test_a_kept_network_says_what_keras_says(run, monkeypatch):
    assert quick.find(run) is None
    path = KEEP(run)
    assert path == run.path / "models" / "analysis.tflite"
    pictures = exported.pictures(19)  # a batch and three more
    squares = np.stack([run.options.framing.fit(picture) for picture in pictures])
    own = inference.predict(run.analysis(), squares)
    by_keras = inference.decode(own, run.calibration())
    network = quick.find(run)
    assert network.encoding == own.encoding
    monkeypatch.setattr(run_folder.Run, "analysis", lambda run: pytest.fail("Keras was loaded"))
    views = ssv_tf.load(run.path).predict(pictures)
    np.testing.assert_allclose(views.angles_deg, by_keras.degrees, atol=2e-3)


def test_a_file_of_another_network_or_a_damaged_one_is_not_used(run):
    path = KEEP(run)
    whole = path.read_bytes()
    for content in (b"", whole[:-9], whole[:1000], whole[:1000] + whole[1500:]):
        path.write_bytes(content)
        assert quick.find(run) is None
    path.write_bytes(whole)
    assert quick.find(run) is not None
    network = run.models_dir / "analysis.keras"
    before = network.read_bytes()
    try:
        network.write_bytes(before + b"\0")  # as when training went on
        assert quick.find(run) is None
    finally:
        network.write_bytes(before)


def test_a_folder_that_cannot_be_written_leaves_the_users_cache(run, monkeypatch, tmp_path):
    write = files.write_atomically
    in_run = str(run.path)

    def only_elsewhere(path, content):
        if os.fspath(path).startswith(in_run):
            raise ssv_tf.UserError("read-only")
        return write(path, content)

    monkeypatch.setattr(files, "write_atomically", only_elsewhere)
    path = KEEP(run)
    assert path.parent == tmp_path / "cache" / "ssv_tf"
    assert quick.find(run) is not None
    monkeypatch.setattr(
        files, "write_atomically", lambda *_: in_run and only_elsewhere(in_run, b"")
    )
    assert KEEP(run) is None


def test_what_is_not_the_network_is_not_kept(run):
    KEEP(run)
    network = quick.find(run)
    assert quick._is_exact(run.analysis(), network)
    keras.utils.set_random_seed(2)
    assert not quick._is_exact(exported.analysis(), network)


def test_the_command_keeps_a_network_on_first_use(run, monkeypatch, tmp_path, capsys):
    from in_process import run_command
    from PIL import Image

    Image.fromarray(exported.pictures(1)[0]).save(tmp_path / "a.png")
    monkeypatch.setattr(quick, "keep", KEEP)
    tables = []
    for _ in range(2):
        assert run_command(predict, f"--run={run.path}", tmp_path / "a.png") == 0
        tables.append(capsys.readouterr().out)
        assert quick.find(run) is not None
        monkeypatch.setattr(quick, "keep", lambda run: pytest.fail("it is there already"))
    assert tables[0] == tables[1]


@pytest.mark.slow  # 10 to 14 s on a loaded machine
@pytest.mark.parametrize("preset", ["cars_phone", "cars_photos"])
def test_the_students_that_come_along_bring_their_file(preset, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    run = run_folder.load(preset=preset)
    network = quick.find(run)
    own = run.analysis()
    assert isinstance(own, StudentNetwork) and network.encoding == own.encoding
    pictures = exported.pictures(2).repeat(2, axis=1).repeat(2, axis=2)
    raw = [f(pictures) for f in (lambda p: inference.predict(own, p), network.predict)]
    views = [inference.decode(one, run.calibration()) for one in raw]
    np.testing.assert_allclose(views[0].degrees, views[1].degrees, atol=0.01)
    np.testing.assert_allclose(views[0].confidence, views[1].confidence, atol=1e-4)
