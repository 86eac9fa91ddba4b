"""--init_from: training starts from another run's networks, and from nothing that labels taught."""

import shutil

import numpy as np
import pytest
import tiny as sizes
from places import ROOT

from ssv_tf import config
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import collection, sources
from ssv_tf.training import engines, loop, networks, run_folder, start

TINY = config.Options.of(steps=2, **sizes.NETWORKS, evaluation_interval=9)


@pytest.fixture(scope="module", autouse=True)
def without_dropout():
    """Whose seeds are variables too, but no weights."""
    with pytest.MonkeyPatch.context() as patched:
        sizes.without_chance(patched)
        sizes.with_short_looks(patched)
        yield


@pytest.fixture(autouse=True)
def small_collections(monkeypatch):
    """Random pictures in place of rendered ones."""

    def load_collection(spec, *, resolution, split="train", **_):
        rng = np.random.default_rng(len(split))
        images = rng.integers(0, 256, (160, resolution, resolution, 3), dtype=np.uint8)
        angles = rng.uniform(-30, 30, (160, 3)).astype(np.float32)
        return collection.PictureSet([f"{i}.png" for i in range(160)], images, angles)

    monkeypatch.setattr(sources, "load_collection", load_collection)


@pytest.fixture(scope="module")
def written_run(tmp_path_factory):
    """A run of drawn networks, never trained."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    folder.mkdir()
    trainer = engines.make_trainer(TINY.replace(seed=7))
    (folder / "options.json").write_text(TINY.to_json())
    run_folder.save_models(folder / "models", trainer.analysis, trainer.synthesis)
    return folder


def _weights(run):
    return [np.asarray(w) for m in (run.analysis(), run.synthesis()) for w in m.get_weights()]


def test_networks_and_averages_are_the_other_runs(written_run):
    trainer = engines.make_trainer(TINY)
    before = {name: v.numpy().copy() for name, v in trainer.state().items()}
    start.take_over(trainer, str(written_run))
    given = _weights(run_folder.load(written_run))
    state = {name: v.numpy() for name, v in trainer.state().items()}
    for suffix in ("", "_average"):
        own = [
            v
            for k, v in state.items()
            if k.startswith((f"analysis{suffix}/", f"synthesis{suffix}/"))
        ]
        assert all(np.array_equal(a, b) for a, b in zip(own, given, strict=True))
    rest = [k for k in state if k.startswith(("optimizer", "prior"))]
    assert rest and all(np.array_equal(before[k], state[k]) for k in rest)


@pytest.mark.slow
def test_training_starts_there_and_a_resumed_run_neither_goes_back_nor_needs_its_start(
    written_run, tmp_path, capsys, eager
):
    first = shutil.copytree(written_run, tmp_path / "first")
    frozen = {"analysis_rate": 1e-8, "synthesis_rate": 1e-8, "steps": 1}
    options = TINY.replace(init_from=str(first), run_dir=str(tmp_path / "second"), **frozen)
    assert loop.train(options, quiet=True) == 0
    assert "starting from the networks of" in capsys.readouterr().out
    for own, given in zip(
        _weights(run_folder.load(tmp_path / "second")),
        _weights(run_folder.load(written_run)),
        strict=True,
    ):
        np.testing.assert_allclose(own, given, atol=1e-5)
    shutil.rmtree(first)
    assert loop.train(options.replace(steps=2), quiet=True) == 0
    said = capsys.readouterr().out
    assert "resumed at step 1" in said and "starting from" not in said


def test_a_preset_by_name():
    assert run_folder.find("cars").preset == "cars"
    with pytest.raises(
        UserError, match=r"nothing here is neither a run folder nor a preset; .*cars"
    ):
        run_folder.find("nothing here")


def test_a_folder_of_pictures_that_has_the_presets_name_is_no_run(
    tmp_path, monkeypatch, written_run
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cars").mkdir()
    assert run_folder.find("cars").preset == "cars"
    shutil.copytree(written_run, tmp_path / "cars", dirs_exist_ok=True)
    assert run_folder.find("cars").preset is None


def test_the_recipe_of_photos_fits_the_preset_it_starts_from():
    options = config.from_flag_file(ROOT / "configs" / "cars_photos.flags")
    given = run_folder.find(options.run.init_from)
    own, its = networks.build_networks(options), (given.analysis(), given.synthesis())
    for network, other in zip(own, its, strict=True):
        assert [w.shape for w in network.weights] == [w.shape for w in other.weights]
    assert own[1].camera_distance == its[1].camera_distance
    for same in ("volume_width", "volume_height"):
        assert getattr(options.synthesis, same) == getattr(given.options.synthesis, same)


def test_other_shapes_are_named(written_run):
    trainer = engines.make_trainer(TINY.replace(analysis_width=0.06))
    with pytest.raises(
        UserError, match=r"analysis network has other shapes \(width 0.03 there, 0.06"
    ):
        start.take_over(trainer, str(written_run))


@pytest.mark.parametrize("itself", [False, True])
def test_a_start_that_cannot_be_costs_nobody_an_old_run(written_run, tmp_path, itself):
    old = shutil.copytree(written_run, tmp_path / "old")
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    options = TINY.replace(
        run_dir=str(old),
        init_from=str(old) if itself else "cars",  # its networks are wider
    )
    message = "is `run_dir` itself" if itself else "has other shapes"
    with pytest.raises(UserError, match=message):
        loop.train(options, overwrite=True, quiet=True)
    assert before == {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}


def test_a_start_that_cannot_be_leaves_no_folder(tmp_path):
    options = TINY.replace(run_dir=str(tmp_path / "new"), init_from="cars")
    with pytest.raises(UserError, match="has other shapes"):
        loop.train(options, quiet=True)
    assert not (tmp_path / "new").exists()


def test_labels_never_get_in(written_run, tmp_path):
    supervised = tmp_path / "taught"
    supervised.mkdir()
    taught = TINY.replace(supervised=True, labels="x.csv", data="photos")
    (supervised / "options.json").write_text(taught.to_json())
    trainer = engines.make_trainer(TINY)
    with pytest.raises(UserError, match="was trained from labels"):
        start.take_over(trainer, str(supervised))
    with pytest.raises(SettingError, match=r"do not go together; begin anew with `init_from=`$"):
        TINY.replace(init_from=str(written_run), supervised=True)
