"""The JAX engine gives the TensorFlow engine's losses and gradients, and trains without it."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tiny
from places import HELPERS, ROOT

from ssv_tf import config
from ssv_tf.models import inference
from ssv_tf.training import checkpoints, loop, run_folder, step

pytest.importorskip("jax")

OPTIONS = config.Options.of(**tiny.NETWORKS, prior_rate=0.0)
CASES = {
    "composite": {"prior_rate": 0.01},
    "paper": {"objective": "paper"},
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of a process with JAX and no TensorFlow, which compiles in little time and keeps it."""
    folder = tmp_path_factory.mktemp("jax")
    (folder / "tensorflow.py").write_text("raise ImportError('no TensorFlow here')")
    return os.environ | {
        "KERAS_BACKEND": "jax",
        "PYTHONPATH": os.pathsep.join([str(folder), str(HELPERS), str(ROOT)]),
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PLATFORMS": "cpu",
    }


def run(words, environment):
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


# --- The same numbers ------------------------------------------------------------------------

GRADIENTS = """
import sys
import jax, numpy as np, pytest, tiny
from ssv_tf import config
from ssv_tf.training import jax_step
tiny.without_chance(pytest.MonkeyPatch())

def gradients(folder):
    options = config.from_json(open(folder + "/options.json").read())
    given = dict(np.load(folder + "/given.npz"))
    part = lambda name: {k[len(name):]: v for k, v in given.items() if k.startswith(name)}
    trainer = jax_step.make_trainer(options)
    trainer.restore(part("state/"))
    values, fixed = trainer._values, trainer._fixed
    of_v, v_parts, _ = jax.jit(trainer.analysis_gradients, static_argnums=(4,))(
        values, fixed, given["real"], part("v_draw/"), True)
    of_s, s_parts = jax.jit(trainer.synthesis_gradients)(values, fixed, part("s_draw/"))
    leaves = {"v": of_v, "s": [*of_s[0], *of_s[1]]}
    arrays = {f"{n}/{i:03d}": g for n, gs in leaves.items() for i, g in enumerate(gs)}
    arrays |= {f"loss/{name}": value for name, value in (v_parts | s_parts).items()}
    np.savez(folder + "/jax.npz", **arrays)
    return trainer

def ramped(trainer):
    # The first half of a style is drawn as wide as --shape_ramp says, the second is left.
    size, shapes = trainer.synthesis.code_size, trainer.objective.analysis_draws(8)
    full = trainer._draws(shapes, np.uint32(3), 0)
    trainer.options = trainer.options.replace(shape_ramp=1.0, steps=4)
    half = trainer._draws(shapes, np.uint32(3), 0)
    wanted = np.concatenate([0.75 * full["style"][:, :size], full["style"][:, size:]], axis=1)
    np.testing.assert_allclose(half["style"], wanted, rtol=1e-6)
    np.testing.assert_array_equal(half["viewpoint"], full["viewpoint"])

for folder in sys.argv[1:]:
    trainer = gradients(folder)
ramped(trainer)
assert "tensorflow" not in sys.modules
"""


def drawn(shapes, seed):
    random = np.random.default_rng(seed)
    kinds = {"normal": random.normal, "uniform": lambda size: random.uniform(-1, 1, size)}
    return {
        name: kinds[kind](size=shape).astype(np.float32) for name, (kind, shape) in shapes.items()
    }


def tensorflow_numbers(folder, options):
    """Writes what the JAX engine is given; returns TensorFlow's gradients and losses."""
    trainer = step.Trainer(options, step.make_strategy())
    random = np.random.default_rng(5)
    trainer.log_prior.assign(0.3 * random.normal(size=trainer.log_prior.shape))
    batch = options.run.batch_size
    real = random.uniform(-1, 1, (batch, 32, 32, 3)).astype(np.float32)
    v_draws = drawn(trainer.objective.analysis_draws(batch), 1)
    s_draws = drawn(trainer.objective.synthesis_draws(batch), 2)
    given = {"real": real}
    given |= {f"state/{name}": v.numpy() for name, v in trainer.state().items()}
    given |= {f"v_draw/{name}": v for name, v in v_draws.items()}
    given |= {f"s_draw/{name}": v for name, v in s_draws.items()}
    folder.mkdir()
    np.savez(folder / "given.npz", **given)
    (folder / "options.json").write_text(options.to_json())
    extra = {"prior": np.asarray(trainer.log_prior)} if options.viewpoints.prior_rate else {}
    of_v, v_parts = trainer._analysis_gradients(real, v_draws | extra, True)
    of_s, s_parts = trainer._synthesis_gradients(s_draws | extra)
    wanted = {f"v/{i:03d}": np.asarray(g) for i, g in enumerate(of_v)}
    wanted |= {f"s/{i:03d}": np.asarray(g) for i, g in enumerate(of_s)}
    return wanted | {f"loss/{name}": np.asarray(v) for name, v in (v_parts | s_parts).items()}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_losses_and_gradients_are_tensorflows(tmp_path, environment, monkeypatch):
    tiny.without_chance(monkeypatch)
    wanted = {
        name: tensorflow_numbers(tmp_path / name, OPTIONS.replace(**changes))
        for name, changes in CASES.items()
    }
    run(["-c", GRADIENTS, *(str(tmp_path / name) for name in CASES)], environment)
    for name, numbers in wanted.items():
        with np.load(tmp_path / name / "jax.npz", allow_pickle=False) as given:
            assert set(given.files) == set(numbers)
            assert "loss/v_penalty" in numbers
            for key, value in numbers.items():
                scale = max(np.abs(value).max(), 1e-3)
                np.testing.assert_allclose(
                    given[key], value, rtol=1e-3, atol=1e-3 * scale, err_msg=f"{name} {key}"
                )


