"""The paper's networks in PyTorch, and the times of ours beside them."""

import sys

import pytest
from in_process import run_command

from tools import reference_benchmark


def test_calls_take_turns_and_those_that_warm_up_do_not_count(monkeypatch):
    clock = [0.0]
    called = []

    def call(name, *seconds):
        left = list(seconds)

        def act():
            called.append(name)
            clock[0] += left.pop(0)

        return act

    monkeypatch.setattr(reference_benchmark.time, "perf_counter", lambda: clock[0])
    calls = {"a": call("a", 9, 9, 9, 1, 2, 3), "b": call("b", 9, 9, 9, 4, 6, 5)}
    assert reference_benchmark.time_by_turns(calls, 3) == {"a": 2, "b": 5}
    assert called == ["a", "b"] * 6


def test_ratios_are_those_of_each_round_and_of_time_a_mac_where_named_so():
    rounds = [{"first": 0.2, "ours": 0.1}, {"first": 0.4, "ours": 0.1}]
    shown = reference_benchmark.table("V", rounds, {}).splitlines()
    assert shown[2].split() == ["first", "300.0", "1.000,", "1.000"]
    assert shown[3].split() == ["ours", "100.0", "0.500,", "0.250"]
    shown = reference_benchmark.table("S, time a MAC", rounds, {"first": 10.0, "ours": 20.0})
    assert shown.splitlines()[3].split() == ["ours", "100.0", "0.250,", "0.125"]


def test_without_pytorch_it_says_so_in_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run_command(reference_benchmark) != 0
    assert capsys.readouterr().err.strip().endswith("pip install torch")


def test_the_references_have_the_size_that_is_published():
    torch = pytest.importorskip("torch")
    from tools import reference_networks

    pictures = torch.zeros(2, 3, 128, 128)
    analysis = reference_networks.ReferenceAnalysis().eval()
    assert analysis(pictures).shape == (2, 3 * 6 + 128 + 1)
    assert reference_networks.macs(analysis, pictures) / 1e9 == pytest.approx(20.9, abs=0.05)
    scene = torch.zeros(2, 128), torch.zeros(2, 128), torch.eye(3, 4).repeat(2, 1, 1)
    synthesis = reference_networks.ReferenceSynthesis(0.625).eval()
    assert synthesis(*scene).shape == (2, 3, 128, 128)
    assert reference_networks.macs(synthesis, *scene) / 1e9 == pytest.approx(14.0, abs=0.2)
