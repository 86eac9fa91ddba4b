"""A run folder that is missing, foreign or damaged is one line to the user; a good one loads."""

import json
import warnings

import keras
import numpy as np
import pytest

from ssv_tf import config
from ssv_tf.base.errors import SettingError, UserError, ViewpointWarning
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import run_folder

OPTIONS = config.Options.of(analysis_width=0.03, synthesis_width=0.03, seed=9)


def _networks(seed=0):
    keras.utils.set_random_seed(seed)
    analysis = AnalysisNetwork(resolution=32, width=0.03, style_size=8)
    synthesis = SynthesisNetwork(
        resolution=32, width=0.03, code_size=4, mapping_layers=1, volume_size=8
    )
    analysis.build()
    synthesis.build()
    return analysis, synthesis


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "options.json").write_text(OPTIONS.to_json())
    return tmp_path


def _refused(function, *named):
    with pytest.raises(UserError) as caught:
        function()
    message = str(caught.value)
    assert "\n" not in message
    for word in named:
        assert str(word) in message
    return caught.value


def _same_weights(first, second):
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


# --- What is no run --------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"path": "a", "preset": "b"}, {"path": ""}])
def test_a_run_is_a_folder_or_a_preset(given):
    error = _refused(lambda: run_folder.load(**given), "`run=FOLDER`", "`preset=NAME`")
    assert isinstance(error, SettingError)


def test_a_missing_folder_is_named(tmp_path):
    _refused(lambda: run_folder.load(tmp_path / "nowhere"), tmp_path / "nowhere")


def test_a_file_is_no_run(tmp_path):
    (tmp_path / "file").write_text("")
    _refused(lambda: run_folder.load(tmp_path / "file"), tmp_path / "file")


def test_a_foreign_folder_is_no_run(tmp_path):
    _refused(lambda: run_folder.load(tmp_path), tmp_path, "options.json")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[1]", b'{"steps": -1}', b'{"hue": 1}', b"\xff\xfe\x00"]
)
def test_damaged_options_are_named(tmp_path, text):
    (tmp_path / "options.json").write_bytes(text)
    _refused(lambda: run_folder.load(tmp_path), tmp_path / "options.json")


@pytest.mark.parametrize("name", ["unheard_of", "../runs", "."])
def test_an_unknown_preset_is_named(name):
    error = _refused(lambda: run_folder.load(preset=name), f"`preset={name}`")
    assert isinstance(error, SettingError)


# --- What a run holds ------------------------------------------------------------------------


def test_a_run_has_its_options(folder):
    run = run_folder.load(folder)
    assert run.options == OPTIONS and run.path == folder and run.preset is None
    assert run_folder.load(str(folder)).options == OPTIONS


@pytest.mark.parametrize("kind", ["analysis", "synthesis"])
def test_models_not_yet_saved_are_missing(folder, kind):
    _refused(getattr(run_folder.load(folder), kind), f"{kind}.keras", "missing")


@pytest.mark.parametrize("kind", ["analysis", "synthesis"])
@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 half a zip"])
def test_damaged_models_are_named(folder, kind, content):
    (folder / "models").mkdir()
    (folder / "models" / f"{kind}.keras").write_bytes(content)
    _refused(getattr(run_folder.load(folder), kind), folder / "models" / f"{kind}.keras")


def test_a_cut_off_model_is_named(folder):
    run_folder.save_models(folder / "models", *_networks())
    path = folder / "models" / "analysis.keras"
    path.write_bytes(path.read_bytes()[:-2000])
    _refused(run_folder.load(folder).analysis, path)


def test_saved_models_are_loaded(folder):
    analysis, synthesis = _networks()
    run_folder.save_models(folder / "models", analysis, synthesis)
    run = run_folder.load(folder)
    assert _same_weights(run.analysis(), analysis) and _same_weights(run.synthesis(), synthesis)
    assert sorted(path.name for path in (folder / "models").iterdir()) == [
        "analysis.keras", "synthesis.keras",
    ]  # fmt: skip


def test_models_best_by_score_come_before_the_last(folder):
    last, best = _networks(1), _networks(2)
    run_folder.save_models(folder / "models", *last)
    run_folder.save_models(folder / "models" / "best", *best)
    assert _same_weights(run_folder.load(folder).analysis(), best[0])
    assert _same_weights(run_folder.load(folder).synthesis(), best[1])


def test_saving_again_replaces_the_models(folder):
    for seed in (1, 2):
        run_folder.save_models(folder / "models", *_networks(seed))
    assert _same_weights(run_folder.load(folder).analysis(), _networks(2)[0])


def test_models_cannot_be_saved_into_a_file(folder):
    (folder / "models").write_text("in the way")
    _refused(lambda: run_folder.save_models(folder / "models", *_networks()), folder / "models")


def test_a_save_that_fails_leaves_the_old_models_and_nothing_else(folder, monkeypatch):
    analysis, synthesis = _networks(1)
    run_folder.save_models(folder / "models", analysis, synthesis)

    def _full(_):
        raise OSError(28, "No space left on device")

    broken = _networks(2)[0]
    monkeypatch.setattr(broken, "save", _full)
    _refused(lambda: run_folder.save_models(folder / "models", broken, synthesis), "No space left")
    assert _same_weights(run_folder.load(folder).analysis(), analysis)
    assert len(list((folder / "models").iterdir())) == 2


# --- Calibration -----------------------------------------------------------------------------


def test_no_calibration_before_calibrate(folder):
    assert run_folder.load(folder).calibration() is None


def test_calibration_is_read(folder):
    calibration = Calibration((-1.0, 1.2, 0.9), (150.0, 3.0, -2.0))
    (folder / "calibration.json").write_text(calibration.to_json())
    got = run_folder.load(folder).calibration()
    assert got.scale == calibration.scale and got.offset_deg == calibration.offset_deg


@pytest.mark.parametrize("text", ["", "[]", "{}", json.dumps({"version": 99}), "\x00"])
def test_a_damaged_calibration_is_named(folder, text):
    (folder / "calibration.json").write_text(text)
    _refused(run_folder.load(folder).calibration, folder / "calibration.json")


# --- A calibration and its networks ----------------------------------------------------------


def test_a_calibration_of_other_networks_is_used_with_a_warning(folder):
    run_folder.save_models(folder / "models", *_networks(0))
    run = run_folder.load(folder)
    fitted = Calibration((1.0, 1.0, 1.0), (0.0, 5.0, 0.0), pictures=50, networks=run.networks)
    fitted.save(folder / "calibration.json")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run.calibration() == fitted
    run_folder.save_models(folder / "models", *_networks(1))
    with pytest.warns(ViewpointWarning, match="fitted to other networks"):
        assert run.calibration() == fitted


def test_a_calibration_of_earlier_versions_knows_no_networks_and_is_trusted(folder):
    run_folder.save_models(folder / "models", *_networks(0))
    Calibration((1.0, 1.0, 1.0), (0.0, 5.0, 0.0)).save(folder / "calibration.json")
    assert "networks" not in (folder / "calibration.json").read_text()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run_folder.load(folder).calibration().networks == ""