# --- Training --------------------------------------------------------------------------------

TRAINING = config.Options.of(
    **tiny.NETWORKS | {"batch_size": 16}, prior_rate=0.01, limit=64, log_interval=1,
    checkpoint_interval=2, evaluation_interval=4,
)  # fmt: skip

# Every step carries the penalty, so that V's half is compiled once and not twice.
COMMAND = """
import importlib, sys
import pytest, tiny
from ssv_tf.training import networks
networks.R1_INTERVAL = 1
tiny.with_short_looks(pytest.MonkeyPatch())

def command(*words):
    sys.argv = ["train", *words]
    try:
        importlib.import_module("ssv_tf.train").run()
    except SystemExit as end:
        assert not end.code, end.code
"""

RUNS = (
    COMMAND
    + """
folder, *words = sys.argv[1:]
command(*words, f"--run_dir={folder}/broken", "--steps=2")

import numpy as np
from ssv_tf.models import inference
from ssv_tf import config
from ssv_tf.training import loop, run_folder

options = config.from_json(open(folder + "/options.json").read())
for name in ("whole", "broken"):
    loop.train(options.replace(run_dir=f"{folder}/{name}", steps=4), quiet=True)
pictures = np.load(folder + "/pictures.npy")
analysis = run_folder.load(folder + "/whole").analysis()
views = inference.decode(inference.predict(analysis, pictures))
np.save(folder + "/predicted.npy", views.degrees)
"""
)

TWO = (
    COMMAND
    + """
from ssv_tf.training import loop
loop._Session._check_health = loop._Session._show_turntable = lambda *_: None
folder, *words = sys.argv[1:]
command(*words, f"--run_dir={folder}/two", "--steps=2")
"""
)


def flags_of(options):
    plain = config.Options().flat()
    return [f"--{k}={v}" for k, v in options.flat().items() if v != plain[k]]


def losses_of(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [x for x in map(json.loads, lines) if x["kind"] == "train"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_by_command_resume_devices_and_tensorflow(
    tmp_path, environment, monkeypatch, eager
):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "pictures.npy", pictures)
    environment = environment | {"SSV_TF_CACHE": str(tmp_path / "cache")}

    # Two steps by the command, on one device and on two; the same to be compared and gone on with.
    (tmp_path / "options.json").write_text(TRAINING.to_json())
    words = [str(tmp_path), "--quiet", *flags_of(TRAINING)]
    assert "jax" in run(["-c", RUNS, *words], environment)
    two = environment["XLA_FLAGS"] + " --xla_force_host_platform_device_count=2"
    run(["-c", TWO, *words], environment | {"XLA_FLAGS": two})
    ones = losses_of(tmp_path / "broken")[:2]
    for one, both in zip(ones, losses_of(tmp_path / "two"), strict=True):
        for name in set(one) - {"kind", "seconds_per_step", "v_gradient", "s_gradient"}:
            assert one[name] == pytest.approx(both[name], rel=5e-3, abs=5e-3), name

    # A resumed run ends with the unbroken run's weights.
    saved = (tmp_path / name / "checkpoints" / "step-4.npz" for name in ("whole", "broken"))
    whole, broken = (dict(np.load(path, allow_pickle=False)) for path in saved)
    assert [x["step"] for x in losses_of(tmp_path / "broken")] == [1, 2, 3, 4]
    assert not (tmp_path / "whole" / "tensorboard").exists()
    assert np.abs(whole["prior/0000"]).max() > 0
    for name in set(whole) - {"best_score"}:
        np.testing.assert_array_equal(whole[name], broken[name], err_msg=name)

    # TensorFlow predicts the same from the saved model, and goes on with the run.
    raw = inference.predict(run_folder.load(tmp_path / "whole").analysis(), pictures)
    predicted = inference.decode(raw).degrees
    apart = np.abs(predicted - np.load(tmp_path / "predicted.npy"))
    assert np.minimum(apart, 360 - apart).max() < 0.05
    options = TRAINING.replace(run_dir=str(tmp_path / "whole"), steps=4)
    trainer = step.make_trainer(options)
    assert checkpoints.Checkpoints(tmp_path / "whole" / "checkpoints", trainer, 3).restore() == 4
    for name, variable in trainer.state().items():
        np.testing.assert_array_equal(variable.numpy(), whole[name])
    monkeypatch.setenv("SSV_TF_CACHE", str(tmp_path / "cache"))
    tiny.with_short_looks(monkeypatch)
    assert loop.train(options.replace(steps=5), quiet=True) == 0
    assert losses_of(tmp_path / "whole")[-1]["step"] == 5
