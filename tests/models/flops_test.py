"""Multiply-accumulates against sums written out by hand."""

import pytest

from ssv_tf.models import flops, geometry, layers
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.synthesis import SynthesisNetwork


@pytest.fixture(scope="module")
def analysis():
    network = AnalysisNetwork(resolution=32, width=0.03, style_size=8)
    network.build()
    return network


def _synthesis(**settings):
    network = SynthesisNetwork(
        width=0.03, code_size=4, mapping_layers=2, volume_features=3,
        **{"resolution": 32, "volume_size": 8, **settings},
    )  # fmt: skip
    network.build()
    return network


def test_one_convolution_by_counting_its_windows():
    layer = layers.EqualizedConv(5, 3, rank=2)
    layer.build((None, 4, 4, 2))
    windows = sum(1 for _ in range(4) for _ in range(4))
    assert flops._conv(layer, 4, 2) == windows * (3 * 3) * 2 * 5


def test_analysis_by_hand(analysis):
    # Channels at 32, 16, 8, 4: 128, 256, 512, 512 times 0.03 is 8 (at least), 8, 15, 15.
    first = 32 * 32 * 3 * 8
    blocks = 32**2 * 9 * 8 * 8 + 16**2 * 9 * 8 * 8
    blocks += 16**2 * 9 * 8 * 15 + 8**2 * 9 * 15 * 15
    blocks += 8**2 * 9 * 15 * 15 + 4**2 * 9 * 15 * 15
    tops = 4 * 4 * 15 * 16 + 4 * 4 * 16 * 16  # the realness top sees one more channel
    heads = 16 * 1 + 16 * 8 + 3 * (16 * 16 + 16 * 2 + 16 * 4)
    assert flops.analysis_macs(analysis) == first + blocks + tops + heads


def test_composite_synthesis_by_hand():
    # Style 15; volume 15 channels at 4^3, 15 at 8^3; all 2D blocks 16 channels.
    mapping = 2 * (4 * 15 + 15 * 15)  # z1 and z2
    norms = 2 * (15 * 2 * 15)
    norms += (1 + 3) * 15 * 2 * 16  # one object block, backgrounds at 8, 16, 32
    make = mapping + norms + 8**3 * 27 * 15 * 15 + 8**3 * 27 * 15 * 4
    hits = len(geometry.ball_rays(32)[0])
    draw = 8 * 6 * hits * 4  # eight neighbours of 6 samples a ray, 3 features and density
    draw += 32**2 * 9 * 3 * 16 + 32**2 * 16 * 3
    draw += (8**2 + 16**2 + 32**2) * 9 * 16 * 16 + 32**2 * 16 * 3
    assert flops.synthesis_macs(_synthesis()) == (make, draw)


def test_free_synthesis_by_hand():
    # Turned convolutions 8 and 8 (at least) channels; 2D blocks 15, 15, 8 at 8, 16, 32.
    mapping = 2 * (4 * 15 + 15 * 15)
    norms = 2 * (15 * 2 * 15) + 15 * 2 * 15 + 15 * 2 * 15 + 15 * 2 * 8
    make = mapping + norms + 8**3 * 27 * 15 * 15
    draw = 8 * 8**3 * 15 + 8**3 * 27 * (15 * 8 + 8 * 8)
    draw += 8**2 * (8 * 8) * 15  # depth folded into channels
    draw += 8**2 * 9 * 15 * 15 + 16**2 * 9 * 15 * 15 + 32**2 * 9 * 15 * 8
    draw += 32**2 * 8 * 3
    assert flops.synthesis_macs(_synthesis(projection="free")) == (make, draw)


def test_bigger_pictures_and_volumes_cost_more():
    small = flops.synthesis_macs(_synthesis())
    assert flops.synthesis_macs(_synthesis(resolution=64))[1] > small[1]
    assert flops.synthesis_macs(_synthesis(volume_size=16))[0] > 4 * small[0]


def test_step_counts_its_passes_by_hand(analysis):
    synthesis = _synthesis()
    v, (make, draw) = flops.analysis_macs(analysis), flops.synthesis_macs(synthesis)
    macs = flops.step_macs(
        analysis, synthesis, batch_size=8, image_consistency=False, penalty_interval=8
    )
    # V: real, mirrored, drawn, forward and twice back; the drawing; a lazy penalty.
    assert macs["analysis"] == 24 * v * 3 + 8 * (make + draw) + 8 * v * 6 / 8
    # S: 8 objects, 12 views, forward and twice back; V on 12 pictures, back to its input.
    assert macs["synthesis"] == 3 * (8 * make + 12 * draw) + 12 * v * 2


def test_losses_left_out_and_lazy_penalties_are_cheaper(analysis):
    synthesis = _synthesis()

    def total(**settings):
        return sum(flops.step_macs(analysis, synthesis, batch_size=8, **settings).values())

    assert total(image_consistency=False) < total() < total(synthesis_symmetry=True)
    assert total(penalty_interval=0) < total(penalty_interval=100) < total(penalty_interval=1)


def test_a_strided_trunk_halves_before_its_convolutions():
    paper, strided = (
        AnalysisNetwork(resolution=32, width=0.25, trunk=trunk) for trunk in ("paper", "strided")
    )
    for network in (paper, strided):
        network.build()
    saved = flops.analysis_macs(paper) - flops.analysis_macs(strided)
    wider = (9 - 1) * 3 * 32 * 32**2  # its first convolution looks at 3 x 3 pixels
    first = 9 * 32 * 64 * (32**2 - 16**2) + 9 * 64 * 128 * (16**2 - 8**2)
    first += 9 * 128 * 128 * (8**2 - 4**2)
    assert saved == first - wider
