"""V and S as section 3 of the paper has them, of plain PyTorch layers: to be timed, not trained.

Written from the paper's description: the layers and their widths, none of its code. Weights are
PyTorch's first ones, without equalised learning rates, which would cost time at every call.
Pictures and volumes have their channels first.
"""

import itertools

import torch
from torch import nn
from torch.nn import functional

from ssv_tf.models.layers import LEAKY_SLOPE

_ANALYSIS_WIDTHS = (128, 256, 512, 512, 512, 512)  # at 128 px and after each halving
_VOLUME_WIDTHS = (512, 512, 256)  # at 4, 8 and 16 voxels
_TURNED_WIDTHS = (128, 64)
_PICTURE_WIDTHS = (512, 512, 256, 128)  # at 16, 32, 64 and 128 px
_TOP, _HIDDEN, _CODE = 512, 256, 128


class ReferenceAnalysis(nn.Module):
    """V at 128 px, 20.9 GMAC: pictures [b, 3, 128, 128] -> [b, 18 + code + 1] logits of all heads.

    Before each halving two 3x3 convolutions, the second of which widens; the minibatch standard
    deviation and the last convolutions at 4 x 4.
    """

    def __init__(self) -> None:
        super().__init__()
        widths = _ANALYSIS_WIDTHS
        self.from_rgb = nn.Conv2d(3, widths[0], 1)
        blocks = []
        for narrow, wide in itertools.pairwise(widths):
            blocks += [_conv(narrow, narrow), _conv(narrow, wide), nn.AvgPool2d(2)]
        self.blocks = nn.Sequential(*blocks)
        self.last = _conv(widths[-1] + 1, widths[-1])
        self.top = nn.Conv2d(widths[-1], _TOP, 4)
        self.angles = nn.ModuleList(_angle() for _ in range(3))
        self.style = nn.Linear(_TOP, _CODE)
        self.realness = nn.Linear(_TOP, 1)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.blocks(functional.leaky_relu(self.from_rgb(pictures), LEAKY_SLOPE))
        spread = x.std(0, unbiased=False).mean().expand(len(x), 1, *x.shape[2:])
        x = self.top(self.last(torch.cat([x, spread], 1)))
        flat = functional.leaky_relu(x.flatten(1), LEAKY_SLOPE)
        heads = [*self.angles, self.style, self.realness]
        return torch.cat([head(flat) for head in heads], 1)


class ReferenceSynthesis(nn.Module):
    """S at 128 px: codes and angles -> pictures [b, 3, 128, 128].

    A learned 4^3 constant, 3D convolutions with AdaIN and trilinear upsampling to 16^3, the turn,
    two plain 3D convolutions, depth folded into channels, 2D convolutions with AdaIN.

    Args:
      width: multiplies the paper's channels: 1 has 35.5 GMAC a picture, 0.625 13.9.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        volume, turned, picture = (
            [round(width * channels) for channels in widths]
            for widths in (_VOLUME_WIDTHS, _TURNED_WIDTHS, _PICTURE_WIDTHS)
        )
        style = round(width * _TOP)
        mapping: list[nn.Module] = []
        for given in (_CODE, *[style] * 7):
            mapping += [nn.Linear(given, style), nn.LeakyReLU(LEAKY_SLOPE)]
        self.mapping = nn.Sequential(*mapping)
        self.constant = nn.Parameter(torch.randn(1, volume[0], 4, 4, 4))
        self.first_norm = _AdaIN(volume[0], style, 3)
        self.volume = nn.ModuleList(
            _Styled(given, wanted, style, 3) for given, wanted in itertools.pairwise(volume)
        )
        self.turned = nn.Sequential(
            nn.Conv3d(volume[-1], turned[0], 3, padding=1), nn.LeakyReLU(LEAKY_SLOPE),
            nn.Conv3d(turned[0], turned[1], 3, padding=1), nn.LeakyReLU(LEAKY_SLOPE),
        )  # fmt: skip
        self.fold = nn.Conv2d(16 * turned[1], picture[0], 1)
        self.picture = nn.ModuleList(
            _Styled(given, wanted, style, 2)
            for given, wanted in zip((picture[0], *picture), picture, strict=False)
        )
        self.to_rgb = nn.Conv2d(picture[-1], 3, 1)

    def forward(self, z1: torch.Tensor, z2: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
        """Codes [b, 128] each and rotations [b, 3, 4], as `affine_grid` has them."""
        style1, style2 = self.mapping(z1), self.mapping(z2)
        x = self.constant.expand(len(z1), *self.constant.shape[1:])
        x = functional.leaky_relu(self.first_norm(x, style1), LEAKY_SLOPE)
        for block in self.volume:
            x = functional.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
            x = block(x, style1)
        grid = functional.affine_grid(turns, list(x.shape), align_corners=True)
        x = self.turned(functional.grid_sample(x, grid, align_corners=True))
        x = functional.leaky_relu(self.fold(x.flatten(1, 2)), LEAKY_SLOPE)
        for number, block in enumerate(self.picture):
            if number:
                x = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(x, style2)
        return torch.tanh(self.to_rgb(x))


class _AdaIN(nn.Module):
    def __init__(self, channels: int, style: int, rank: int) -> None:
        super().__init__()
        self.affine = nn.Linear(style, 2 * channels)
        self.norm = (nn.InstanceNorm3d if rank == 3 else nn.InstanceNorm2d)(channels)
        self.open = (1,) * rank

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        affine = self.affine(style)
        scale, offset = affine.reshape(*affine.shape, *self.open).chunk(2, dim=1)
        return self.norm(x) * (1 + scale) + offset


class _Styled(nn.Module):
    def __init__(self, given: int, wanted: int, style: int, rank: int) -> None:
        super().__init__()
        conv = nn.Conv3d if rank == 3 else nn.Conv2d
        self.conv = conv(given, wanted, 3, padding=1, bias=False)
        self.norm = _AdaIN(wanted, style, rank)

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(self.norm(self.conv(x), style), LEAKY_SLOPE)


def _conv(given: int, wanted: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(given, wanted, 3, padding=1, bias=False),
        nn.InstanceNorm2d(wanted, affine=True),
        nn.LeakyReLU(LEAKY_SLOPE),
    )


def _angle() -> nn.Sequential:
    """Magnitudes and quadrants of one angle, six numbers, after a hidden layer."""
    return nn.Sequential(
        nn.Linear(_TOP, _HIDDEN), nn.LeakyReLU(LEAKY_SLOPE), nn.Dropout(0.2), nn.Linear(_HIDDEN, 6)
    )


def macs(module: nn.Module, *inputs: torch.Tensor) -> int:
    """Multiply-accumulates of convolutions and dense layers in one call, for one of the batch."""
    total = 0

    def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        nonlocal total
        weights = getattr(layer, "weight", None)
        if isinstance(weights, torch.Tensor) and not isinstance(layer, nn.InstanceNorm2d):
            places = out[0, 0].numel() if out.ndim > 2 else 1
            total += weights.numel() * places

    hooks = [layer.register_forward_hook(count) for layer in module.modules()]
    with torch.inference_mode():
        module(*inputs)
    for hook in hooks:
        hook.remove()
    return total
