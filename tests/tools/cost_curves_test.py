"""The law behind the cost curves, which steps are timed, and the table."""

import json
import types

import numpy as np
import pytest

from ssv_tf import config
from ssv_tf.base.errors import UserError
from tools import cost_curves


def figures(resolution, batch, gflop, seconds):
    return {
        "resolution": resolution,
        "batch_size": batch,
        "step_gflop": {"analysis": gflop / 4, "synthesis": gflop * 3 / 4},
        "seconds": {"step": seconds},
        "peak_gflops": 500.0,
        "peak_memory_mib": 1000.0,
    }


def test_law_is_found_again():
    gflop = np.array([20.0, 40.0, 160.0, 500.0])
    fixed, rate = cost_curves.fitted_law(gflop, 0.03 + gflop / 250.0)
    assert (fixed, rate) == (pytest.approx(0.03), pytest.approx(250.0))


def test_every_step_is_timed_once_and_the_recipe_is_among_them():
    pairs = cost_curves.settings(config.Options.of(resolution=64, batch_size=32))
    assert pairs[0] == (64, 32) and len(set(pairs)) == len(pairs)
    assert {(32, 32), (128, 32), (64, 8), (64, 64)} < set(pairs)


def test_table_holds_what_was_measured_and_the_law():
    steps = [figures(32, 16, 40.0, 0.19), figures(64, 16, 80.0, 0.35), figures(32, 8, 20.0, 0.11)]
    text = cost_curves.table(steps, {1000: 5000.0})
    assert "| 64 | 16 | 80.0 | 0.350 | 45.7 | 0.350 s | 1000 MiB |" in text
    assert "seconds a step = 0.030 + GFLOP / 250; " in text
    assert "| 1,000 | 5,000 |" in text


def test_step_is_timed_with_the_settings_in_a_process_of_its_own(monkeypatch):
    commands = []

    def ran(command, **_):
        commands.append(command)
        path = next(word for word in command if word.startswith("--json=")).partition("=")[2]
        with open(path, "w") as file:
            json.dump({"seconds": {"step": 1.0}}, file)
        return types.SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(cost_curves.subprocess, "run", ran)
    options = config.Options.of(resolution=64, batch_size=24, analysis_width=0.5)
    assert cost_curves.time_step(options, 3) == {"seconds": {"step": 1.0}}
    assert {"--resolution=64", "--batch_size=24", "--analysis_width=0.5", "--repeats=3"} <= set(
        commands[0]
    )


def test_failure_is_told_in_its_last_line(monkeypatch):
    failed = types.SimpleNamespace(returncode=1, stderr="one\nerror: no memory\n")
    monkeypatch.setattr(cost_curves.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(UserError, match="error: no memory"):
        cost_curves.time_step(config.Options.of(), 1)
