"""Every setting of a training run: one frozen dataclass, made from absl flags at the door.

Networks, losses and steps get the values they need as arguments and never read a flag.
"""

import dataclasses
import json
import math
import os
from typing import Any

from absl import flags

from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.data import read_policy
from ssv_tf.data.framing import Framing

SELF_SUPERVISED = "self-supervised"
SUPERVISED = "supervised (ceiling, for reference)"


def _setting(default: Any, help_text: str, *, low=None, high=None, choices=None) -> Any:
    metadata = {"help": help_text, "low": low, "high": high, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Options:
    """Settings of a run, saved as options.json in its folder. Units are in the names and helps."""

    # The run.
    run_dir: str = _setting(
        "runs/cars", "Folder of the run: options, checkpoints, pictures, models."
    )
    seed: int = _setting(
        0, "Seed of data order, weights, samples and dropout.", low=0, high=2**31 - 1
    )
    steps: int = _setting(12000, "Training steps in all (one step trains V, then S).", low=1)
    batch_size: int = _setting(
        16, "Pictures a step, over all devices and micro-batches.", low=1, high=4096
    )

    init_from: str = _setting(
        "", "Run folder or preset whose V and S training starts from (refinement); empty: none."
    )

    # The pictures.
    data: str = _setting(
        "turntable_cars",
        "turntable_cars (embedded), tfds:NAME, a folder of pictures, or records: 'DIR/*.tfrecord'.",
    )
    stream: bool = _setting(
        False, "Read TFRecord files while training, each worker its own, not into memory."
    )
    data_service: str = _setting(
        "", "Address of a tf.data service that decodes what --stream reads: grpc://host:port."
    )
    where: str = _setting(
        "", "Pictures of the folder to train on, by a column of --where_table: class_id%4!=1."
    )
    where_table: str = _setting(
        "", "CSV for --where; empty: labels.csv in the folder. Angles in it are not read."
    )
    bad_pictures: str = _setting(
        read_policy.SKIP, read_policy.PICTURES_HELP, choices=read_policy.POLICIES
    )
    bad_rows: str = _setting(read_policy.STOP, read_policy.ROWS_HELP, choices=read_policy.POLICIES)
    limit: int = _setting(0, "Use at most this many training pictures; 0: all.", low=0)
    resolution: int = _setting(32, "Picture side in pixels, a power of two.", choices=(32, 64, 128))
    crop: str = _setting(
        "longest",
        "Scale a picture to the square by its longest side or by its height (for tight boxes).",
        choices=("longest", "height"),
    )
    canvas_heights: float = _setting(
        2.4, "With --crop=height: side of the square, in heights of the box.", low=1.0, high=8.0
    )
    padding: str = _setting(
        "constant",
        "What fills the square beside the picture.",
        choices=("constant", "edge", "reflect", "blur"),
    )
    mirror_data: bool = _setting(True, "Also train on mirrored pictures (a mirrored car is a car).")
    supervised: bool = _setting(
        False, "Train V alone and from labels: what it could do at best, for reference only."
    )
    train_labels: str = _setting(
        "", "CSV of a folder's angles in degrees, read with --supervised and by nothing else."
    )
    score_data: str = _setting(
        "", "Labelled folder to score on while training; empty: the embedded cars' own, or none."
    )
    score_labels: str = _setting("", "CSV of --score_data with angles in degrees.")
    score_where: str = _setting("", "Rows of --score_labels to score on.")
    score_count: int = _setting(400, "Pictures a periodic score uses, at most.", low=20)

    # The viewpoints that S draws.
    azimuth_range_deg: float = _setting(
        180.0, "Azimuths drawn: -range to +range, degrees; 180: the full circle.", low=0, high=180
    )
    elevation_min_deg: float = _setting(
        0.0, "Lowest elevation drawn, degrees.", low=-90.0, high=90.0
    )
    elevation_max_deg: float = _setting(
        30.0, "Highest elevation drawn, degrees.", low=-90.0, high=90.0
    )
    tilt_range_deg: float = _setting(
        8.0, "Tilts drawn: -range to +range, degrees.", low=0, high=180.0
    )

    prior_rate: float = _setting(
        0.0,
        "Rate at which the drawn viewpoints follow the collection, by V's realness; 0: uniform.",
        low=0.0,
        high=1.0,
    )

    front_share: float = _setting(
        0.5,
        "Share of the pictures that show the front half of the object, roughly, as a look at a few "
        "of them tells; where the prior starts (--prior_rate).",
        low=0.2,
        high=0.8,
    )

    # The networks.
    analysis_width: float = _setting(
        0.25, "Width of V relative to the paper's.", low=0.03, high=2.0
    )
    analysis_trunk: str = _setting(
        "paper",
        "paper: full-size convolutions, average pooling, instance norm; strided: convolutions of "
        "stride 2, no norm, half the arithmetic.",
        choices=("paper", "strided"),
    )
    synthesis_width: float = _setting(
        0.125, "Width of S relative to the paper's.", low=0.03, high=2.0
    )
    code_size: int = _setting(64, "Length of each style code z1, z2.", low=2, high=1024)
    mapping_layers: int = _setting(
        8, "Layers of the mapping network from z to style.", low=1, high=16
    )
    volume_size: int = _setting(16, "Side of the 3D feature volume, voxels.", choices=(8, 16, 32))
    projection: str = _setting(
        "composite",
        "free: the paper's folded depth and 1x1 convolution; composite: alpha compositing along "
        "depth over a background drawn from z2.",
        choices=("composite", "free"),
    )
    volume_features: int = _setting(
        5, "Features of a voxel beside its density, with --projection=composite.", low=3, high=256
    )
    symmetric_volume: bool = _setting(
        True, "Make the volume its own left-right mirror image (composite only)."
    )
    camera_distance: float = _setting(
        0.0,
        "Camera distance in ball radii, 0 for parallel rays, else above 1 (composite only).",
        low=0.0,
        high=100.0,
    )
    volume_width: float = _setting(
        1.0,
        "Half width of the volume in ball radii; below 1 for what is longer than wide, such as "
        "vehicles (composite only).",
        low=0.1,
        high=1.0,
    )
    volume_height: float = _setting(
        1.0,
        "Half height of the volume in ball radii; below 1 for what is longer than high "
        "(composite only).",
        low=0.1,
        high=1.0,
    )
    picture_reach: float = _setting(
        1.0,
        "Half width of the picture in ball radii; below 1 where crops cut the object off "
        "(composite only).",
        low=0.3,
        high=1.5,
    )
    dropout: float = _setting(
        0.2, "Dropout in V's hidden layers for the angles.", low=0.0, high=0.9
    )
    shape_ramp: float = _setting(
        0.0,
        "Share of the steps in which S's shapes come to differ: z1 is drawn ever wider, from 0 to "
        "its full width; 0: full width at once.",
        low=0.0,
        high=1.0,
    )

    stretch: bool = _setting(
        True, "Encode narrow ranges of angles stretched over a half circle (V's code)."
    )

    # The losses (SSV section 3; docs/method.md); weight 0 leaves a loss out.
    adversarial: str = _setting(
        "logistic",
        "wgan_gp (the paper's) or logistic (non-saturating with lazy R1).",
        choices=("logistic", "wgan_gp"),
    )
    adversarial_weight: float = _setting(
        1.0,
        "V: real or drawn, with its penalty. At 0 nobody knows what is real, so "
        "--synthesis_adversarial_weight and --prior_rate must be 0 as well.",
        low=0.0,
    )
    synthesis_adversarial_weight: float = _setting(
        1.0, "S: its pictures pass for real ones.", low=0.0
    )
    gradient_penalty_weight: float = _setting(
        10.0, "Lambda of WGAN-GP, or gamma of R1 over two.", low=0.0
    )
    r1_interval: int = _setting(8, "Steps between two R1 penalties (logistic).", low=1)
    drift_weight: float = _setting(0.001, "Weight of squared real scores (wgan_gp).", low=0.0)
    style_weight: float = _setting(0.8, "V: style consistency, mean squared error.", low=0.0)
    viewpoint_weight: float = _setting(0.8, "V: viewpoint consistency.", low=0.0)
    symmetry_weight: float = _setting(0.4, "V: mirrored pictures, mirrored viewpoint.", low=0.0)
    image_weight: float = _setting(0.4, "V: image consistency through S.", low=0.0)
    quadrant_weight: float = _setting(
        0.0, "V: azimuth's quadrant by the best of four drawings (image consistency).", low=0.0
    )
    teacher_weight: float = _setting(
        0.0,
        "V: azimuth's quadrant as V's average tells it of real pictures, where it is sure.",
        low=0.0,
    )
    teacher_from: float = _setting(
        0.4, "Share of the steps after which the average of V teaches.", low=0.0, high=1.0
    )
    teacher_confidence: float = _setting(
        0.8,
        "Probability above which the average of V is sure (--teacher_weight).",
        low=0.25,
        high=1.0,
    )
    synthesis_style_weight: float = _setting(0.8, "S: style consistency.", low=0.0)
    synthesis_viewpoint_weight: float = _setting(0.3, "S: viewpoint consistency.", low=0.0)
    pair_weight: float = _setting(
        0.1, "S: same viewpoint, same prediction; same style, same prediction.", low=0.0
    )
    synthesis_symmetry_weight: float = _setting(
        0.5, "S: mirrored viewpoint, mirrored picture.", low=0.0
    )
    perceptual: str = _setting(
        "gabor",
        "Frozen features of the image consistency.",
        choices=("gabor", "vgg16", "mobilenet_v2"),
    )
    perceptual_weights: str = _setting(
        "", "Local weights file of vgg16 or mobilenet_v2; empty: Keras downloads them."
    )
    augment: float = _setting(
        1.0, "Strength of shift, brightness, contrast and noise on all V sees.", low=0.0, high=4.0
    )

    # The optimizers.
    analysis_rate: float = _setting(1e-3, "Adam's learning rate of V.", low=1e-8, high=1.0)
    synthesis_rate: float = _setting(1e-3, "Adam's learning rate of S.", low=1e-8, high=1.0)
    mapping_rate_ratio: float = _setting(
        0.01, "Learning rate of the mapping network over S's.", low=0.0, high=1.0
    )
    decay_share: float = _setting(
        0.3,
        "Share of the steps, at their end, over which all rates fall to 0 as a cosine.",
        low=0.0,
        high=1.0,
    )
    beta_1: float = _setting(0.0, "Adam's first decay.", low=0.0, high=0.9999)
    beta_2: float = _setting(0.99, "Adam's second decay.", low=0.0, high=0.99999)
    ema_decay: float = _setting(
        0.999, "Decay of the averaged weights of V and S, per step.", low=0.0, high=0.99999
    )
    precision: str = _setting(
        "float32", "Compute type; weights stay float32.", choices=("float32", "mixed_bfloat16")
    )
    xla: bool = _setting(False, "Compile the gradient computation with XLA.")
    accumulate: int = _setting(
        1, "Micro-batches a step whose gradients are averaged.", low=1, high=1024
    )
    devices: str = _setting(
        "",
        "Devices of MirroredStrategy, comma-separated (GPU:0,GPU:1); empty: all GPUs or the CPU.",
    )
    deterministic: bool = _setting(False, "Bit-exact operations (tf.config op determinism).")

    # What is written, and how often.
    log_interval: int = _setting(50, "Steps between two log lines.", low=1)
    picture_interval: int = _setting(500, "Steps between two turntable pictures.", low=1)
    checkpoint_interval: int = _setting(500, "Steps between two checkpoints.", low=1)
    score_interval: int = _setting(500, "Steps between two scores on labelled pictures.", low=1)
    keep: int = _setting(3, "Checkpoints kept.", low=1)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check_setting(field, getattr(self, field.name))
        if self.elevation_min_deg > self.elevation_max_deg:
            raise FlagError(
                f"--elevation_min_deg={self.elevation_min_deg} is above "
                f"--elevation_max_deg={self.elevation_max_deg}"
            )
        if 0 < self.camera_distance <= 1:
            raise FlagError(
                f"--camera_distance must be 0 or above 1, got {self.camera_distance}: "
                "the camera would be in the object"
            )
        if self.batch_size % self.accumulate:
            raise FlagError(
                f"--batch_size={self.batch_size} is no multiple of --accumulate={self.accumulate}"
            )
        if (self.batch_size // self.accumulate) % 2:
            raise FlagError(
                f"--batch_size / --accumulate must be even, got {self.batch_size} / "
                f"{self.accumulate}"
            )

        if self.init_from and self.supervised:
            raise FlagError(
                f"--init_from={self.init_from} and --supervised do not go together; begin anew "
                "with --init_from="
            )
        self._check_teaching()
        if self.front_share != 0.5 and (self.azimuth_range_deg < 180 or not self.prior_rate):
            raise FlagError(
                f"--front_share={self.front_share} needs --azimuth_range_deg=180 and --prior_rate "
                "above 0: it is where a prior of the whole circle starts"
            )
        self._check_stream()

    def _check_stream(self):
        if self.data_service and not self.stream:
            raise FlagError(f"--data_service={self.data_service} needs --stream")
        if self.stream and not self.data.endswith(".tfrecord"):
            raise FlagError(f"--stream reads TFRecord files, not --data={self.data}")
        if self.stream and (self.supervised or self.limit):
            raise FlagError("--stream reads all records and no label: no --limit or --supervised")

    def _check_teaching(self):
        if self.train_labels and not self.supervised:
            raise FlagError(
                f"--train_labels={self.train_labels} needs --supervised: labels train no other run"
            )
        if self.adversarial_weight:
            return
        for name in ("synthesis_adversarial_weight", "prior_rate"):
            if getattr(self, name):
                raise FlagError(
                    f"--{name}={getattr(self, name)} needs --adversarial_weight above 0: it would "
                    "follow a realness that V never learns"
                )

    @property
    def framing(self) -> Framing:
        """How a picture becomes the square that the networks see."""
        return Framing(self.resolution, self.crop, self.canvas_heights, self.padding)

    @property
    def training(self) -> str:
        """How V is taught, in words for whoever reads a score."""
        return SUPERVISED if self.supervised else SELF_SUPERVISED

    def to_json(self) -> str:
        """The settings as JSON text, one per line."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def _check_setting(field: dataclasses.Field, value: Any) -> None:
    wanted: Any = field.type
    rule = field.metadata
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if type(value) is not wanted:
        raise FlagError(f"--{field.name} must be {wanted.__name__}, got {value!r}")
    if isinstance(value, float) and not math.isfinite(value):
        raise FlagError(f"--{field.name} must be finite, got {value}")
    if rule["choices"] and value not in rule["choices"]:
        raise FlagError(f"--{field.name} must be one of {rule['choices']}, got {value!r}")
    if rule["low"] is not None and value < rule["low"]:
        raise FlagError(f"--{field.name} must be at least {rule['low']}, got {value}")
    if rule["high"] is not None and value > rule["high"]:
        raise FlagError(f"--{field.name} must be at most {rule['high']}, got {value}")


def from_json(text: str, source: str = "options.json") -> Options:
    """Options from the text of an options.json.

    Raises:
      UserError: not JSON, an unknown or a wrong setting; names `source`.
    """
    try:
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        known = {field.name for field in dataclasses.fields(Options)}
        unknown = sorted(set(values) - known)
    except (ValueError, TypeError, RecursionError) as error:
        raise UserError(f"{source} is not an options file: {error}") from error
    if unknown:
        raise UserError(f"{source} has settings this version does not know: {', '.join(unknown)}")
    try:
        return Options(**values)
    except FlagError as error:
        raise UserError(f"{source}: {error}") from error


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Registers one absl flag for each setting in `values`, its unit and range in the help."""
    for field in dataclasses.fields(Options):
        text, rule = field.metadata["help"], field.metadata
        default: Any = field.default
        if rule["choices"] and isinstance(default, str):
            flags.DEFINE_enum(field.name, default, list(rule["choices"]), text, flag_values=values)
        elif field.type is bool:
            flags.DEFINE_bool(field.name, default, text, flag_values=values)
        elif field.type is int:
            flags.DEFINE_integer(field.name, default, text + _range_text(rule), flag_values=values)
        elif field.type is float:
            flags.DEFINE_float(field.name, default, text + _range_text(rule), flag_values=values)
        else:
            flags.DEFINE_string(field.name, default, text, flag_values=values)


def _range_text(rule) -> str:
    if rule["choices"]:
        return f" One of {', '.join(map(str, rule['choices']))}."
    low, high = rule["low"], rule["high"]
    if low is None and high is None:
        return ""
    if high is None:
        return f" At least {low}."
    return f" {low} to {high}."


def from_flags(values=None) -> Options:
    """The parsed flags as Options.

    Raises:
      FlagError: a value outside its range.
    """
    values = values or flags.FLAGS
    return Options(
        **{field.name: values[field.name].value for field in dataclasses.fields(Options)}
    )


def from_flag_file(path: str | os.PathLike, *words: str) -> Options:
    """The settings of a flag file and of flags given after it; the process's own stay untouched.

    Raises:
      FlagError: no such file, or a flag or value that is none; names `path`.
    """
    if not os.path.isfile(path):
        raise FlagError(f"no such flag file: {path}")
    values = flags.FlagValues()
    define_flags(values)
    try:
        values(["train", f"--flagfile={os.fspath(path)}", *words])
        return from_flags(values)
    except (flags.Error, FlagError) as error:
        raise FlagError(f"{path}: {error}") from error
