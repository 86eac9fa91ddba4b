"""The synthesis network S: style codes and a viewpoint -> picture (SSV section 3.2)."""

import keras
import numpy as np
from keras import ops

from ssv_tf.models import layers

_BASE_SIZE = 4
_WIDTHS_3D = (512, 512, 256)  # at 4, 8, 16 (and 32) voxels
_WIDTHS_TURNED = (128, 64)  # plain 3D convolutions after the rotation
_WIDTHS_2D = (512, 512, 256, 128)
_STYLE_WIDTH = 512
# A fresh volume lets half of the background through: 8 softplus(-3) = 0.4 per half volume side.
_DENSITY_START = -3.0
_DENSITY_SCALE = 8.0
_EMPTIED = 10.0
_BACKGROUND_SIZE = 4


@keras.saving.register_keras_serializable("ssv_tf")
class SynthesisNetwork(keras.Model):
    """S: a learned 3D feature volume, styled by z1, turned by the viewpoint, drawn in 2D.

      Shapes, paper's size: constant [b, 4, 4, 4, 512] -> 3D blocks with AdaIN(z1) and trilinear
      upsampling -> [b, 16, 16, 16, 256] -> turned -> one of two projections -> [b, r, r, 3].

      * `free` (the paper's): 3D convolutions 128, 64, depth folded into channels, 1x1 convolution,
        2D blocks with AdaIN(z2) and bilinear upsampling. The volume may hold a hidden code.
    * `composite`: density and features are alpha-composited along depth; the object's colour sees
        z1 alone and the background z2 alone, so that neither can hide a silhouette from the other.
        The density is masked to a ball, in which every viewpoint sees the same voxels.

      Call with [z1, z2, angles_rad]: [b, code_size], [b, code_size], [b, 3].

    Args:
        resolution: side of the picture.
        width: multiplies the paper's channels.
        code_size: length of each style code.
        mapping_layers: layers of the mapping network.
        volume_size: side of the volume in voxels.
        projection: "free" or "composite".
        volume_features: features of a voxel beside its density (composite).
        symmetric_volume: make the volume its own left-right mirror image (composite).
        camera_distance: in ball radii, 0 for parallel rays (composite).
      volume_width: the object's greatest half width in ball radii, 1 for any (composite). Below
        1 it says which way an object longer than wide lies, so that its length cannot settle
        across the mirror plane, where front and rear would be each other's mirror image.
      picture_reach: half width of the picture in ball radii (composite); below 1 where crops cut
        the object off.
    """

    def __init__(
        self,
        resolution=32,
        width=0.125,
        code_size=64,
        mapping_layers=8,
        volume_size=16,
        projection="composite",
        volume_features=8,
        symmetric_volume=True,
        camera_distance=0.0,
        volume_width=1.0,
        picture_reach=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.volume_width, self.picture_reach = volume_width, picture_reach
        self.resolution, self.width, self.code_size = resolution, width, code_size
        self.mapping_layers, self.volume_size = mapping_layers, volume_size
        self.projection_name, self.volume_features = projection, volume_features
        self.symmetric_volume, self.camera_distance = symmetric_volume, camera_distance
        self.mapping = MappingNetwork(_scaled(_STYLE_WIDTH, width), mapping_layers, name="mapping")
        self.volume = StyledVolume(width, volume_size, name="volume")
        if projection == "free":
            self.projection = FreeProjection(resolution, width, volume_size, name="projection")
        else:
            self.projection = CompositeProjection(
                resolution,
                width,
                volume_size,
                volume_features,
                symmetric_volume,
                camera_distance,
                volume_width,
                picture_reach,
                name="projection",
            )

    def build(self, input_shape=None):
        self.mapping.build((None, self.code_size))
        style = (None, self.mapping.units)
        self.volume.build(style)
        self.projection.build([self.volume.output_shape_of_volume(), style, style])
        self.built = True

    def call(self, inputs, training=False):
        z1, z2, angles_rad = inputs
        return self.draw(self.make(z1, z2), angles_rad)

    def make(self, z1, z2):
        """Everything of the object that no viewpoint changes, to be drawn from many sides.

        Args:
          z1, z2: [batch, code_size].

        Returns:
          tuple of tensors for `draw`, batch first.
        """
        style1, style2 = self.mapping(z1), self.mapping(z2)
        volume = self.volume(style1)
        return self.projection.prepare(volume), style1, style2

    def draw(self, made, angles_rad):
        """Pictures [batch, r, r, 3] of what `make` returned, seen from angles_rad [batch, 3]."""
        volume, style1, style2 = made
        return ops.cast(self.projection([volume, style1, style2, angles_rad]), "float32")

    def get_config(self):
        return {
            "name": self.name,
            "resolution": self.resolution,
            "width": self.width,
            "code_size": self.code_size,
            "mapping_layers": self.mapping_layers,
            "volume_size": self.volume_size,
            "projection": self.projection_name,
            "volume_features": self.volume_features,
            "symmetric_volume": self.symmetric_volume,
            "camera_distance": self.camera_distance,
            "volume_width": self.volume_width,
            "picture_reach": self.picture_reach,
        }


@keras.saving.register_keras_serializable("ssv_tf")
class MappingNetwork(keras.layers.Layer):
    """Style code to style: pixel norm, then dense layers with leaky ReLU. [b, n] -> [b, units]."""

    def __init__(self, units, depth, **kwargs):
        super().__init__(**kwargs)
        self.units, self.depth = units, depth
        self.dense = [
            layers.EqualizedDense(units, gain=2**0.5, name=f"dense_{i}") for i in range(depth)
        ]

    def build(self, input_shape):
        for dense in self.dense:
            dense.build(input_shape)
            input_shape = (None, self.units)

    def call(self, z):
        x = layers.pixel_norm(ops.cast(z, self.compute_dtype))
        for dense in self.dense:
            x = layers.leaky_relu(dense(x))
        return x

    def get_config(self):
        return {**super().get_config(), "units": self.units, "depth": self.depth}


@keras.saving.register_keras_serializable("ssv_tf")
class StyledConv(keras.layers.Layer):
    """Convolution, AdaIN, leaky ReLU. Call with [x, style]."""

    def __init__(self, filters, rank, kernel_size=3, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.rank, self.kernel_size = filters, rank, kernel_size
        self.conv = layers.EqualizedConv(filters, kernel_size, rank, use_bias=False, name="conv")
        self.norm = layers.AdaptiveInstanceNorm(filters, name="norm")

    def build(self, input_shape):
        self.conv.build(input_shape[0])
        self.norm.build([(*input_shape[0][:-1], self.filters), input_shape[1]])

    def call(self, inputs):
        x, style = inputs
        return layers.leaky_relu(self.norm([self.conv(x), style]))

    def get_config(self):
        own = {"filters": self.filters, "rank": self.rank, "kernel_size": self.kernel_size}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("ssv_tf")
class StyledVolume(keras.layers.Layer):
    """A learned 4^3 constant grown to the volume by 3D blocks with AdaIN. style -> volume."""

    def __init__(self, width, volume_size, **kwargs):
        super().__init__(**kwargs)
        self.width, self.volume_size = width, volume_size
        self.widths = [_scaled(w, width) for w in (*_WIDTHS_3D, _WIDTHS_3D[-1] // 2)]
        self.first_norm = layers.AdaptiveInstanceNorm(self.widths[0], name="first_norm")
        self.blocks = [
            StyledConv(self.widths[i], 3, name=f"block_{_BASE_SIZE << i}")
            for i in range(1, (volume_size // _BASE_SIZE).bit_length())
        ]

    def output_shape_of_volume(self):
        return (None, *(self.volume_size,) * 3, self.widths[len(self.blocks)])

    def build(self, input_shape):
        shape = (1, *(_BASE_SIZE,) * 3, self.widths[0])
        self.constant = self.add_weight(
            shape=shape, initializer=keras.initializers.RandomNormal(stddev=1.0), name="constant"
        )
        self.first_norm.build([shape, input_shape])
        for block in self.blocks:
            shape = (None, *(2 * n for n in shape[1:4]), shape[4])
            block.build([shape, input_shape])
            shape = (*shape[:4], block.filters)

    def call(self, style):
        constant = ops.cast(self.constant, style.dtype)
        x = ops.tile(constant, (ops.shape(style)[0], 1, 1, 1, 1))
        x = layers.leaky_relu(self.first_norm([x, style]))
        for block in self.blocks:
            x = block([layers.upsample(x), style])
        return x

    def get_config(self):
        return {**super().get_config(), "width": self.width, "volume_size": self.volume_size}


@keras.saving.register_keras_serializable("ssv_tf")
class FreeProjection(keras.layers.Layer):
    """The paper's projection: turned volume -> 3D convs -> depth into channels -> 2D blocks."""

    def __init__(self, resolution, width, volume_size, **kwargs):
        super().__init__(**kwargs)
        self.resolution, self.width, self.volume_size = resolution, width, volume_size
        self.turned_convs = [
            layers.EqualizedConv(_scaled(w, width), rank=3, name=f"turned_{i}")
            for i, w in enumerate(_WIDTHS_TURNED)
        ]
        widths = [_scaled(w, width) for w in _WIDTHS_2D]
        self.fold = layers.EqualizedConv(widths[0], 1, name="fold")
        steps = (resolution // volume_size).bit_length() - 1
        self.blocks = [
            StyledConv(widths[min(i, len(widths) - 1)], 2, name=f"block_{i}")
            for i in range(steps + 1)
        ]
        self.to_rgb = layers.EqualizedConv(3, 1, gain=1.0, name="to_rgb")

    def build(self, input_shape):
        volume, style = input_shape[:2]
        size = volume[1]
        self.grid = layers.camera_grid(size)
        for conv in self.turned_convs:
            conv.build(volume)
            volume = (*volume[:4], conv.filters)
        self.fold.build((None, size, size, size * volume[4]))
        shape = (None, size, size, self.fold.filters)
        for block in self.blocks:
            block.build([shape, style])
            shape = (None, size, size, block.filters)
        self.to_rgb.build(shape)

    def prepare(self, volume):
        return volume

    def call(self, inputs):
        volume, _, style2, angles_rad = inputs
        size, channels = volume.shape[1], volume.shape[4]
        x = layers.rotate_volume(volume, angles_rad, self.grid)
        x = ops.reshape(x, (-1, size, size, size, channels))
        for conv in self.turned_convs:
            x = layers.leaky_relu(conv(x))
        x = ops.transpose(x, (0, 2, 3, 1, 4))  # [batch, height, width, depth, channels]
        x = ops.reshape(x, (-1, size, size, size * x.shape[4]))
        x = layers.leaky_relu(self.fold(x))
        for level, block in enumerate(self.blocks):
            x = block([layers.upsample(x) if level else x, style2])
        return self.to_rgb(x)

    def get_config(self):
        own = {"resolution": self.resolution, "width": self.width, "volume_size": self.volume_size}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("ssv_tf")
class CompositeProjection(keras.layers.Layer):
    """Alpha compositing of the turned volume over a background drawn from z2.

    The rays are sampled at up to 32 x 32; raw densities are interpolated and made optical depth
    afterwards, which keeps edges sharper than the voxels (Sun et al. 2022, post-activation).
    """

    def __init__(
        self,
        resolution,
        width,
        volume_size,
        features,
        symmetric=True,
        camera_distance=0.0,
        volume_width=1.0,
        picture_reach=1.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.resolution, self.width, self.volume_size = resolution, width, volume_size
        self.volume_width, self.picture_reach = volume_width, picture_reach
        self.features, self.symmetric, self.camera_distance = features, symmetric, camera_distance
        self.rays, self.samples = min(resolution, 32), round(0.75 * volume_size)
        self.voxel_head = layers.EqualizedConv(1 + features, rank=3, gain=1.0, name="voxel_head")
        wide = max(16, _scaled(_WIDTHS_2D[-1], width))
        self.doublings = (resolution // self.rays).bit_length() - 1
        self.object_blocks = [
            StyledConv(wide, 2, name=f"object_{i}") for i in range(1 + self.doublings)
        ]
        self.object_rgb = layers.EqualizedConv(3, 1, gain=1.0, name="object_rgb")
        steps = (resolution // _BACKGROUND_SIZE).bit_length() - 1
        self.background_blocks = [StyledConv(wide, 2, name=f"background_{i}") for i in range(steps)]
        self.background_rgb = layers.EqualizedConv(3, 1, gain=1.0, name="background_rgb")

    def build(self, input_shape):
        volume, style = input_shape[:2]
        self.points, self.piece, self.pixel = layers.ball_rays(
            self.rays, self.samples, self.camera_distance, self.picture_reach
        )
        self.outside = self._outside_width()
        self.voxel_head.build(volume)
        shape = (None, self.rays, self.rays, self.features)
        for block in self.object_blocks:
            block.build([shape, style])
            shape = (*shape[:3], block.filters)
        self.object_rgb.build(shape)
        wide = self.background_blocks[0].filters
        start = (1, _BACKGROUND_SIZE, _BACKGROUND_SIZE, wide)
        self.background_start = self.add_weight(
            shape=start, initializer=keras.initializers.RandomNormal(stddev=1.0), name="background"
        )
        for block in self.background_blocks:
            block.build([start, style])
        self.background_rgb.build(start)

    def _outside_width(self):
        """What empties voxels further than volume_width from the mirror plane, all axes kept."""
        x = np.abs((np.arange(self.volume_size) + 0.5) / self.volume_size * 2.0 - 1.0)
        emptied = np.zeros((1, 1, 1, self.volume_size, 1 + self.features), "float32")
        emptied[..., x > self.volume_width, 0] = -_EMPTIED
        return emptied

    def prepare(self, volume):
        voxels = self.voxel_head(volume)
        if self.symmetric:
            voxels = 0.5 * (voxels + ops.flip(voxels, axis=3))
        return voxels + ops.cast(self.outside, voxels.dtype)

    def call(self, inputs):
        voxels, style1, style2, angles_rad = inputs
        x, opacity = self._render(voxels, angles_rad)
        for level, block in enumerate(self.object_blocks):
            if level:
                x, opacity = layers.upsample(x), layers.upsample(opacity)
            x = block([x, style1])
        return opacity * self.object_rgb(x) + (1.0 - opacity) * self._background(style2)

    def opacity(self, voxels, angles_rad):
        """Silhouettes [batch, rays, rays, 1] in [0, 1] of what `prepare` returned."""
        return self._render(voxels, angles_rad)[1]

    def _render(self, voxels, angles_rad):
        return _render(voxels, angles_rad, self.points, self.piece, self.pixel)

    def _background(self, style2):
        start = ops.cast(self.background_start, style2.dtype)
        x = ops.tile(start, (ops.shape(style2)[0], 1, 1, 1))
        for block in self.background_blocks:
            x = block([layers.upsample(x), style2])
        return self.background_rgb(x)

    def get_config(self):
        own = {
            "resolution": self.resolution,
            "width": self.width,
            "volume_size": self.volume_size,
            "features": self.features,
            "symmetric": self.symmetric,
            "camera_distance": self.camera_distance,
            "volume_width": self.volume_width,
            "picture_reach": self.picture_reach,
        }
        return {**super().get_config(), **own}


@layers.fused
def _render(voxels, angles_rad, points, piece, pixel):
    """Turns and composites voxels [b, d, h, w, 1 + f]: features [b, r, r, f], opacity."""
    hits, rays, channels = piece.shape[0], round(pixel.shape[0] ** 0.5), voxels.shape[4]
    turned = layers.rotate_volume(voxels, angles_rad, points)
    turned = ops.reshape(turned, (-1, points.shape[0] // hits, hits, channels))
    raw = ops.cast(turned[..., :1], "float32")
    density = _DENSITY_SCALE * ops.softplus(raw + _DENSITY_START) * piece[:, None]
    drawn = ops.concatenate(
        layers.composite(ops.cast(density, voxels.dtype), turned[..., 1:]), axis=-1
    )  # [b, hits, f + 1]
    missed = ops.zeros_like(drawn[:, :1])
    picture = ops.take(ops.concatenate([drawn, missed], axis=1), pixel, axis=1)
    picture = ops.reshape(picture, (-1, rays, rays, channels))
    return picture[..., :-1], picture[..., -1:]


def _scaled(channels, width):
    return max(8, round(channels * width))
