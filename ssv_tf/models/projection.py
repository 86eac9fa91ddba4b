"""From the volume to the picture: the two projections of S (SSV section 3.2)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ssv_tf.base.backend import keras, ops
from ssv_tf.base.types import Shape, Tensor
from ssv_tf.models import geometry, layers

_WIDTHS_TURNED = (128, 64)  # plain 3D convolutions after the rotation
_WIDTHS_2D = (512, 512, 256, 128)
# A fresh volume lets half of the background through: 8 softplus(-3) = 0.4 per half volume side.
_DENSITY_START = -3.0
_DENSITY_SCALE = 8.0
# Raw density of the empty space around the box, relative to a fresh volume's.
_EMPTY = -6.0
_BACKGROUND_SIZE = 4


@keras.saving.register_keras_serializable("ssv_tf")
class FreeProjection(keras.layers.Layer):
    """The paper's projection: turned volume -> 3D convs -> depth into channels -> 2D blocks."""

    def __init__(self, *, resolution: int, width: float, volume_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.resolution, self.width, self.volume_size = resolution, width, volume_size
        self.turned_convs = [
            layers.EqualizedConv(layers.scaled(w, width), rank=3, name=f"turned_{i}")
            for i, w in enumerate(_WIDTHS_TURNED)
        ]
        widths = [layers.scaled(w, width) for w in _WIDTHS_2D]
        self.fold = layers.EqualizedConv(widths[0], 1, name="fold")
        steps = (resolution // volume_size).bit_length() - 1
        self.blocks = [
            layers.StyledConv(
                widths[min(i, len(widths) - 1)], 2, doubles=bool(i), name=f"block_{i}"
            )
            for i in range(steps + 1)
        ]
        self.to_rgb = layers.EqualizedConv(3, 1, gain=1.0, name="to_rgb")

    def build(self, input_shape: Sequence[Shape]) -> None:
        volume, style = input_shape[:2]
        size = volume[1]
        self.grid = geometry.camera_grid(size)
        for conv in self.turned_convs:
            conv.build(volume)
            volume = (*volume[:4], conv.filters)
        self.fold.build((None, size, size, size * volume[4]))
        shape = (None, size, size, self.fold.filters)
        for block in self.blocks:
            block.build([shape, style])
            shape = (None, size, size, block.filters)
        self.to_rgb.build(shape)

    def prepare(self, volume: Tensor) -> Tensor:
        return volume

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        volume, _, style2, angles_rad = inputs
        size, channels = volume.shape[1], volume.shape[4]
        x = geometry.rotate_volume(volume, angles_rad, self.grid)
        x = ops.reshape(x, (-1, size, size, size, channels))
        for conv in self.turned_convs:
            x = layers.leaky_relu(conv(x))
        x = ops.transpose(x, (0, 2, 3, 1, 4))  # [batch, height, width, depth, channels]
        x = ops.reshape(x, (-1, size, size, size * x.shape[4]))
        x = layers.leaky_relu(self.fold(x))
        for block in self.blocks:
            x = block([x, style2])
        return self.to_rgb(x)

    def get_config(self) -> dict[str, Any]:
        config = {
            "resolution": self.resolution,
            "width": self.width,
            "volume_size": self.volume_size,
        }
        return {**super().get_config(), **config}


@keras.saving.register_keras_serializable("ssv_tf")
class CompositeProjection(keras.layers.Layer):
    """Alpha compositing of the turned volume over a background drawn from z2.

    The rays are sampled at up to 32 x 32; raw densities are interpolated and made optical depth
    afterwards, which keeps edges sharper than the voxels (Sun et al. 2022, post-activation).
    """

    def __init__(
        self,
        *,
        resolution: int,
        width: float,
        volume_size: int,
        features: int,
        symmetric: bool = True,
        camera_distance: float = 0.0,
        volume_width: float = 1.0,
        picture_reach: float = 1.0,
        volume_height: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.resolution, self.width, self.volume_size = resolution, width, volume_size
        self.volume_width, self.volume_height = volume_width, volume_height
        self.picture_reach = picture_reach
        self.features, self.symmetric, self.camera_distance = features, symmetric, camera_distance
        self.rays, self.samples = min(resolution, 32), round(0.75 * volume_size)
        self.voxel_head = layers.EqualizedConv(1 + features, rank=3, gain=1.0, name="voxel_head")
        wide = max(16, layers.scaled(_WIDTHS_2D[-1], width))
        self.doublings = (resolution // self.rays).bit_length() - 1
        self.object_blocks = [
            layers.StyledConv(wide, 2, doubles=bool(i), name=f"object_{i}")
            for i in range(1 + self.doublings)
        ]
        self.object_rgb = layers.EqualizedConv(3, 1, gain=1.0, name="object_rgb")
        steps = (resolution // _BACKGROUND_SIZE).bit_length() - 1
        self.background_blocks = [
            layers.StyledConv(wide, 2, doubles=True, name=f"background_{i}") for i in range(steps)
        ]
        self.background_rgb = layers.EqualizedConv(3, 1, gain=1.0, name="background_rgb")

    def build(self, input_shape: Sequence[Shape]) -> None:
        volume, style = input_shape[:2]
        *self.chords, self.pixel = geometry.ball_rays(
            self.rays, self.camera_distance, self.picture_reach
        )
        self.voxel_head.build(volume)
        shape = (None, self.rays, self.rays, self.features)
        for block in self.object_blocks:
            block.build([shape, style])
            shape = (*shape[:3], block.filters)
        self.object_rgb.build(shape)
        wide = self.background_blocks[0].filters
        start = (1, _BACKGROUND_SIZE, _BACKGROUND_SIZE, wide)
        self.background_start = self.add_weight(
            shape=start, initializer=layers.standard_normal, name="background"
        )
        for block in self.background_blocks:
            block.build([start, style])
        self.background_rgb.build(start)

    def prepare(self, volume: Tensor) -> Tensor:
        voxels = self.voxel_head(volume)
        if self.symmetric:
            voxels = 0.5 * (voxels + ops.flip(voxels, axis=3))
        return voxels

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        voxels, style1, style2, angles_rad = inputs
        x, opacity = self._render(voxels, angles_rad)
        for level, block in enumerate(self.object_blocks):
            if level:
                opacity = layers.upsample(opacity)
            x = block([x, style1])
        return opacity * self.object_rgb(x) + (1.0 - opacity) * self._background(style2)

    def opacity(self, voxels: Tensor, angles_rad: Tensor) -> Tensor:
        """Silhouettes [batch, rays, rays, 1] in [0, 1] of what `prepare` returned."""
        return self._render(voxels, angles_rad)[1]

    def _render(self, voxels: Tensor, angles_rad: Tensor) -> tuple[Tensor, Tensor]:
        extent = (self.volume_width, self.volume_height, 1.0)
        return _render(voxels, angles_rad, self.chords, self.pixel, self.samples, extent)

    def _background(self, style2: Tensor) -> Tensor:
        start = ops.cast(self.background_start, style2.dtype)
        x = ops.tile(start, (ops.shape(style2)[0], 1, 1, 1))
        for block in self.background_blocks:
            x = block([x, style2])
        return self.background_rgb(x)

    def get_config(self) -> dict[str, Any]:
        config = {
            "resolution": self.resolution,
            "width": self.width,
            "volume_size": self.volume_size,
            "features": self.features,
            "symmetric": self.symmetric,
            "camera_distance": self.camera_distance,
            "volume_width": self.volume_width,
            "picture_reach": self.picture_reach,
            "volume_height": self.volume_height,
        }
        return {**super().get_config(), **config}


_sample = geometry.fused(geometry.box_samples)
_find = geometry.fused(geometry.find_cells)


def _render(
    voxels: Tensor,
    angles_rad: Tensor,
    chords: Sequence[np.ndarray],
    pixel: np.ndarray,
    samples: int,
    extent: Sequence[float],
) -> tuple[Tensor, Tensor]:
    """Turns and composites voxels [b, d, h, w, 1 + f]: features [b, r, r, f], opacity.

    In float32 under any policy: optical depths add up along a ray, and XLA's CPU code is twice
    as slow in bfloat16. In several compiled parts: in one, XLA works points and weights of the
    samples out anew for each number that comes of them, which takes two thirds longer.
    """
    dtype = voxels.dtype
    points, piece = _sample(chords, angles_rad, samples, extent)
    cells, weights = _find(points, voxels.shape[1:4], extent)
    turned = _read(voxels, cells, weights)
    features, opacity = _composite(turned, piece, pixel, samples)
    return ops.cast(features, dtype), ops.cast(opacity, dtype)


def _read(voxels: Tensor, cells: Tensor, weights: Tensor) -> Tensor:
    """Samples [b, samples * hits, 1 + f]; the raw density is above that of empty space."""
    voxels = ops.cast(voxels, "float32")
    above_empty = np.zeros(voxels.shape[4], "float32")
    above_empty[0] = -_EMPTY  # so that the zeros around the box are empty
    return geometry.read_cells(voxels + above_empty, cells, weights)


@geometry.fused
def _composite(
    turned: Tensor, piece: Tensor, pixel: np.ndarray, samples: int
) -> tuple[Tensor, Tensor]:
    """What `_read` returned and lengths [b, hits]: features [b, r, r, f], opacity [b, r, r, 1]."""
    hits, rays, channels = piece.shape[1], round(pixel.shape[0] ** 0.5), turned.shape[2]
    turned = ops.reshape(turned, (-1, samples, hits, channels))
    piece = ops.stop_gradient(piece)  # so that this program has no gradient of it either
    depth = ops.softplus(turned[..., :1] + (_EMPTY + _DENSITY_START))
    density = _DENSITY_SCALE * depth * piece[:, None, :, None]
    drawn = ops.concatenate(
        geometry.composite(density, turned[..., 1:]), axis=-1
    )  # [b, hits, f + 1]
    missed = ops.zeros_like(drawn[:, :1])
    picture = ops.take(ops.concatenate([drawn, missed], axis=1), pixel, axis=1)
    picture = ops.reshape(picture, (-1, rays, rays, channels))
    return picture[..., :-1], picture[..., -1:]
