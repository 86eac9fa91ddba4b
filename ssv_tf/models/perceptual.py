"""Frozen features phi of the image consistency loss (SSV equation 5). Backend-neutral.

`perceptual_features(name, resolution)` gives a callable, pictures [b, r, r, 3] in [-1, 1] ->
[b, n]. Its vector is made of blocks (a scale of the Gabor bank, a layer of a network), each of
about unit length, so that the cosine of two vectors is the mean of the blocks' cosines and no
block counts for more because it has more entries.
"""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ssv_tf.base.backend import keras, ops
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.base.types import Tensor
from ssv_tf.data import framing

_LUMINANCE = (0.299, 0.587, 0.114)
# Red against green, blue against yellow, and the luminance itself, as columns.
_OPPONENTS = np.array([[1.0, -0.5, 0.299], [-1.0, -0.5, 0.587], [0.0, 1.0, 0.114]], "float32")
_MAGNITUDE_FLOOR = 1e-2  # keeps the magnitude's slope finite where nothing is seen
_CONTRAST_FLOOR = 0.1  # contrast, of 1 at most, below which edges fade instead of being lifted
_BLOCK_FLOOR = 0.02  # root mean square below which a block fades instead of being lifted


def perceptual_features(
    name: str, resolution: int, weights: str | None = None
) -> "GaborFeatures | BackboneFeatures":
    """The frozen features called `name`.

    Args:
      name: "gabor" (built in), "vgg16" or "mobilenet_v2".
      resolution: side of the pictures.
      weights: for the two networks a local Keras weights file without the classifier; None or
        "" lets Keras download the ImageNet weights.

    Returns:
      a frozen layer or model, [b, r, r, 3] in [-1, 1] -> [b, n], float32.

    Raises:
      SettingError: unknown name, or weights given for "gabor".
      UserError: the weights cannot be downloaded or read, or fit another network.
    """
    if name == "gabor":
        if weights:
            raise SettingError(f"weights {weights}: gabor has none")
        return GaborFeatures(resolution)
    if name not in _BACKBONES:
        known = ", ".join(("gabor", *_BACKBONES))
        raise SettingError(f"`perceptual` must be one of {known}, got {name!r}")
    model = BackboneFeatures(name, resolution)
    model.load(weights)
    return model


# --- The built-in bank -----------------------------------------------------------------------


