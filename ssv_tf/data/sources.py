"""Where pictures come from: the embedded cars, a TFDS set or a folder, by one name."""

import hashlib
import importlib
import os
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import logging

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import labels as labels_table
from ssv_tf.data import read_policy, records
from ssv_tf.data.collection import PictureSet
from ssv_tf.data.folder import BadPicture, load_folder
from ssv_tf.data.framing import Framing
from ssv_tf.data.names import examples

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

EMBEDDED = "turntable_cars"
EMBEDDED_COUNTS = {"train": 10_000, "calibration": 200, "test": 1_000}
TFDS_PREFIX = "tfds:"
# Published sets whose builders are in `ssv_tf.data`.
PUBLISHED = (
    "the300w_lp_viewpoint",
    "aflw2000_3d",
    "biwi_kinect_head_pose",
    "pascal3d_plus",
    "comp_cars",
    "open_images_crops",
)
_FILENAME_FEATURES = ("filename", "image/filename", "file_name", "name")


def load_collection(
    spec: str | os.PathLike,
    *,
    resolution: int,
    split: str = "train",
    crop: str = "longest",
    canvas_heights: float = 2.4,
    padding: str = "constant",
    labels: str | os.PathLike | None = None,
    where: str | None = None,
    where_table: str | os.PathLike | None = None,
    labelled_only: bool = False,
    limit: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    bad_pictures: str = read_policy.SKIP,
    bad_rows: str = read_policy.STOP,
    form: labels_table.Form = labels_table.PLAIN,
) -> PictureSet:
    """Loads a collection of pictures, all of one size, into memory.

    Args:
      spec: "turntable_cars", "tfds:NAME[/CONFIG]", a folder of pictures or a glob of TFRecord
        files (`records.load_records`).
      resolution: side R of the pictures in pixels.
      split: of the embedded cars (train, calibration, test) or the TFDS set; a folder has none.
      crop: how a picture fits its square, see `framing.Framing`.
      canvas_heights: see `framing.Framing`.
      padding: see `framing.Framing`.
      labels: CSV of a folder's angles (`labels.read_labels`). The other sources bring their own.
      where: condition that chooses a folder's pictures by a column of a table
        (`labels.parse_condition`); it reads no angle.
      where_table: that table; None: `labels`, else labels.csv in the folder.
      labelled_only: reads only the pictures of a folder that `labels` gives angles for.
      limit: at most this many; a folder's or TFDS set's are drawn by `seed`. None: all.
      seed: of the draw; for the embedded cars, which cars are rendered.
      workers: threads or processes; None: one a core.
      bad_pictures: "skip" pictures that cannot be read (each is named in the log, and counted), or
        "stop" at the first.
      bad_rows: the same for rows of `labels` and `where_table`, see `labels.read_labels`.
      form: how `labels` gives its angles.

    Returns:
      a PictureSet; its `angles_deg` is None where nothing gives angles.

    Raises:
      UserError: no such source, split or table, or nothing usable in it.
      SettingError: options that do not go together.
    """
    spec = os.fspath(spec)
    _check_limit(limit)
    read_policy.check_policy(bad_pictures)
    if records.is_records(spec):
        if labels or where or labelled_only:
            raise SettingError(f"{spec} brings no angles and no table; these are for folders")
        framing = Framing(resolution, crop, canvas_heights, padding)
        return records.load_records(spec, framing, limit, bad_pictures)
    if spec == EMBEDDED or spec.startswith(TFDS_PREFIX):
        if labels or where or labelled_only:
            raise SettingError(f"{spec} brings its own angles; labels and where are for folders")
        if spec == EMBEDDED:
            return _load_embedded(resolution, split, limit, seed, workers)
        framing = Framing(resolution, crop, canvas_heights, padding)
        name = spec.removeprefix(TFDS_PREFIX)
        return _load_tfds(name, split, framing, limit, seed, bad_pictures)
    if not os.path.isdir(spec):
        raise UserError(f"{spec} is no folder; give a folder, {EMBEDDED} or {TFDS_PREFIX}NAME")
    of_labels = None if where_table else where
    table = labels_table.read_table(labels, of_labels, bad_rows, form) if labels else None
    of_where = labels_table.PLAIN if where_table else form
    only = selected_names(spec, where, where_table or labels, bad_rows, of_where)
    if labelled_only:
        if table is None:
            raise SettingError("labelled_only needs labels")
        if not table.angles_deg:
            raise UserError(f"{labels} has no row with angles to use")
        only = set(table.angles_deg) if only is None else set(table.angles_deg) & only
    pictures = load_folder(
        spec, resolution, crop, canvas_heights, padding, limit, seed, workers, only, bad_pictures
    )
    return pictures if table is None else _with_labels(pictures, table, spec, labels)


