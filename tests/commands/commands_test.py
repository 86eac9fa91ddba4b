"""The small commands on a tiny untrained run: what they write, and what a mistake costs."""

import dataclasses
import io
import json
import os
from pathlib import Path

import forked
import imageio_ffmpeg
import numpy as np
import pytest
import tiny
from in_process import run_command
from PIL import Image

from ssv_tf import config, demo, synthesize
from ssv_tf.api.model import ViewpointModel
from ssv_tf.base import files
from ssv_tf.base.errors import UserError
from ssv_tf.evaluation import animation
from ssv_tf.training import networks, run_folder, turntable

TINY = config.Options.of(**tiny.NETWORKS)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    files.write_atomically(folder / "options.json", TINY.to_json())
    run_folder.save_models(folder / "models", *networks.build_networks(TINY))
    return run_folder.load(folder)


@pytest.mark.slow
def test_synthesize_writes_every_picture_once(run, tmp_path, capsys):
    words = f"--run={run.path}", f"--out={tmp_path}"
    assert run_command(synthesize, *words, "--count=2", "--frames=6") == 0
    moving, *paths = map(Path, capsys.readouterr().out.splitlines())
    names = ["turntable.webp", "turntable.mp4", "turntable.png", "grid.png", "styles.png"]
    assert moving.name == "turntable.gif" and [p.name for p in paths] == names
    for path in (moving, paths[0]):
        with Image.open(path) as animated:
            assert animated.n_frames == 6 and animated.size == (2 * 128, 128)
    frames = imageio_ffmpeg.read_frames(paths.pop(1))
    assert next(frames)["size"] == (2 * 128, 128) and len(list(frames)) == 6
    assert Image.open(paths[1]).size == (12 * 32, 2 * 32)
    assert Image.open(paths[2]).size == (12 * 32, 5 * 32)
    assert Image.open(paths[3]).size == (2 * 32, 2 * 32)
    with pytest.raises(UserError, match=r"turntable\.gif exists"):
        synthesize.draw_all(ViewpointModel(run), tmp_path)


@pytest.mark.slow
def test_a_turntable_is_saved_as_its_suffix_says(run, tmp_path, monkeypatch):
    shown = ViewpointModel(run).turntable(1, 3)
    for suffix in ("GIF", "webp", "mp4", "png"):
        assert shown.save(tmp_path / f"t.{suffix}").stat().st_size > 100
    with pytest.raises(ValueError, match=r"must end in \.gif, \.webp, \.mp4 or \.png"):
        shown.save(tmp_path / "t.jpg")
    monkeypatch.setattr(animation, "writes_mp4", lambda: False)
    with pytest.raises(UserError, match="ssv-tf\\[video\\]"):
        shown.save(tmp_path / "t2.mp4")
    names = {p.name for p in synthesize.draw_all(ViewpointModel(run), tmp_path / "out", 1, 2)}
    assert names == {
        "turntable.gif", "turntable.webp", "turntable.png", "grid.png", "styles.png"
    }  # fmt: skip


@pytest.mark.slow
def test_a_limited_range_swings_back_instead_of_jumping(run):
    options = TINY.replace(azimuth_range_deg=60.0)
    narrow = ViewpointModel(dataclasses.replace(run, options=options))
    with Image.open(io.BytesIO(narrow.turntable(1, 5).gif())) as frames:
        assert frames.n_frames == 8
    angles = turntable.turntable_angles_rad(options.viewpoints, 5)
    np.testing.assert_allclose(np.degrees(angles[:, 0]), [-60, -30, 0, 30, 60], atol=1e-4)
    np.testing.assert_allclose(np.degrees(angles[:, 1]), 15, atol=1e-4)


def test_a_full_turntable_leaves_the_second_zero_out():
    angles = np.degrees(turntable.turntable_angles_rad(TINY.viewpoints, 4)[:, 0])
    np.testing.assert_allclose(angles, [0, 90, 180, 270], atol=1e-4)


def test_rows_of_a_style_grid_differ_by_the_object_and_columns_by_the_background(run):
    grid = np.asarray(ViewpointModel(run).style_grid(3))
    cells = grid.reshape(3, 32, 3, 32, 3).transpose(0, 2, 1, 3, 4)
    assert not np.array_equal(cells[0, 0], cells[0, 1])
    assert not np.array_equal(cells[0, 0], cells[1, 0])


def test_demo_runs_the_commands_a_user_would(tmp_path):
    words = demo.stages(tmp_path, tmp_path / "pictures", "configs/demo.flags", False)
    assert [w[0] for w in words] == [
        "train", "distill", "calibrate", "evaluate", "synthesize", "export", "predict",
    ]  # fmt: skip
    student = str(tmp_path / "student")
    assert f"--out={student}" in words[1]
    assert [w[0] for w in words if f"--run={student}" in w] == [
        "calibrate", "evaluate", "export", "predict",
    ]  # fmt: skip
    assert "--overwrite" not in words[0]  # training goes on where it stopped
    assert "--overwrite" in demo.stages(tmp_path, tmp_path, "f", True)[0]


def test_demo_table_shows_the_constant_beside_the_score(tmp_path):
    angle = {"median_error_deg": 12.3, "mean_error_deg": 4.5, "within_30": 0.75}
    constant = {"median_error_deg": 90.1, "mean_error_deg": 7.2, "within_30": 0.17}
    score = {name: {**angle, "baseline": constant} for name in ("azimuth", "elevation", "tilt")}
    (tmp_path / "score.json").write_text(json.dumps(score))
    table = demo.final_table(tmp_path, 1.0)
    assert "12.3 deg" in table and "90.1 deg" in table and "0.75" in table and "7.2 deg" in table
    (tmp_path / "score.json").write_text("{")
    with pytest.raises(UserError, match=r"score\.json cannot be read"):
        demo.final_table(tmp_path, 1.0)


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch):
    path = files.write_atomically(tmp_path / "a.txt", "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["train", "--steps=0"], 2, "--steps must be at least 1"),
        (["train", "--no_such_flag=1"], 2, "no_such_flag"),
        (["train", "--flagfile=absent.flags"], 2, "no such file: absent.flags"),
        (["train", "--flagfile=configs/demo.flags", "--steps=0"], 2, "--steps must be at least 1"),
        (["train", "surplus"], 2, "train takes flags only"),
        (["train", "--data=absent", "--run_dir=new"], 1, "absent"),
        (["synthesize", "--run=absent"], 1, "no such run folder"),
        (["synthesize"], 2, "give either --run=FOLDER or --preset=NAME"),
        (["synthesize", "--preset=nothing"], 2, "known presets"),
    ],
)
def test_a_mistake_costs_one_line_and_an_exit_code(words, code, said, tmp_path):
    done = forked.run(f"ssv_tf.{words[0]}", *words[1:], cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1
