"""The figures of the step benchmark on the smallest networks."""

import pytest
import tiny

from ssv_tf import config
from ssv_tf.models import flops
from ssv_tf.training import networks
from tools import step_benchmark

TINY = config.Options.of(**tiny.NETWORKS)


@pytest.mark.slow
def test_benchmark_measures_what_it_prints(tmp_path):
    figures = step_benchmark.measure(TINY, repeats=1)
    seconds = figures["seconds"]
    assert 0 < seconds["analysis"] and 0 < seconds["synthesis"]
    assert seconds["step"] < 3 * (seconds["analysis"] + seconds["synthesis"])
    assert figures["data_pictures_per_second"] > 10 * TINY.run.batch_size / seconds["step"]
    assert figures["peak_memory_mib"] > 100
    macs = flops.step_macs(*networks.build_networks(TINY), batch_size=8, penalty_interval=8)
    assert figures["step_gflop"]["analysis"] >= 2 * macs["analysis"] / 1e9
    text = step_benchmark.table(figures)
    assert f"{seconds['step']:.3f}" in text and "of peak" in text


def test_peak_is_that_of_a_matrix_product():
    assert 1 < step_benchmark.peak_gflops(512) < 1e6
