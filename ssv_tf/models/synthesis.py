"""The synthesis network S: style codes and a viewpoint -> picture (SSV section 3.2)."""

from collections.abc import Sequence
from typing import Any

from ssv_tf.base.backend import keras, ops
from ssv_tf.base.types import Shape, Tensor
from ssv_tf.models import layers
from ssv_tf.models import projection as projection_layers

_BASE_SIZE = 4
_WIDTHS_3D = (512, 512, 256)  # at 4, 8, 16 (and 32) voxels
_STYLE_WIDTH = 512


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
      volume_width: half width of the box that the volume fills, in ball radii, 1 for the whole
        ball (composite). Below 1 it says which way an object longer than wide lies, so that its
        length cannot settle across the mirror plane, where front and rear would be each other's
        mirror image; and the voxels lie closer.
      picture_reach: half width of the picture in ball radii (composite); below 1 where crops cut
        the object off.
      volume_height: half height of the box, as volume_width.
    """

    def __init__(
        self,
        *,
        resolution: int = 32,
        width: float = 0.125,
        code_size: int = 64,
        mapping_layers: int = 8,
        volume_size: int = 16,
        projection: str = "composite",
        volume_features: int = 5,
        symmetric_volume: bool = True,
        camera_distance: float = 0.0,
        volume_width: float = 1.0,
        picture_reach: float = 1.0,
        volume_height: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.volume_width, self.volume_height = volume_width, volume_height
        self.picture_reach = picture_reach
        self.resolution, self.width, self.code_size = resolution, width, code_size
        self.mapping_layers, self.volume_size = mapping_layers, volume_size
        self.projection_name, self.volume_features = projection, volume_features
        self.symmetric_volume, self.camera_distance = symmetric_volume, camera_distance
        self.mapping = MappingNetwork(
            layers.scaled(_STYLE_WIDTH, width), mapping_layers, name="mapping"
        )
        self.volume = StyledVolume(width, volume_size, name="volume")
        if projection == "free":
            self.projection = projection_layers.FreeProjection(
                resolution=resolution, width=width, volume_size=volume_size, name="projection"
            )
        else:
            self.projection = projection_layers.CompositeProjection(
                resolution=resolution,
                width=width,
                volume_size=volume_size,
                features=volume_features,
                symmetric=symmetric_volume,
                camera_distance=camera_distance,
                volume_width=volume_width,
                picture_reach=picture_reach,
                volume_height=volume_height,
                name="projection",
            )

    def build(self, input_shape: Sequence[Shape] | None = None) -> None:
        self.mapping.build((None, self.code_size))
        style = (None, self.mapping.units)
        self.volume.build(style)
        self.projection.build([self.volume.output_shape_of_volume(), style, style])
        self.built = True

    def call(self, inputs: Sequence[Tensor], training: bool = False) -> Tensor:
        z1, z2, angles_rad = inputs
        return self.draw(self.make(z1, z2), angles_rad)

    def make(self, z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Everything of the object that no viewpoint changes, to be drawn from many sides.

        Args:
          z1, z2: [batch, code_size].

        Returns:
          tuple of tensors for `draw`, batch first.
        """
        style1, style2 = self.mapping(z1), self.mapping(z2)
        volume = self.volume(style1)
        return self.projection.prepare(volume), style1, style2

    def draw(self, made: Sequence[Tensor], angles_rad: Tensor) -> Tensor:
        """Pictures [batch, r, r, 3] of what `make` returned, seen from angles_rad [batch, 3]."""
        volume, style1, style2 = made
        return ops.cast(self.projection([volume, style1, style2, angles_rad]), "float32")

    def get_config(self) -> dict[str, Any]:
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
            "volume_height": self.volume_height,
        }


@keras.saving.register_keras_serializable("ssv_tf")
class MappingNetwork(keras.layers.Layer):
    """Style code to style: pixel norm, then dense layers with leaky ReLU. [b, n] -> [b, units]."""

    def __init__(self, units: int, depth: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units, self.depth = units, depth
        self.dense = [
            layers.EqualizedDense(units, gain=2**0.5, name=f"dense_{i}") for i in range(depth)
        ]

    def build(self, input_shape: Shape) -> None:
        for dense in self.dense:
            dense.build(input_shape)
            input_shape = (None, self.units)

    def call(self, z: Tensor) -> Tensor:
        x = layers.pixel_norm(ops.cast(z, self.compute_dtype))
        for dense in self.dense:
            x = layers.leaky_relu(dense(x))
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units, "depth": self.depth}


@keras.saving.register_keras_serializable("ssv_tf")
class StyledVolume(keras.layers.Layer):
    """A learned 4^3 constant grown to the volume by 3D blocks with AdaIN. style -> volume."""

    def __init__(self, width: float, volume_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.volume_size = width, volume_size
        self.widths = [layers.scaled(w, width) for w in (*_WIDTHS_3D, _WIDTHS_3D[-1] // 2)]
        self.first_norm = layers.AdaptiveInstanceNorm(self.widths[0], name="first_norm")
        self.blocks = [
            layers.StyledConv(self.widths[i], 3, doubles=True, name=f"block_{_BASE_SIZE << i}")
            for i in range(1, (volume_size // _BASE_SIZE).bit_length())
        ]

    def output_shape_of_volume(self) -> Shape:
        return (None, *(self.volume_size,) * 3, self.widths[len(self.blocks)])

    def build(self, input_shape: Shape) -> None:
        shape: Shape = (1, *(_BASE_SIZE,) * 3, self.widths[0])
        self.constant = self.add_weight(
            shape=shape, initializer=layers.standard_normal, name="constant"
        )
        self.first_norm.build([shape, input_shape])
        for block in self.blocks:
            block.build([shape, input_shape])
            shape = (None, *(2 * n for n in shape[1:4]), block.filters)

    def call(self, style: Tensor) -> Tensor:
        constant = ops.cast(self.constant, style.dtype)
        x = ops.tile(constant, (ops.shape(style)[0], 1, 1, 1, 1))
        x = layers.leaky_relu(self.first_norm([x, style]))
        for block in self.blocks:
            x = block([x, style])
        return x

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "width": self.width, "volume_size": self.volume_size}