@keras.saving.register_keras_serializable("ssv_tf")
class GaborFeatures(keras.layers.Layer):
    """A fixed multi-scale bank of Gabor filters, as simple and complex cells (Daugman 1985).

    The luminance is halved by average pooling down to 8 pixels. On each scale pairs of even and
    odd filters give the edge energy of each orientation, which is divided by the energy around
    it (Heeger 1992), pooled 2 x 2, and taken relative to its mean over the picture. A last block
    holds blurred colour: red-green, blue-yellow and luminance on an 8 x 8 grid.

    At 32 px: [b, 32, 32, 3] -> [b, 2880] in 1.8 MMAC a picture.

    Args:
      resolution: side of the picture, a power of two from 16.
      orientations: filters' directions, spread over half a turn.
      wavelength: of the filters on each scale's own grid, pixels.
    """

    def __init__(
        self, resolution: int = 32, orientations: int = 8, wavelength: float = 4.0, **kwargs: Any
    ) -> None:
        kwargs = {"name": "gabor", "trainable": False, **kwargs, "dtype": "float32"}
        super().__init__(**kwargs)
        if resolution < 16 or resolution & (resolution - 1):
            raise ValueError(f"resolution must be a power of two from 16, got {resolution}")
        self.resolution, self.orientations = resolution, orientations
        self.wavelength = wavelength
        self.scales = resolution.bit_length() - 3  # down to 8 x 8
        self._kernels = gabor_kernels(orientations, wavelength)

    def call(self, images: Tensor) -> Tensor:
        colours = ops.matmul(ops.cast(images, "float32"), ops.convert_to_tensor(_OPPONENTS))
        blocks = [_block(m) for m in self._edges(colours[..., 2:])]
        blurred = _pool(colours, self.resolution // 8)  # [b, 8, 8, 3]
        luminance = blurred[..., 2:] - ops.mean(blurred[..., 2:], axis=(1, 2), keepdims=True)
        blocks.append(_block(ops.concatenate([blurred[..., :2], luminance], axis=-1)))
        return ops.concatenate(blocks, axis=-1)

    def magnitudes(self, images: Tensor) -> list[Tensor]:
        """Edge energy per scale before normalisation: list of [b, r / 2^i, r / 2^i, orientations].

        A grating of amplitude 1, of the filters' wavelength and orientation, gives about 1.
        """
        luminance = ops.convert_to_tensor(np.array(_LUMINANCE, "float32"))
        return self._magnitudes(ops.sum(images * luminance, axis=-1, keepdims=True))

    def _edges(self, luminance: Tensor) -> Iterator[Tensor]:
        for energy in self._magnitudes(luminance):
            edges = _pool(_contrast_normalised(energy), 2)
            yield edges - ops.mean(edges, axis=(1, 2), keepdims=True)

    def _magnitudes(self, luminance: Tensor) -> list[Tensor]:
        kernels, magnitudes = ops.convert_to_tensor(self._kernels), []
        for scale in range(self.scales):
            if scale:
                luminance = _pool(luminance, 2)
            # Reflected borders, so that the end of the picture is no edge.
            pair = ops.conv(_reflected(luminance, kernels.shape[0] // 2), kernels)
            even, odd = ops.split(pair, 2, axis=-1)
            energy = ops.square(even) + ops.square(odd) + _MAGNITUDE_FLOOR**2
            magnitudes.append(ops.sqrt(energy) - _MAGNITUDE_FLOOR)
        return magnitudes

    def get_config(self) -> dict[str, Any]:
        config = {
            name: getattr(self, name) for name in ("resolution", "orientations", "wavelength")
        }
        return {**super().get_config(), **config}


def gabor_kernels(orientations: int, wavelength: float) -> np.ndarray:
    """Even and odd Gabor filters without response to a constant.

    Args:
      orientations: direction i of brightness change is i / orientations of half a turn, from the
        image's x axis towards its rows.
      wavelength: pixels; the envelope's standard deviation is 0.4 of it.

    Returns:
      float32 [side, side, 1, 2 * orientations], the even filters first. A grating of amplitude 1
      that fits a pair gives the magnitude 1.
    """
    half = int(np.ceil(0.8 * wavelength))
    y, x = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    envelope = np.exp(-(x**2 + y**2) / (2 * (0.4 * wavelength) ** 2))
    angle = np.arange(orientations) * np.pi / orientations
    along = x[..., None] * np.cos(angle) + y[..., None] * np.sin(angle)
    phase = 2 * np.pi * along / wavelength
    even, odd = (envelope[..., None] * wave for wave in (np.cos(phase), np.sin(phase)))
    even = even - envelope[..., None] * even.sum((0, 1)) / envelope.sum()
    # The odd filter's answer to its own grating is the pair's magnitude there.
    even = even / (even * np.cos(phase)).sum((0, 1))
    odd = odd / (odd * np.sin(phase)).sum((0, 1))
    return np.concatenate([even, odd], axis=-1)[:, :, None].astype("float32")


def _contrast_normalised(energy: Tensor) -> Tensor:
    """Energy over the root mean square of all orientations in the 5 x 5 pixels around it."""
    around = ops.mean(ops.square(energy), axis=-1, keepdims=True)
    around = ops.average_pool(_reflected(around, 2), 5, strides=1)
    return energy / ops.sqrt(around + _CONTRAST_FLOOR**2)


def _pool(maps: Tensor, factor: int) -> Tensor:
    return ops.average_pool(maps, factor, strides=factor) if factor > 1 else maps


def _reflected(maps: Tensor, border: int) -> Tensor:
    return ops.pad(maps, [[0, 0], [border, border], [border, border], [0, 0]], mode="reflect")


def _block(maps: Tensor) -> Tensor:
    """[b, ...] -> [b, n] of unit length, or less where there is next to nothing."""
    size = int(np.prod(maps.shape[1:]))
    flat = ops.reshape(maps, (-1, size))
    square = ops.sum(ops.square(flat), axis=-1, keepdims=True)
    return flat * ops.rsqrt(square + size * _BLOCK_FLOOR**2)


# --- Networks of keras.applications ----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Backbone:
    build: Callable
    preprocess: Callable  # pictures in [0, 255] -> what the network was trained on
    layers: tuple[str, ...]
    file: str  # what Keras calls the ImageNet weights without the classifier


_BACKBONES = {
    "vgg16": _Backbone(
        keras.applications.VGG16,
        keras.applications.vgg16.preprocess_input,  # BGR, each channel's mean taken off
        ("block2_conv2", "block3_conv3", "block4_conv3"),
        "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    "mobilenet_v2": _Backbone(
        keras.applications.MobileNetV2,
        keras.applications.mobilenet_v2.preprocess_input,  # back to [-1, 1]
        ("block_1_project_BN", "block_3_project_BN", "block_6_project_BN"),
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5",
    ),
}


@keras.saving.register_keras_serializable("ssv_tf")
class BackboneFeatures(keras.Model):
    """Feature layers of an ImageNet network: [b, r, r, 3] in [-1, 1] -> [b, n].

    Weights are random until `load` is called. Always runs in inference mode and float32.

    Args:
      backbone: "vgg16" or "mobilenet_v2".
      resolution: side of the picture, from 32.
    """

    def __init__(self, backbone: str = "vgg16", resolution: int = 32, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.backbone, self.resolution = backbone, resolution
        self._description = _BACKBONES[backbone]
        with _float32_policy():
            self.network = self._description.build(
                include_top=False, weights=None, input_shape=(resolution, resolution, 3)
            )
        outputs = [self.network.get_layer(name).output for name in self._description.layers]
        self.maps = keras.Model(self.network.input, outputs)
        self.trainable = False
        self.built = True

    def load(self, weights: str | None) -> None:
        """Loads a local weights file, or the downloaded ImageNet weights where it is empty.

        Raises:
          UserError: no download, no such file, or a file of another network.
        """
        if weights:
            self._load_file(weights)
            return
        try:
            with _float32_policy(), warnings.catch_warnings():
                # MobileNetV2 says that its weights were trained at 224 px; they fit any side.
                warnings.filterwarnings("ignore", message=".*input_shape.*", category=UserWarning)
                trained = self._description.build(
                    include_top=False, weights="imagenet", input_shape=self.network.input_shape[1:]
                )
        except Exception as error:  # Keras raises a bare Exception where a download fails
            raise UserError(
                f"`perceptual={self.backbone}` could not download its ImageNet weights "
                f"({_first_line(error)}); put the file {self._description.file} into Keras's "
                "folder of models (~/.keras/models), or use `perceptual=gabor`"
            ) from error
        self.network.set_weights(trained.get_weights())

    def _load_file(self, path: str) -> None:
        if not path.endswith((".h5", ".keras")):
            raise UserError(f"weights {path} must end in .h5 or .keras")
        try:
            with warnings.catch_warnings():
                # Keras only warns where a file lacks a layer, which then stays random.
                warnings.filterwarnings("error", message="Skipping", category=UserWarning)
                self.network.load_weights(path)
        except FileNotFoundError as error:
            raise UserError(f"weights {path}: no such file") from error
        except (ValueError, OSError, KeyError, UserWarning) as error:
            raise UserError(
                f"weights {path} do not fit {self.backbone} without its classifier "
                f"({self._description.file}): {_first_line(error)}"
            ) from error

    def call(self, images: Tensor) -> Tensor:
        pixels = framing.denormalise(ops.cast(images, "float32"))
        maps = self.maps(self._description.preprocess(pixels), training=False)
        return ops.concatenate([_block(m) for m in maps], axis=-1)

    def get_config(self) -> dict[str, Any]:
        config = {"backbone": self.backbone, "resolution": self.resolution}
        return {**super().get_config(), **config}


@contextlib.contextmanager
def _float32_policy() -> Iterator[None]:
    """Makes keras.applications build in float32 under any global policy."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(policy)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
