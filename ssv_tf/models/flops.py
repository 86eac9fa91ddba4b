"""Analytic multiply-accumulates (MACs) of the networks and of a training step.

Counted: convolutions, dense layers and the trilinear sampling of the volume, which hold nearly
all of the arithmetic. One MAC is two FLOPs.
"""

from ssv_tf.base.backend import keras
from ssv_tf.models.analysis import AnalysisNetwork
from ssv_tf.models.layers import EqualizedConv, EqualizedDense
from ssv_tf.models.projection import CompositeProjection, FreeProjection
from ssv_tf.models.synthesis import SynthesisNetwork

# A gradient with respect to weights and inputs costs two forward passes; to inputs alone, one.
_FORWARD, _INPUT_GRADIENT, _BOTH_GRADIENTS = 1, 1, 2


def analysis_macs(analysis: AnalysisNetwork) -> int:
    """MACs of V's forward pass for one picture."""
    size, total = analysis.resolution, _conv(analysis.from_rgb, analysis.resolution, 2)
    for block in analysis.blocks:
        first = size // block.convs[0].strides
        total += _conv(block.convs[0], first, 2) + _conv(block.convs[1], size // 2, 2)
        size //= 2
    total += _weights(analysis.top) + _weights(analysis.realness_top)
    return total + sum(_weights(layer) for layer in _dense_layers(analysis))


def synthesis_macs(synthesis: SynthesisNetwork) -> tuple[int, int]:
    """MACs of S for one object (mapping, volume) and for one view of it (turn, draw)."""
    make = sum(_weights(layer) for layer in _dense_layers(synthesis)) + sum(
        _weights(dense) for dense in synthesis.mapping.dense
    )  # the mapping runs once for z1 and once for z2
    size = 4
    for block in synthesis.volume.blocks:
        size *= 2
        make += _conv(block.conv, size, 3)
    projection = synthesis.projection
    if isinstance(projection, CompositeProjection):
        make += _conv(projection.voxel_head, size, 3)
        return make, _composite_macs(projection)
    return make, _free_macs(projection, size)


def _composite_macs(projection: CompositeProjection) -> int:
    macs = 8 * projection.samples * len(projection.chords[2]) * (1 + projection.features)
    size = projection.rays
    for level, block in enumerate(projection.object_blocks):
        size *= 2 if level else 1
        macs += _conv(block.conv, size, 2)
    macs += _conv(projection.object_rgb, size, 2)
    size = 4
    for block in projection.background_blocks:
        size *= 2
        macs += _conv(block.conv, size, 2)
    return macs + _conv(projection.background_rgb, size, 2)


def _free_macs(projection: FreeProjection, size: int) -> int:
    channels = projection.turned_convs[0].kernel.shape[-2]
    macs = 8 * size**3 * channels
    macs += sum(_conv(conv, size, 3) for conv in projection.turned_convs)
    macs += _conv(projection.fold, size, 2)
    for level, block in enumerate(projection.blocks):
        size *= 2 if level else 1
        macs += _conv(block.conv, size, 2)
    return macs + _conv(projection.to_rgb, size, 2)


def step_macs(
    analysis: AnalysisNetwork,
    synthesis: SynthesisNetwork,
    *,
    batch_size: int,
    image_consistency: bool = True,
    penalty_interval: int = 1,
    synthesis_symmetry: bool = False,
) -> dict[str, float]:
    """MACs of V's and of S's half of one training step, penalties spread over their interval.

    Args:
      analysis, synthesis: the built networks.
      batch_size: real pictures a step.
      image_consistency: whether V learns through S's drawings of half of them.
      penalty_interval: steps between two gradient penalties; 0: there are none.
      synthesis_symmetry: whether S draws from mirrored viewpoints too.

    Returns:
      {"analysis": MACs, "synthesis": MACs}.
    """
    batch, half = batch_size, batch_size // 2
    v, (make, draw) = analysis_macs(analysis), synthesis_macs(synthesis)
    analysis_half: float = 3 * batch * v * (_FORWARD + _BOTH_GRADIENTS) + batch * (make + draw)
    if image_consistency:
        analysis_half += half * (make + draw) * (_FORWARD + _INPUT_GRADIENT)
    if penalty_interval:
        # Gradient to the picture, then the gradient of that: about twice a forward and backward.
        analysis_half += batch * v * 2 * (_FORWARD + _INPUT_GRADIENT + 1) / penalty_interval
    views = 3 * half + (half if synthesis_symmetry else 0)
    synthesis_half = (2 * half * make + views * draw) * (_FORWARD + _BOTH_GRADIENTS)
    synthesis_half += 3 * half * v * (_FORWARD + _INPUT_GRADIENT)
    return {"analysis": float(analysis_half), "synthesis": float(synthesis_half)}


def _conv(layer: EqualizedConv, size: int, rank: int) -> int:
    return size**rank * _weights(layer)


def _weights(layer: EqualizedConv | EqualizedDense) -> int:
    count = 1
    for side in layer.kernel.shape:
        count *= side
    return count


def _dense_layers(model: keras.Model) -> list[EqualizedDense]:
    layers = model._flatten_layers(include_self=False, recursive=True)
    return [layer for layer in layers if isinstance(layer, EqualizedDense)]
