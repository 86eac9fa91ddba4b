"""Which type a training computes in where none was asked for."""

import json

import pytest

from ssv_tf import config
from ssv_tf.training import loop, precision

_READ = precision.multiplies_bfloat16.__wrapped__


@pytest.fixture
def able(monkeypatch):
    """A machine whose CPU multiplies bfloat16."""
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)


@pytest.mark.parametrize(
    ("flags", "can"),
    [
        ("fpu sse avx512f avx512_bf16", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fpu sse avx2 avx512f avx512_bf16x", False),
        ("", False),
    ],
)
def test_the_processor_says_whether_it_multiplies_bfloat16(tmp_path, monkeypatch, flags, can):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\nmodel name\t: amx_bf16 CPU\nflags\t\t: {flags}\n")
    monkeypatch.setattr(precision, "_CPU_INFO", info)
    assert _READ() is can


def test_no_list_of_flags_means_float32(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_CPU_INFO", tmp_path / "none")
    assert not _READ()


def test_auto_takes_bfloat16_only_where_the_cpu_has_it(able, monkeypatch):
    assert precision.settle(config.Options()).run.precision == "mixed_bfloat16"
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    assert precision.settle(config.Options()).run.precision == "float32"


def test_what_was_asked_for_is_kept(able):
    options = config.Options.of(precision="float32")
    assert precision.settle(options, config.Options.of(precision="mixed_bfloat16")) == options


def test_a_run_goes_on_in_its_own_type_on_any_machine(able):
    begun = config.Options.of(precision="float32")
    assert precision.settle(config.Options(), begun).run.precision == "float32"


def test_machines_of_a_cluster_and_graphics_cards_take_float32(able, monkeypatch):
    import tensorflow as tf

    with monkeypatch.context() as other:
        other.setattr(tf.config, "list_physical_devices", lambda kind: ["one"])
        assert precision.best_here() == "float32"
    workers = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(workers))
    assert precision.best_here() == "float32"


def test_the_folder_of_a_run_names_the_type_and_a_resumed_one_keeps_it(tmp_path, able):
    auto = config.Options.of(run_dir=str(tmp_path / "run"))
    first = precision.settle(auto, loop.begun(auto))
    folder = loop.prepare_folder(first, False)
    assert json.loads((folder / "options.json").read_text())["precision"] == "mixed_bfloat16"
    again = auto.replace(precision="float32")
    loop.prepare_folder(again, True)
    resumed = precision.settle(auto, loop.begun(auto))
    assert resumed.run.precision == "float32"
    loop.check_folder(resumed, False)
