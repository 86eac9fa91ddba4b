"""The parts of a run's settings, each for the component that reads it.

The defaults are those of the recipe that works on photos of an unknown object; a recipe in
`configs/` holds what is special to it. RESULTS.md and docs/notebook tell how they were found.
"""

import dataclasses

from ssv_tf.base.errors import SettingError
from ssv_tf.config import method
from ssv_tf.config.setting import Part, Rule, setting
from ssv_tf.data import read_policy
from ssv_tf.data.framing import CROPS, PADDINGS, Framing

STREAM_FILES = "files"
PRECISIONS = ("auto", "float32", "mixed_bfloat16")


@dataclasses.dataclass(frozen=True)
class Run(Part):
    """How long a run trains, on what, and what it writes."""

    run_dir: str = setting("runs/own", "Folder of the run: options, checkpoints, pictures, models.")
    seed: int = setting(
        0, "Seed of data order, weights, samples and dropout.", low=0, high=2**31 - 1
    )
    steps: int = setting(8000, "Training steps in all (one step trains V, then S).", low=1)
    batch_size: int = setting(
        16, "Pictures a step, over all devices and micro-batches.", low=1, high=4096
    )
    accumulate: int = setting(
        1, "Micro-batches a step whose gradients are averaged.", low=1, high=1024
    )
    init_from: str = setting(
        "", "Run folder or preset whose V and S training starts from (refinement); empty: none."
    )
    precision: str = setting(
        "auto",
        "Compute type; weights stay float32. auto: bfloat16 on a CPU with instructions for it "
        "(AMX, AVX512-BF16), else float32.",
        choices=PRECISIONS,
    )
    devices: str = setting(
        "",
        "Devices of MirroredStrategy, comma-separated (GPU:0,GPU:1); empty: all GPUs or the CPU.",
    )
    deterministic: bool = setting(False, "Bit-exact operations (tf.config op determinism).")
    log_interval: int = setting(50, "Steps between two log lines.", low=1)
    checkpoint_interval: int = setting(500, "Steps between two checkpoints.", low=1)
    evaluation_interval: int = setting(
        500,
        "Steps between two evaluations: turntable picture, health, score on labelled pictures.",
        low=1,
    )

    def check_together(self) -> None:
        if self.batch_size % self.accumulate:
            raise SettingError(
                f"`batch_size={self.batch_size}` is no multiple of `accumulate={self.accumulate}`"
            )
        if (self.batch_size // self.accumulate) % 2:
            raise SettingError(
                f"`batch_size` / `accumulate` must be even, got {self.batch_size} / "
                f"{self.accumulate}"
            )


@dataclasses.dataclass(frozen=True)
class Pictures(Part):
    """Which pictures a run trains on, and which it is scored on meanwhile."""

    data: str = setting(
        "turntable_cars",
        "turntable_cars (embedded), tfds:NAME, a folder of pictures, or records: 'DIR/*.tfrecord'.",
    )
    where: str = setting(
        "", "Pictures of the folder to train on, by a column of --labels: class_id%4!=1."
    )
    labels: str = setting(
        "",
        "CSV for --where and --supervised; empty: labels.csv in the folder. Its angles are read "
        "with --supervised and by nothing else.",
    )
    limit: int = setting(0, "Use at most this many training pictures; 0: all.", low=0)
    bad_pictures: str = setting(
        read_policy.SKIP, read_policy.PICTURES_HELP, choices=read_policy.POLICIES
    )
    bad_rows: str = setting(read_policy.STOP, read_policy.ROWS_HELP, choices=read_policy.POLICIES)
    stream: str = setting(
        "",
        "files: read TFRecord files while training, each worker its own, not into memory; "
        "grpc://HOST:PORT: the same, decoded by that tf.data service.",
    )
    mirror_data: bool = setting(
        True,
        "The mirror image of such an object is such an object: train on mirrored pictures, expect "
        "mirrored viewpoints, make the volume its own mirror image.",
    )
    supervised: bool = setting(
        False, "Train V alone and from labels: what it could do at best, for reference only."
    )
    score_data: str = setting(
        "", "Labelled folder to score on while training; empty: the embedded cars' own, or none."
    )
    score_labels: str = setting("", "CSV of --score_data with angles in degrees.")

    def check_together(self) -> None:
        if self.labels and not (self.supervised or self.where):
            raise SettingError(
                f"`labels={self.labels}` needs `where` or `supervised`: labels train no other run"
            )
        if self.stream and self.stream != STREAM_FILES and "://" not in self.stream:
            raise SettingError(f"`stream={self.stream}`: give {STREAM_FILES} or grpc://HOST:PORT")
        if self.stream and not self.data.endswith(".tfrecord"):
            raise SettingError(f"`stream` reads TFRecord files, not `data={self.data}`")
        if self.stream and (self.supervised or self.limit):
            raise SettingError(
                "`stream` reads all records and no label: no `limit` or `supervised`"
            )


# Tight crops are scaled by their height, which a turn does not change; what lies beside the object
# is blurred, so that the background cannot draw the strip that a box leaves (RESULTS.md).
DEFAULT_FRAMING = Framing(resolution=32, crop="height", canvas_heights=2.4, padding="blur")
FRAMING_RULES = {
    "resolution": Rule(
        DEFAULT_FRAMING.resolution, "Picture side in pixels, a power of two.", choices=(32, 64, 128)
    ),
    "crop": Rule(
        DEFAULT_FRAMING.crop,
        "Scale a picture to the square by its height (tight boxes of different shapes) or by its "
        "longest side (pictures that all show the object at one scale).",
        choices=CROPS,
    ),
    "canvas_heights": Rule(
        DEFAULT_FRAMING.canvas_heights,
        "With --crop=height: side of the square, in heights of the box.",
        low=1.0,
        high=8.0,
    ),
    "padding": Rule(
        DEFAULT_FRAMING.padding, "What fills the square beside the picture.", choices=PADDINGS
    ),
}


@dataclasses.dataclass(frozen=True)
class ViewpointRange(Part):
    """The viewpoints that S draws."""

    azimuth_range_deg: float = setting(
        180.0, "Azimuths drawn: -range to +range, degrees; 180: the full circle.", low=0, high=180
    )
    elevation_min_deg: float = setting(
        0.0, "Lowest elevation drawn, degrees.", low=-90.0, high=90.0
    )
    elevation_max_deg: float = setting(
        30.0, "Highest elevation drawn, degrees.", low=-90.0, high=90.0
    )
    tilt_range_deg: float = setting(
        8.0, "Tilts drawn: -range to +range, degrees.", low=0, high=180.0
    )
    prior_rate: float = setting(
        0.003,
        "Rate at which the drawn viewpoints follow the collection, by V's realness; 0: uniform.",
        low=0.0,
        high=1.0,
    )
    front_share: float = setting(
        0.5,
        "Share of the pictures that show the front half of the object, roughly, as a look at a few "
        "of them tells; where the prior starts (--prior_rate).",
        low=0.2,
        high=0.8,
    )

    @property
    def full_circle(self) -> bool:
        """Whether azimuths go all around."""
        return self.azimuth_range_deg >= 180

    @property
    def low_deg(self) -> tuple[float, float, float]:
        """Lowest azimuth, elevation, tilt."""
        return (-self.azimuth_range_deg, self.elevation_min_deg, -self.tilt_range_deg)

    @property
    def high_deg(self) -> tuple[float, float, float]:
        """Highest azimuth, elevation, tilt."""
        return (self.azimuth_range_deg, self.elevation_max_deg, self.tilt_range_deg)

    def check_together(self) -> None:
        if self.elevation_min_deg > self.elevation_max_deg:
            raise SettingError(
                f"`elevation_min_deg={self.elevation_min_deg}` is above "
                f"`elevation_max_deg={self.elevation_max_deg}`"
            )
        if self.front_share != 0.5 and not (self.full_circle and self.prior_rate):
            raise SettingError(
                f"`front_share={self.front_share}` needs `azimuth_range_deg=180` and `prior_rate` "
                "above 0: it is where a prior of the whole circle starts"
            )


@dataclasses.dataclass(frozen=True)
class Analysis(Part):
    """The analysis network V."""

    analysis_width: float = setting(0.25, "Width of V relative to the paper's.", low=0.03, high=2.0)


@dataclasses.dataclass(frozen=True)
class Synthesis(Part):
    """The synthesis network S, and the object it has room for."""

    synthesis_width: float = setting(
        0.083, "Width of S relative to the paper's.", low=0.03, high=2.0
    )
    volume_size: int = setting(16, "Side of the 3D feature volume, voxels.", choices=(8, 16, 32))
    volume_width: float = setting(
        1.0,
        "Half width of the volume in ball radii; below 1 for what is longer than wide, such as "
        "vehicles.",
        low=0.1,
        high=1.0,
    )
    volume_height: float = setting(
        1.0,
        "Half height of the volume in ball radii; below 1 for what is longer than high.",
        low=0.1,
        high=1.0,
    )
    picture_reach: float = setting(
        1.0,
        "Half width of the picture in ball radii; below 1 where crops cut the object off.",
        low=0.3,
        high=1.5,
    )
    shape_ramp: float = setting(
        0.0,
        "Share of the steps in which S's shapes come to differ: z1 is drawn ever wider, from 0 to "
        "its full width; 0: full width at once.",
        low=0.0,
        high=1.0,
    )


@dataclasses.dataclass(frozen=True)
class Losses(Part):
    """What V and S minimise (SSV section 3; docs/method.md); weight 0 leaves a loss out."""

    objective: str = setting(
        method.COMPOSITE,
        "composite: alpha-composited volume, logistic loss with lazy R1, short mapping network; "
        "paper: the paper's free projection, WGAN-GP, trunk and long mapping network.",
        choices=tuple(method.METHODS),
    )
    gradient_penalty_weight: float = setting(
        0.05, "Gamma of R1 over two, or lambda of WGAN-GP (paper).", low=0.0
    )
    viewpoint_weight: float = setting(0.8, "V: viewpoint consistency.", low=0.0)
    synthesis_viewpoint_weight: float = setting(0.3, "S: viewpoint consistency.", low=0.0)
    image_weight: float = setting(0.4, "V: image consistency through S.", low=0.0)
    perceptual: str = setting(
        "gabor",
        "Frozen features of the image consistency; Keras downloads those of vgg16 and "
        "mobilenet_v2.",
        choices=("gabor", "vgg16", "mobilenet_v2"),
    )


@dataclasses.dataclass(frozen=True)
class Optimizer(Part):
    """Adam's learning rates, constant and then falling to 0 over the last steps."""

    analysis_rate: float = setting(4e-3, "Adam's learning rate of V.", low=1e-8, high=1.0)
    synthesis_rate: float = setting(3e-3, "Adam's learning rate of S.", low=1e-8, high=1.0)
