"""Nothing is lost: killed processes, damaged and foreign checkpoints, full and read-only disks."""

import importlib
import json
import os
import pickle
import subprocess
import sys

import forked
import in_process
import numpy as np
import pytest
import toy
from PIL import Image
from places import HELPERS, ROOT

from ssv_tf.base import files
from ssv_tf.base.errors import TrainingDiverged, UserError
from ssv_tf.config import SETTINGS
from ssv_tf.training import checkpoints, engines, loop, run_folder, step

train = importlib.import_module("ssv_tf.train")  # `ssv_tf.train` itself is the function


@pytest.fixture
def toys():
    undo = toy.install(loop, engines, run_folder)
    yield
    undo()


def options_in(folder, **changes):
    return toy.OPTIONS.replace(run_dir=str(folder), **changes)


def end_of(folder, number=toy.OPTIONS.run.steps):
    with np.load(folder / "checkpoints" / f"step-{number}.npz", allow_pickle=False) as archive:
        return {name: archive[name].tobytes() for name in archive.files}


def python(*words, **environment):
    paths = os.pathsep.join([str(HELPERS), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *map(str, words)],
        env=os.environ | {"PYTHONPATH": paths} | environment,
        capture_output=True, text=True, timeout=800,
    )  # fmt: skip


# --- Killed processes ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_before_any_of_its_file_operations_goes_on_to_the_same_end(tmp_path):
    done = forked.run("crash_points", tmp_path, timeout=800)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-2]) > 50


def pictures_folder(folder):
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(16):
        pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def labels_of_pictures(folder):
    rows = "\n".join(f"{number}.png,{number},0,0" for number in range(16))
    path = folder / "labels.csv"
    path.write_text(f"filename,azimuth_deg,elevation_deg,tilt_deg\n{rows}\n")
    return path


# Losses that are left out make an uncompiled step cheaper; both networks still train.
FEWER_LOSSES = ["--image_weight=0", "--nomirror_data"]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("trained, kills, steps", [("both", 8, 5), ("analysis", 17, 10)])
def test_25_kills_at_random_moments_lose_nothing(tmp_path, trained, kills, steps):
    """Most of them of V alone, whose steps take a third of the time and are saved the same way."""
    words = [f"--flagfile={ROOT}/configs/chaos.flags", f"--data={pictures_folder(tmp_path / 'in')}"]
    words += [f"--run_dir={tmp_path / 'chaos'}", f"--kills={kills}", f"--steps={steps}", "--eager"]
    if trained == "both":
        words += FEWER_LOSSES
    else:
        words += ["--supervised", f"--labels={labels_of_pictures(tmp_path)}", "--prior_rate=0"]
    done = forked.run("quickly", "tools.chaos", *words, timeout=800)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    result = json.loads((tmp_path / "chaos" / "chaos.json").read_text())
    assert result["kills"] == kills and result["steps_died_at"] >= kills // 4 + 1
    assert result["arrays"] > 100


@pytest.fixture(scope="module")
def jax_environment(tmp_path_factory):
    """Compiles in little time and keeps it."""
    pytest.importorskip("jax")
    return {
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path_factory.mktemp("jax")),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_of_the_jax_engine_lose_nothing(tmp_path, jax_environment):
    words = [f"--flagfile={ROOT}/configs/chaos.flags", f"--data={pictures_folder(tmp_path / 'in')}"]
    words += [f"--run_dir={tmp_path / 'chaos'}", "--kills=2", "--steps=4", *FEWER_LOSSES]
    done = python("-m", "quickly", "tools.chaos", *words, **jax_environment)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert json.loads((tmp_path / "chaos" / "chaos.json").read_text())["kills"] == 2


def test_two_processes_do_not_train_in_one_folder(tmp_path, toys):
    with (
        files.held(tmp_path / "run"),
        pytest.raises(UserError, match=r"another process trains in .*run"),
    ):
        loop.train(options_in(tmp_path / "run"), quiet=True)
    assert loop.train(options_in(tmp_path / "run"), quiet=True) == 0


# --- Checkpoints that are damaged, foreign, older or later ------------------------------------


def saved_by(folder, settings=None, shapes=None):
    folder.mkdir(exist_ok=True)
    trainer = toy.trainer_of(shapes or {"a": (3,), "b": (2, 2)})
    return checkpoints.Checkpoints(folder, trainer, 5, settings)


def test_a_checkpoint_cut_off_anywhere_falls_back_to_the_one_before(tmp_path):
    saved = saved_by(tmp_path)
    saved.save(1)
    saved.save(2)
    newest = tmp_path / "step-2.npz"
    whole = newest.read_bytes()
    for length in [*range(0, len(whole), 61), len(whole) - 1]:
        newest.write_bytes(whole[:length])
        assert saved_by(tmp_path).restore() == 1, length
        assert newest.with_name("step-2.npz.damaged").stat().st_size == length
    newest.write_bytes(whole)
    assert saved_by(tmp_path).restore() == 2


