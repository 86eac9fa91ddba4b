"""A packed run works as the run did, tells nothing private; its card tells the score."""

import json

import keras
import numpy as np
import pytest
from in_process import run_command

from ssv_tf import bundle, config
from ssv_tf.evaluation import cards, metrics
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.export import quick
from ssv_tf.models import inference
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork
from ssv_tf.training import run_folder

SECRET = "/home/somebody/secret"
OPTIONS = config.Options.of(
    data=SECRET, run_dir=SECRET, score_data=SECRET, score_labels=SECRET,
    labels=SECRET, where="kind==1",
    analysis_width=0.03, synthesis_width=0.03, crop="height",
)  # fmt: skip
WORDS = ("--data=Some pictures.", "--licence=Free.", "--limits=Only for tests.")


def _score(seed=0):
    rng = np.random.default_rng(seed)
    true = rng.uniform(-180, 180, (50, 3)) * [1, 0.05, 0.02]
    predicted = np.add(true, [[5.0, 1.0, 0.0]])
    predicted[:10, 0] += 180.0
    predicted[:, 2] = 3.0
    score = {"data": SECRET + "/cars", "calibrated_on": 30, "run": "somebody's"}
    return score | metrics.score(predicted, true, true, resamples=20)


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "run"
    keras.utils.set_random_seed(3)
    analysis = AnalysisNetwork(resolution=32, width=0.03, style_size=8)
    synthesis = SynthesisNetwork(resolution=32, width=0.03, mapping_layers=1, volume_size=8)
    analysis.build()
    synthesis.build()
    run_folder.save_models(folder / "models" / "best", analysis, synthesis)
    (folder / "models" / "best" / "health.json").write_text('{"health": 0.75}')
    (folder / "checkpoints").mkdir()
    (folder / "options.json").write_text(OPTIONS.to_json())
    Calibration((1.0, 2.0, 3.0), (180.0, 0.0, 0.0), pictures=30).save(folder / "calibration.json")
    (tmp_path / "score.json").write_text(json.dumps(_score()))
    return folder


def _pack(run, *words, out="cars"):
    place = run.parent / out
    score = run.parent / "score.json"
    code = run_command(bundle, f"--run={run}", f"--score={score}", f"--out={place}", *words)
    return code, place


def test_a_packed_run_predicts_as_the_run_does(run):
    code, packed = _pack(run, *WORDS)
    assert code == 0
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    own, copy = (inference.predict(run_folder.load(p).analysis(), pictures) for p in (run, packed))
    np.testing.assert_array_equal(own.magnitude_logits, copy.magnitude_logits)
    np.testing.assert_array_equal(own.quadrant_logits, copy.quadrant_logits)
    assert run_folder.load(packed).calibration() == run_folder.load(run).calibration()
    assert (
        run_folder.load(packed).synthesis().count_params()
        == run_folder.load(run).synthesis().count_params()
    )


def test_its_network_is_kept_for_litert_too(run, monkeypatch):
    kept = []
    monkeypatch.setattr(quick, "keep", lambda packed: kept.append(packed.path))
    code, packed = _pack(run, *WORDS)
    assert code == 0 and kept == [packed]


def test_a_score_of_another_run_is_refused(run, capsys):
    score = run.parent / "score.json"
    score.write_text(json.dumps(_score() | {"networks": "0123456789abcdef"}))
    code, packed = _pack(run, *WORDS)
    assert code == 1 and not packed.exists()
    assert "error: --score is of other networks than those of" in capsys.readouterr().err
    score.write_text(json.dumps(_score() | {"networks": run_folder.load(run).networks}))
    assert _pack(run, *WORDS)[0] == 0


def test_it_holds_no_checkpoint_and_nothing_private(run):
    _, packed = _pack(run, *WORDS)
    assert sorted(str(p.relative_to(packed)) for p in packed.rglob("*") if p.is_file()) == [
        "README.md", "calibration.json", "models/analysis.keras", "models/health.json",
        "models/synthesis.keras", "options.json", "score.json",
    ]  # fmt: skip
    for path in packed.rglob("*"):
        if path.is_file():
            assert b"somebody" not in path.read_bytes(), path
    options = run_folder.load(packed).options
    assert options.pictures.data == "photos" and not options.run.run_dir.startswith("/")
    kept = set(config.SETTINGS) - {*bundle._PRIVATE, "data"}
    assert all(options.flat()[name] == OPTIONS.flat()[name] for name in kept)


def test_the_card_tells_score_data_licence_and_limits(run):
    _, packed = _pack(run, *WORDS)
    card, score = (packed / "README.md").read_text(), _score()
    assert card.startswith("# Model card: cars\n")
    for text in ("Some pictures. No label was read", "Free.", "Only for tests.", "Health 0.75"):
        assert text in card
    own, constant = (
        a["median_error_deg"] for a in (score["azimuth"], score["azimuth"]["baseline"])
    )
    assert f"| azimuth, median error | {own:.1f} deg | {constant:.1f} deg |" in card
    assert "20% of the azimuths are more than 30 degrees off; commonest: half a circle" in card
    assert "Tilt is hardly better than a constant answer." in card
    assert "Elevation is hardly" not in card


@pytest.mark.parametrize(
    ("start", "kept", "said"),
    [
        ("cars", "cars", "V and S began as those of the preset cars. No label"),
        ("/home/somebody/runs/first", "", "V and S began as those of another run. No label"),
    ],
)
def test_the_run_it_started_from_is_told_and_no_folder_is(start, kept, said):
    options = OPTIONS.replace(init_from=start)
    assert bundle.public_options(options).run.init_from == kept
    assert said in cards.training_data(options, "Some pictures.")


def test_a_supervised_ceiling_is_called_so(run):
    card = cards.markdown("x", OPTIONS.replace(supervised=True), _score(), {}, "Some.", "Free.")
    assert config.SUPERVISED in card and "No label was read" not in card


def test_an_existing_folder_is_kept_without_overwrite_and_a_foreign_one_always(run, capsys):
    _pack(run, *WORDS)
    assert _pack(run, *WORDS)[0] == 2
    assert "exists; give --overwrite" in capsys.readouterr().err
    assert _pack(run, "--overwrite", *WORDS)[0] == 0
    foreign = run.parent / "mine"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    assert _pack(run, "--overwrite", *WORDS, out="mine")[0] == 2
    assert (foreign / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("name", ["run", "score", "out", "data", "licence"])
def test_what_is_not_given_is_named(run, name, capsys):
    words = {"run": run, "score": run.parent / "score.json", "out": run.parent / "cars",
             "data": "Some.", "licence": "Free."}  # fmt: skip
    given = [f"--{key}={value}" for key, value in words.items() if key != name]
    assert run_command(bundle, *given) == 2
    assert f"--{name} is missing" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"azimuth": 3}'])
def test_a_foreign_score_is_refused_and_nothing_is_written(run, text, capsys):
    (run.parent / "score.json").write_text(text)
    code, packed = _pack(run, *WORDS)
    assert code == 1 and not packed.exists()
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_run_without_calibration_is_refused(run, capsys):
    (run / "calibration.json").unlink()
    code, packed = _pack(run, *WORDS)
    assert code == 1 and not packed.exists()
    assert "ssv_tf.calibrate" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_line(run, capsys):
    (run.parent / "file").write_text("in the way")
    assert _pack(run, *WORDS, out="file/cars")[0] == 1
    assert "cannot write" in capsys.readouterr().err