def _check_limit(limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise SettingError(f"limit is at least 1, not {limit}")


def selected_names(
    folder: str | os.PathLike,
    where: str | None,
    table: str | os.PathLike | None = None,
    bad_rows: str = read_policy.STOP,
    form: labels_table.Form = labels_table.PLAIN,
) -> set[str] | None:
    """Filenames that a condition chooses; no angle is read.

    Args:
      folder: of pictures.
      where: condition on a column of the table (`labels.parse_condition`); empty: all pictures.
      table: CSV; None: labels.csv in the folder.
      bad_rows: see `labels.read_labels`.
      form: names the table's column of filenames.

    Returns:
      the names, or None for all pictures.

    Raises:
      UserError: it chooses none, or the table cannot be read.
    """
    if not where:
        return None
    table = table or os.path.join(folder, "labels.csv")
    selected = labels_table.select_filenames(table, where, bad_rows, form)
    if not selected:
        raise UserError(f"{where} chooses no row of {table}")
    return selected


def _with_labels(
    pictures: PictureSet,
    table: labels_table.Labels,
    spec: str,
    path: str | os.PathLike | None,
) -> PictureSet:
    if not table.angles_deg:
        raise UserError(f"{path} has no row with angles to use")
    known = pictures.with_labels(table.angles_deg, spec, table.tolerance_deg)
    if not known.has_label.any():
        raise UserError(
            f"no filename of {path} is a picture below {spec} (the table has "
            f"{examples(table.angles_deg)}; the folder has {examples(pictures.names)})"
        )
    return known


def _load_embedded(
    resolution: int, split: str, limit: int | None, seed: int, workers: int | None
) -> PictureSet:
    if split not in EMBEDDED_COUNTS:
        raise UserError(f"{EMBEDDED} has the splits {', '.join(EMBEDDED_COUNTS)}, not {split!r}")
    from ssv_tf.data import turntable_cars

    count = limit or EMBEDDED_COUNTS[split]
    key = (
        f"{EMBEDDED}-{_renderer_version(turntable_cars)}-{split}-{resolution}px-{count}-seed{seed}"
    )
    path = _cache_folder() / f"{key}.npz"
    rendered = _read_cache(path, count, resolution)
    if rendered is None:
        logging.info("rendering %d cars of %d px", count, resolution)
        images, angles, shapes = turntable_cars.render_collection(
            count, resolution, split, seed, workers
        )
        rendered = {"images": images, "angles_deg": angles, "shapes": np.array(shapes, str)}
        _write_cache(path, rendered)
    names = [f"{split}/{index:05d}-{shape}" for index, shape in enumerate(rendered["shapes"])]
    return PictureSet(names, rendered["images"], rendered["angles_deg"].astype(np.float32))


def _renderer_version(package: Any) -> str:
    """The package's VERSION, else a digest of its code: a changed renderer leaves no old cars."""
    if version := getattr(package, "VERSION", None):
        return str(version)
    sources = sorted(Path(package.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]


def _cache_folder() -> Path:
    return Path(os.environ.get("SSV_TF_CACHE") or "~/.cache/ssv_tf").expanduser()


def _read_cache(path: Path, count: int, resolution: int) -> dict[str, np.ndarray] | None:
    """The rendered set at `path`; None where there is none, or it is damaged."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("images", "angles_deg", "shapes")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("%s cannot be read and is made anew: %s", path, error)
        return None
    expected = {
        "images": (count, resolution, resolution, 3),
        "angles_deg": (count, 3),
        "shapes": (count,),
    }
    if any(arrays[name].shape != shape for name, shape in expected.items()):
        logging.warning("%s holds another set and is made anew", path)
        return None
    return arrays


def _write_cache(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes beside `path`, then renames; a cache that cannot be written only costs time."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)
        os.replace(temporary, path)
    except OSError as error:
        logging.warning("cannot keep the rendered cars in %s: %s", path, error.strerror)
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def _load_tfds(
    name: str,
    split: str,
    framing: Framing,
    limit: int | None,
    seed: int,
    bad_pictures: str,
) -> PictureSet:
    builder = _prepared_builder(name)
    if split.split("[")[0] not in builder.info.splits:
        raise UserError(
            f"{TFDS_PREFIX}{name} has the splits {', '.join(builder.info.splits)}, not {split!r}"
        )
    image_key = _image_feature(builder, name)
    features = builder.info.features
    has_angles = all(column in features for column in labels_table.ANGLE_COLUMNS)
    filename_key = next((key for key in _FILENAME_FEATURES if key in features), None)
    images, names, angles, skipped = [], [], [], []
    for index, example in _chosen_examples(builder, split, image_key, limit, seed):
        filename = example[filename_key].decode() if filename_key else f"{split}/{index:05d}"
        try:
            images.append(framing.read(example[image_key]))
        except BadPicture as error:
            if bad_pictures == read_policy.STOP:
                read_policy.stop_at(filename, str(error))
            skipped.append((filename, str(error)))
            continue
        names.append(filename)
        if has_angles:
            angles.append([example[column] for column in labels_table.ANGLE_COLUMNS])
    read_policy.report_skipped(skipped, f"{TFDS_PREFIX}{name}", len(names))
    angles_deg = np.array(angles, np.float32) if has_angles else None
    return PictureSet(names, np.stack(images), angles_deg, skipped)


def find_builder(name: str, **options: Any) -> "tfds.core.DatasetBuilder":
    """The TFDS builder of a set, of ours or any other; not prepared.

    Raises:
      UserError: there is none.
    """
    import tensorflow_datasets as tfds

    package = name.split("/")[0].split(":")[0]
    if package in (EMBEDDED, *PUBLISHED):
        # Importing a builder's module is what makes its name known to TFDS.
        importlib.import_module(f"ssv_tf.data.{package}.{package}_dataset_builder")
    try:
        return tfds.builder(name, **options)
    except Exception as error:  # a wrong name, version or configuration each raise their own
        raise UserError(f"{TFDS_PREFIX}{name} cannot be found: {_first_line(error)}") from error


def _prepared_builder(name: str) -> "tfds.core.DatasetBuilder":
    builder = find_builder(name)
    try:
        builder.download_and_prepare()
    except Exception as error:  # offline, a full disk, a manual download: TFDS says which
        advice = " ".join((builder.MANUAL_DOWNLOAD_INSTRUCTIONS or "").split())
        if not advice:
            advice = f"prepare it with a network (tfds build {name}), or give a folder of pictures"
        raise UserError(
            f"{TFDS_PREFIX}{name} cannot be prepared in {builder.data_dir}: "
            f"{_first_line(error).rstrip(':')}; {advice}"
        ) from error
    return builder


def read_numbers(spec: str, split: str, features: Sequence[str]) -> dict[str, dict[str, float]]:
    """Numbers of a TFDS set by the pictures' names, as `load_collection` calls them.

    Args:
      spec: "tfds:NAME[/CONFIG]".
      split: of the set.
      features: which ones; those the set does not have are left out.

    Returns:
      name -> feature -> number.
    """
    import tensorflow_datasets as tfds

    builder = _prepared_builder(spec.removeprefix(TFDS_PREFIX))
    known = [key for key in features if key in builder.info.features]
    key = next((key for key in _FILENAME_FEATURES if key in builder.info.features), None)
    needed = {name: True for name in (*known, *((key,) if key else ()))}
    dataset = builder.as_dataset(
        split=split, shuffle_files=False, decoders=tfds.decode.PartialDecoding(needed)
    )
    return {
        row[key].decode() if key else f"{split}/{index:05d}": {k: float(row[k]) for k in known}
        for index, row in enumerate(tfds.as_numpy(dataset))
    }


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]


def _image_feature(builder: "tfds.core.DatasetBuilder", name: str) -> str:
    """Key of the first image feature whose pictures have 8 or 16 bits a channel."""
    import tensorflow_datasets as tfds

    for key, feature in builder.info.features.items():
        if isinstance(feature, tfds.features.Image) and feature.np_dtype in (np.uint8, np.uint16):
            return key
    raise UserError(
        f"{TFDS_PREFIX}{name} has no image feature; it has {', '.join(builder.info.features)}"
    )


def _chosen_examples(
    builder: "tfds.core.DatasetBuilder", split: str, image_key: str, limit: int | None, seed: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(index, example) in the set's own order; the image stays encoded."""
    import tensorflow_datasets as tfds

    count = builder.info.splits[split].num_examples
    few = limit is not None and limit < count
    chosen = set(np.random.default_rng(seed).permutation(count)[: limit if few else count].tolist())
    needed = (image_key, *labels_table.ANGLE_COLUMNS, *_FILENAME_FEATURES)
    decoders = tfds.decode.PartialDecoding(
        {key: True for key in needed if key in builder.info.features},
        decoders={image_key: tfds.decode.SkipDecoding()},
    )
    dataset = builder.as_dataset(split=split, shuffle_files=False, decoders=decoders)
    for index, example in enumerate(tfds.as_numpy(dataset)):
        if index in chosen:
            yield index, example