def test_a_changed_byte_of_a_weight_is_found(tmp_path):
    saved = saved_by(tmp_path)
    saved.save(1)
    saved.save(2)
    newest = tmp_path / "step-2.npz"
    content = bytearray(newest.read_bytes())
    content[content.index(np.ones(3, np.float32).tobytes()) + 1] ^= 1
    newest.write_bytes(content)
    assert saved_by(tmp_path).restore() == 1


@pytest.mark.parametrize("content", [b"", b"PK", pickle.dumps({"a": 1}), b"\x93NUMPY", b"\0" * 500])
def test_what_is_no_checkpoint_at_all_is_named(tmp_path, content):
    (tmp_path / "step-3.npz").write_bytes(content)
    with pytest.raises(UserError, match=r"no checkpoint in .* can be restored; step-3\.npz: "):
        saved_by(tmp_path).restore()
    assert (tmp_path / "step-3.npz").read_bytes() == content


@pytest.mark.parametrize(
    "shapes, said",
    [
        ({"a": (3,), "b": (2, 3)}, r"b has shape \(2, 2\), b \(2, 3\)"),
        ({"a": (3,)}, "b is unknown"),
        ({"a": (3,), "b": (2, 2), "c": (1,)}, "c is not there"),
    ],
)
def test_a_checkpoint_of_other_networks_is_refused_and_kept(tmp_path, shapes, said):
    saved_by(tmp_path).save(3)
    with pytest.raises(UserError, match=rf"step-3\.npz is not of these networks: {said}; move"):
        saved_by(tmp_path, shapes=shapes).restore()
    assert [path.name for path in tmp_path.iterdir()] == ["step-3.npz"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    saved_by(tmp_path, {"seed": 1, "gone": 2}).save(3)
    with pytest.raises(UserError, match=r"belongs to another run \(`seed` was 1\); move it away"):
        saved_by(tmp_path, {"seed": 0}).restore()
    assert saved_by(tmp_path, {"seed": 1, "newer": 5}).restore() == 3


def rewritten(path, **changes):
    with np.load(path, allow_pickle=False) as archive:
        values = {name: archive[name] for name in archive.files} | changes
    np.savez(path, **{name: value for name, value in values.items() if value is not None})


def test_a_checkpoint_of_a_later_version_is_refused_and_one_of_the_first_format_read(tmp_path):
    saved_by(tmp_path, {"seed": 1}).save(3)
    rewritten(tmp_path / "step-3.npz", format=np.int64(99))
    with pytest.raises(UserError, match="was saved by a later version"):
        saved_by(tmp_path, {"seed": 1}).restore()
    rewritten(tmp_path / "step-3.npz", format=None, settings=None)
    assert saved_by(tmp_path, {"seed": 1}).restore() == 3


def test_going_back_to_an_older_checkpoint_repeats_what_followed(tmp_path, toys, monkeypatch):
    monkeypatch.setattr(loop, "_CHECKPOINTS_KEPT", 3)
    folder = tmp_path / "run"
    assert loop.train(options_in(folder), quiet=True) == 0
    wanted, log = end_of(folder), (folder / "metrics.jsonl").read_text()
    (folder / "checkpoints" / "step-4.npz").unlink()
    assert loop.train(options_in(folder), quiet=True) == 0
    assert end_of(folder) == wanted
    again = (folder / "metrics.jsonl").read_text()
    assert [json.loads(x)["step"] for x in again.splitlines()] == [1, 2, 3, 4]
    assert [json.loads(x)["loss"] for x in again.splitlines()] == [
        json.loads(x)["loss"] for x in log.splitlines()
    ]


def test_a_changed_flag_is_refused_by_name_and_harms_nothing(tmp_path, toys, capsys):
    folder = tmp_path / "run"
    assert loop.train(options_in(folder), quiet=True) == 0
    wanted = end_of(folder)
    words = [f"--run_dir={folder}", "--supervised", "--data=pictures", "--batch_size=8"]
    code = in_process.run_command(
        train, *words, "--seed=7", "--log_interval=1", "--checkpoint_interval=3"
    )
    assert code == 2 and "--seed was 0" in capsys.readouterr().err
    assert end_of(folder) == wanted


# --- Disks -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 300 kB that can be remounted; skips where that is not permitted."""
    place = tmp_path / "disk"
    place.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=300k", "tmpfs", place):
        pytest.skip("mounting a tmpfs is not permitted here")
    yield place
    subprocess.run(["umount", "-l", place], check=False)


def mount(*words):
    try:
        return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def ended(options, capsys):
    """Exit code and error line of the command for a run of the toy."""
    words = [
        f"--{name}={value}"
        for name, value in options.flat().items()
        if value != SETTINGS[name].rule.default
    ]
    capsys.readouterr()
    code = in_process.run_command(train, *words, "--quiet")
    return code, capsys.readouterr().err.strip().splitlines()


@pytest.mark.parametrize("room_kb", [0, 8, 60, 120, 200, 280])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(
    tmp_path, small_disk, capsys, room_kb
):
    undo = toy.install(loop, engines, run_folder, count=20_000)  # a checkpoint or model of 80 kB
    try:
        assert loop.train(options_in(tmp_path / "whole"), quiet=True) == 0
        filler = small_disk / "filler"
        filler.write_bytes(bytes(1024 * (300 - room_kb)))
        code, lines = ended(options_in(small_disk / "run"), capsys)
        assert code == 1 and "No space left on device" in lines[-1]
        assert lines[-1].startswith("error: ") and len(lines) == 1, lines
        assert not list((small_disk / "run" / "checkpoints").glob(".*"))
        filler.unlink()
        assert mount("-o", "remount,size=4m", small_disk)
        assert ended(options_in(small_disk / "run"), capsys) == (0, [])
        assert end_of(small_disk / "run") == end_of(tmp_path / "whole")
    finally:
        undo()


def test_a_read_only_run_folder_is_one_line_and_stays_as_it_was(small_disk, toys, capsys):
    folder = small_disk / "run"
    assert ended(options_in(folder, steps=2), capsys) == (0, [])
    assert mount("-o", "remount,ro", small_disk)
    before = end_of(folder, 2)
    for place, what in ((folder, "cannot write"), (small_disk / "new", "cannot make")):
        code, lines = ended(options_in(place), capsys)
        assert code == 1 and len(lines) == 1, lines
        assert what in lines[0] and "Read-only file system" in lines[0]
    assert end_of(folder, 2) == before
    assert mount("-o", "remount,rw", small_disk)
    assert ended(options_in(folder), capsys) == (0, [])


def test_a_folder_that_cannot_be_made_is_one_line(toys, capsys):
    code, lines = ended(
        options_in("/proc/run"), capsys
    )  # nobody makes folders there, nor does root
    assert code == 1 and len(lines) == 1 and "cannot make /proc/run" in lines[0]


# --- Not a number ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_gradient_that_is_not_a_number_leaves_the_last_good_checkpoint(
    tmp_path, monkeypatch, capsys, eager
):
    folder = tmp_path / "run"
    words = [f"--flagfile={ROOT}/configs/chaos.flags", f"--run_dir={folder}", "--quiet"]
    words += [f"--data={pictures_folder(tmp_path / 'in')}", "--supervised", "--nodeterministic"]
    words += [f"--labels={labels_of_pictures(tmp_path)}", "--prior_rate=0"]
    assert in_process.run_command(train, *words, "--steps=2") == 0
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.suffix in (".npz", ".keras")}
    gradients = step._gradients

    def poisoned(*args):
        first, *rest = gradients(*args)
        return [first * np.float32("nan"), *rest]

    monkeypatch.setattr(step, "_gradients", poisoned)
    capsys.readouterr()
    assert in_process.run_command(train, *words, "--steps=4") == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        said.startswith("error: step 3: v_gradient not a number; ") and "step-2.npz remains" in said
    )
    assert {p: p.read_bytes() for p in before} == before
    assert not list(folder.rglob("step-3*"))
    monkeypatch.undo()
    assert in_process.run_command(train, *words, "--steps=4") == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_gradient_that_is_not_a_number_in_jax(tmp_path, jax_environment):
    code = """
import sys
from ssv_tf.training import jax_step
real = jax_step.Trainer.analysis_gradients
def poisoned(*args):
    gradients, *rest = real(*args)
    return [gradients[0] * float("nan"), *gradients[1:]], *rest
jax_step.Trainer.analysis_gradients = poisoned
from ssv_tf.train import run
sys.argv[0] = "train"
run()
"""
    words = [f"--flagfile={ROOT}/configs/chaos.flags", f"--data={pictures_folder(tmp_path / 'in')}"]
    words += [f"--run_dir={tmp_path / 'run'}", "--steps=4", "--quiet", *FEWER_LOSSES]
    done = python("-c", code, *words, **jax_environment)
    assert done.returncode == 1, done.stderr[-2000:]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: step 1: ") and "v_gradient" in last
    assert "not a number; no checkpoint was saved yet" in last
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_a_weight_that_is_not_a_number_is_written_nowhere(tmp_path):
    saved = saved_by(tmp_path)
    saved.save(1)
    before = (tmp_path / "step-1.npz").read_bytes()
    poisoned = np.array([1, np.nan, 2], np.float32)
    saved.trainer.state()["a"].numpy = lambda: poisoned
    with pytest.raises(
        TrainingDiverged, match=r"weight a \(a\) not a number; .*step-1.npz remains"
    ):
        saved.save(2)
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [before]
