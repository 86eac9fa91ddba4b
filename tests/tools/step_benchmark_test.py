"""The figures of the step benchmark on the smallest networks."""

from types import SimpleNamespace

import pytest
import tiny

from ssv_tf import config
from ssv_tf.models import flops
from ssv_tf.training import networks
from tools import step_benchmark

TINY = config.Options.of(**tiny.NETWORKS)


@pytest.mark.slow
def test_benchmark_measures_what_it_prints(monkeypatch):
    tiny.without_chance(monkeypatch)  # every step carries the penalty: one graph and not two
    monkeypatch.setattr(step_benchmark, "_PEAK_SIDES", (256,))
    figures = step_benchmark.measure(TINY, repeats=1)
    seconds = figures["seconds"]
    assert 0 < seconds["analysis"] and 0 < seconds["synthesis"]
    assert 0 < seconds["step"] and 0 < figures["data_pictures_per_second"]
    assert figures["peak_memory_mib"] > 100
    macs = flops.step_macs(*networks.build_networks(TINY), batch_size=8, penalty_interval=8)
    assert figures["step_gflop"]["analysis"] >= 2 * macs["analysis"] / 1e9
    text = step_benchmark.table(figures)
    assert f"{seconds['step']:.3f}" in text and "of peak" in text


def test_peak_is_that_of_the_fastest_matrix_product(monkeypatch):
    ends = (time for i in range(4) for time in (i, i + 0.5, i + 0.6, i + 0.85))
    monkeypatch.setattr(step_benchmark, "time", SimpleNamespace(perf_counter=lambda: next(ends)))
    assert step_benchmark.peak_gflops(64) == pytest.approx(2 * 64**3 / 0.25 / 1e9)


def test_products_grow_until_one_takes_long_enough(monkeypatch):
    rates = {1024: 300.0, 2048: 400.0, 3072: 500.0, 8192: 900.0}
    asked = []

    def peak(side, dtype):
        asked.append(side)
        return rates[side] * (100.0 if dtype == "bfloat16" else 1.0)

    monkeypatch.setattr(step_benchmark, "peak_gflops", peak)
    assert step_benchmark.best_peak_gflops("float32") == 500.0
    assert asked == [1024, 2048, 3072]
    assert step_benchmark.best_peak_gflops("bfloat16") == 90_000.0
