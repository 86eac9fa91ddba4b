"""A run and the labelled pictures to judge it by, as `calibrate` and `evaluate` ask for them."""

import dataclasses
import functools
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags

from ssv_tf import config
from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import conventions, forms, read_policy, sources
from ssv_tf.data.collection import PictureSet
from ssv_tf.data.framing import Framing
from ssv_tf.evaluation import overlap
from ssv_tf.models import inference
from ssv_tf.models.decoding import RawPrediction

# uint8 [pictures, R, R, 3] -> what V says of them, as `inference.predict`.
Predict = Callable[[np.ndarray], RawPrediction]
# The flags of `define_flags`, or an object with attributes of their names.
Values = flags.FlagValues | types.SimpleNamespace


@dataclasses.dataclass(frozen=True)
class Split:
    """Pictures with angles, drawn so that none is both fitted and scored.

    Attributes:
      calibration: pictures to calibrate on, or None.
      test: pictures to score.
      known_deg: [others, 3], angles the baselines may know.
      known_from: in words, where `known_deg` comes from.
      seen_in_training: how many of the scored pictures trained the run; None: not known.
    """

    calibration: PictureSet | None
    test: PictureSet
    known_deg: np.ndarray
    known_from: str
    seen_in_training: int | None = None


def define_flags() -> None:
    """Registers the flags that name a run and labelled pictures."""
    flags.DEFINE_string("run", "", "Folder of a trained run.")
    flags.DEFINE_string("preset", "", "Name of a run that came with the package.")
    flags.DEFINE_string(
        "data_dir", "", "Folder of labelled pictures; empty: the run's own embedded cars."
    )
    flags.DEFINE_string(
        "labels",
        "",
        "CSV of --data_dir's angles, or some of them; azimuths may be front_left, ...",
    )
    flags.DEFINE_string("where", "", "Rows of --labels to use, such as class_id%4==1; empty: all.")
    flags.DEFINE_string(
        "columns", "", "Other names of --labels' columns, such as azimuth=yaw,file=image."
    )
    flags.DEFINE_string(
        "convention",
        "",
        "How --labels' angles count, where not as the project's; words separated by commas: "
        + "; ".join(f"{word}: {meaning}" for word, meaning in conventions.WORDS.items())
        + ".",
    )
    flags.DEFINE_float(
        "label_tolerance_deg",
        None,
        "How far a true azimuth may be from its label without an error; empty: half a class of "
        "azimuths in words, 0 of numbers. Eight steps of 45 degrees: 22.5.",
    )
    read_policy.define_flags()
    flags.DEFINE_integer("seed", 0, "Seed that draws the calibration pictures.", lower_bound=0)


def check_flags(argv: Sequence[str], values: flags.FlagValues) -> None:
    """Raises SettingError where words are left over or the flags of the pictures do not fit."""
    if len(argv) > 1:
        raise SettingError(f"only flags are taken, got {' '.join(argv[1:])}")
    if bool(values.data_dir) != bool(values.labels):
        raise SettingError("give `data_dir` and `labels` together, or neither")
    if values.where and not values.labels:
        raise SettingError("`where` needs `labels`, the CSV whose rows it picks")
    if not values.labels:
        for name in ("columns", "convention", "label_tolerance_deg"):
            if values[name].value not in ("", None):
                raise SettingError(f"`{name}` needs `labels`, the CSV that it is about")
    form_of(values)


def form_of(values: Values) -> forms.Form:
    """The form of --labels; SettingError where a flag cannot be read."""
    return forms.parse(values.columns, values.convention, values.label_tolerance_deg)


def predictor(network: Any) -> Predict:
    """Uncalibrated predictions of an AnalysisNetwork or StudentNetwork."""
    return functools.partial(inference.predict, network)


def folder_pictures(framing: Framing, values: Values, form: forms.Form = forms.PLAIN) -> PictureSet:
    """The labelled pictures of --data_dir, framed as the run's training pictures were."""
    pictures = sources.load_collection(
        values.data_dir,
        labels=values.labels,
        where=values.where or None,
        labelled_only=True,
        bad_pictures=values.bad_pictures,
        bad_rows=values.bad_rows,
        form=form,
        **framing.to_dict(),
    )
    return pictures.labelled()


def embedded_pictures(options: config.Options, split: str) -> PictureSet:
    """A split of the embedded cars, for a run that was trained on them.

    Raises:
      SettingError: the run was trained on something else.
    """
    if options.pictures.data != sources.EMBEDDED:
        raise SettingError(
            f"the run was trained on {options.pictures.data}, which brings no labels; "
            "give `data_dir` and `labels`"
        )
    return sources.load_collection(sources.EMBEDDED, split=split, **options.framing.to_dict())


def set_pictures(options: config.Options, spec: str, split: str) -> PictureSet:
    """The pictures of a TFDS set with angles, cropped as the run's training pictures were."""
    return sources.load_collection(spec, split=split, **options.framing.to_dict()).labelled()


def angles_deg(pictures: PictureSet) -> np.ndarray:
    """Angles [pictures, 3] of pictures that all have a label; NaN where one is not known."""
    if pictures.angles_deg is None or not pictures.has_label.all():
        raise UserError(f"{len(pictures) - int(pictures.has_label.sum())} pictures have no label")
    return pictures.angles_deg


def draw(pictures: PictureSet, count: int, seed: int) -> tuple[PictureSet, PictureSet]:
    """`count` pictures drawn by `seed`, and the rest; fewer where there are fewer."""
    drawn, rest = draw_indices(len(pictures), count, seed)
    return pictures.subset(drawn), pictures.subset(rest)


def draw_indices(total: int, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of `count` out of `total` drawn by `seed`, and of the rest, both sorted."""
    order = np.random.default_rng(seed).permutation(total)
    return np.sort(order[:count]), np.sort(order[count:])


def load_split(options: config.Options, values: Values) -> Split:
    """Calibration and test pictures as the flags say (`values.calibrate_on` may be 0).

    Raises:
      UserError: no picture would be left to score.
    """
    count = values.calibrate_on
    if not values.data_dir:
        drawn, _ = draw(
            embedded_pictures(options, "calibration"), count or _ALL_EMBEDDED, values.seed
        )
        test = embedded_pictures(options, "test")
        known_from = "the calibration split"
        # The splits are of different cars.
        return Split(drawn if count else None, test, angles_deg(drawn), known_from, 0)
    pictures = folder_pictures(options.framing, values, form_of(values))
    split = split_pictures(pictures, count, values.seed, values.data_dir)
    seen = overlap.in_training(values.data_dir, split.test.names, options.pictures.data)
    return dataclasses.replace(split, seen_in_training=seen)


def split_pictures(pictures: PictureSet, count: int, seed: int, source: str) -> Split:
    """`count` pictures to calibrate on, drawn by `seed`, and the rest to score.

    Raises:
      UserError: no picture would be left to score.
    """
    if not count:
        return Split(None, pictures, angles_deg(pictures), "the test pictures themselves")
    drawn, test = draw(pictures, count, seed)
    if not len(test):
        raise UserError(
            f"{source} has {len(pictures)} labelled pictures, none is left to score "
            f"after `calibrate_on={count}`"
        )
    return Split(drawn, test, angles_deg(drawn), "the calibration pictures")


_ALL_EMBEDDED = sources.EMBEDDED_COUNTS["calibration"]
