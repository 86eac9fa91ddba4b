"""Trains a student that starts from ImageNet features, and writes its run folder.

    V's pseudo-labels -> which way it points, which end is seen (full circle)
    -> student on changed backgrounds
    -> the same with its own answers, or with photos in surroundings, which it labels itself (if
       there are any)
    -> the same with about a hundred labelled pictures (only where these anchors are given)

No label is read but that of anchors. What an interrupted call of the same settings left is gone on
with. The teacher may be a student itself. With anchors, one of this kind goes on with them alone.

A small student of a student learns nothing anew: it imitates its teacher on all pictures, to be as
good on a phone.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ssv_tf.base.errors import SettingError, UserError
from ssv_tf.data import cutouts, sources
from ssv_tf.evaluation import calibration, confidence
from ssv_tf.models.student import EFFICIENTNET_SMALL, FROM_IMAGENET, MOBILENET
from ssv_tf.training import (
    anchors,
    directions,
    ends,
    own_answers,
    run_folder,
    self_training,
    student_pictures,
    student_run,
)
from ssv_tf.training.student_run import Source
from ssv_tf.training.student_stages import Data, Fit, Settings, train

if TYPE_CHECKING:
    from ssv_tf.models.analysis import AnalysisNetwork
    from ssv_tf.models.student import StudentNetwork

RESOLUTIONS = (64, 96, 128)
_ENDS = "ends.npy"
# Settings of what a student that imitates another does not do.
_LEARNT_ANEW = (
    "end_learning", "own_learning", "scene_learning", "front_share", "anchor_learning", "anchors"
)  # fmt: skip


def distill(
    run: run_folder.Run,
    out: Path,
    settings: Settings,
    source: Source,
    backgrounds: str = "",
    scenes_dir: str = "",
    anchors_table: str = "",
    overwrite: bool = False,
    quiet: bool = False,
) -> dict:
    """Trains the student and writes its run folder.

    Args:
      run: the teacher's, which may be a student itself; with anchors, a student of this kind goes
        on, and no new one begins.
      out: the folder.
      settings: how.
      source: a folder of unlabelled pictures, such as the teacher was trained on, or the embedded
        cars; empty: what it was trained on.
      backgrounds: folder of any pictures to put behind cut-outs; empty: the collection's own.
      scenes_dir: folder of more unlabelled photos of such objects, in their surroundings, which
        the student goes on with (`training.scenes`); empty: none.
      anchors_table: CSV of the angles of about 100 pictures in its folder, which train too
        (`training.anchors`); empty: none.
      overwrite: remove what `out` holds first.
      quiet: no progress.

    Returns:
      what `distill.json` holds, as `student_run.distill`.

    Raises:
      UserError: settings that do not fit the run, bad data, a folder of something else.
    """
    import keras

    source = _check(run, settings, source, scenes_dir, anchors_table)
    made_with = _made_with(run, settings, backgrounds, scenes_dir, anchors_table)
    student_run.check_folder(out, made_with, overwrite)
    framing = cutouts.framing(settings.resolution)
    side = student_pictures.side(source, settings.resolution)
    known = anchors.read(anchors_table, framing) if anchors_table else None
    behind = student_pictures.backgrounds(backgrounds, side) if backgrounds else None
    network = run.analysis()  # the teacher, or the student that goes on
    imitated = _imitates(run, settings, anchors_table)
    in_scenes = scene_labels = None
    if scenes_dir and imitated:
        in_scenes, scene_labels = _answered_scenes(run, network, settings, scenes_dir)
    elif scenes_dir:
        in_scenes = student_pictures.load_scenes(scenes_dir, 2 * settings.resolution)
    pictures = student_pictures.load(run, settings.resolution, source)
    if behind is None:
        behind = np.ascontiguousarray(pictures.layers[: student_pictures.MOST_BEHIND, ..., :3])
    differences = functools.cache(lambda: directions.differences(pictures.layers))
    try:
        unfinished_dir = student_run.prepare(out, made_with, overwrite)
        if _goes_on(run, anchors_table):
            keras.utils.set_random_seed(settings.seed)
            student, labels = network, None
        elif imitated:
            labels = _answers(run, network, pictures.squares)
            student = _student(network, settings)
        else:
            share = _front_share(run, settings, scenes_dir)
            student, labels = _start(
                run, network, pictures, differences, behind, settings, share, unfinished_dir, quiet
            )
        learnt, held_out = student_run.split(len(pictures.layers), settings.seed)
        data = Data(
            pictures.layers, in_scenes, known, labels, learnt, differences, imitated, scene_labels
        )
        kind = calibration.azimuth_kind(run.options)
        within_deg = confidence.within_deg(kind == calibration.LINEAR)
        mirror = run.options.pictures.mirror_data
        fit = Fit(student, settings, behind, mirror, within_deg, quiet)
        wanted = train(fit, data, kind, unfinished_dir)
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}") from error
    record = made_with | {
        "pictures": len(learnt) + (0 if in_scenes is None else len(in_scenes)),
        "parameters": student.count_params(),
        "teacher_distance": _distance(student, wanted, data.layers, held_out),
    }
    labelled = run.anchors + (0 if known is None else len(known))
    if labelled:
        record["anchored_on"] = labelled
    fitted = None
    if known is not None:
        fitted = anchors.final_calibration(student, known, kind)
    options = run.options.replace(
        data=source.data_dir, where=source.where, limit=source.limit, labels="", **framing.to_dict()
    )
    changes = {} if labels is None or imitated else _unlike_teacher(run)
    student_run.write_run(run, out, student, options, record, fitted, changes)
    return record


def _made_with(
    run: run_folder.Run, settings: Settings, backgrounds: str, scenes_dir: str, anchors_table: str
) -> dict[str, Any]:
    """What a student must agree in to be gone on with: settings, and folders by name."""
    made_with = {
        "teacher": run.preset or run.path.name,
        **dataclasses.asdict(settings),
        "end_learning": dataclasses.asdict(settings.of_ends),
        "own_learning": dataclasses.asdict(settings.of_own),
        "last_learning": dataclasses.asdict(settings.of_last(_is_limited(run))),
        "backgrounds": Path(backgrounds).name,
        "scenes": Path(scenes_dir).name,
        "anchors": Path(anchors_table).name,
    }
    if _imitates(run, settings, anchors_table):
        for name in _LEARNT_ANEW:
            del made_with[name]
        return made_with | {"last_learning": dataclasses.asdict(settings.of_imitation)}
    if not scenes_dir:
        del made_with["scene_learning"]
        if not _is_teaching_student(run, anchors_table):
            del made_with["front_share"]
    if scenes_dir:
        del made_with["own_learning"]
    if scenes_dir or not settings.of_last(_is_limited(run)).rounds:
        del made_with["last_learning"]
    if not anchors_table:
        del made_with["anchor_learning"], made_with["anchors"]
    return made_with


def _check(
    run: run_folder.Run, settings: Settings, source: Source, scenes_dir: str, anchors_table: str
) -> Source:
    """The source, with the run's own folder where none is given; an error for what cannot be."""
    if settings.backbone not in FROM_IMAGENET:
        raise SettingError(f"`backbone={settings.backbone}` is none of {FROM_IMAGENET}")
    if settings.resolution not in RESOLUTIONS:
        raise SettingError(f"`resolution={settings.resolution}` is none of {RESOLUTIONS}")
    if _goes_on(run, anchors_table):
        _check_student(run, settings)
    if not 0.2 <= settings.front_share <= 0.8:
        raise SettingError(f"`front_share={settings.front_share}` is not within 0.2 to 0.8")
    imitated = _imitates(run, settings, anchors_table)
    if settings.front_share != 0.5 and imitated:
        raise SettingError(
            f"`front_share={settings.front_share}`: {settings.backbone} imitates the student "
            f"{run.path.name}, ends and all"
        )
    given = scenes_dir or _is_teaching_student(run, anchors_table)
    if settings.front_share != 0.5 and not given:
        raise SettingError(
            f"`front_share={settings.front_share}` needs `scenes`, or a student as the teacher "
            "of a new one; V was trained with a share of its own"
        )
    if source.data_dir:
        return source
    asked = run.options.pictures
    if asked.data != sources.EMBEDDED and not Path(asked.data).is_dir():
        raise SettingError(
            f"{asked.data} is no folder of pictures; give one with `data_dir=FOLDER`: they are "
            "read at two sizes"
        )
    return Source(asked.data, asked.where, source.limit or asked.limit)


def _goes_on(run: run_folder.Run, anchors_table: str) -> bool:
    """Whether the run is a student that goes on, and no teacher."""
    return bool(run.student and anchors_table)


def _is_teaching_student(run: run_folder.Run, anchors_table: str) -> bool:
    """Whether the run is a student that teaches a new one."""
    return bool(run.student) and not anchors_table


def _imitates(run: run_folder.Run, settings: Settings, anchors_table: str) -> bool:
    """Whether the new student is to be a smaller form of the run, which is a student."""
    return _is_teaching_student(run, anchors_table) and settings.backbone == EFFICIENTNET_SMALL


def _answers(run: run_folder.Run, teacher: Any, squares: np.ndarray) -> self_training.PseudoLabels:
    return self_training.pseudo_labels(teacher, squares, run.options.pictures.mirror_data)


def _answered_scenes(
    run: run_folder.Run, teacher: Any, settings: Settings, scenes_dir: str
) -> tuple[np.ndarray, self_training.PseudoLabels]:
    """Layers of the photos in surroundings, and the teacher's answers to them."""
    pictures = student_pictures.load(run, settings.resolution, Source(scenes_dir))
    return pictures.layers, _answers(run, teacher, pictures.squares)


def _check_student(run: run_folder.Run, settings: Settings) -> None:
    """UserError unless this student can go on, with anchors."""
    own_backbone = student_run.read_record(run.path).get("backbone", MOBILENET)
    if own_backbone not in FROM_IMAGENET:
        raise UserError(f"{run.path} is a student without ImageNet features: anchors do not fit it")
    if settings.backbone != own_backbone:
        raise SettingError(
            f"`backbone={settings.backbone}`: the student {run.path} has {own_backbone}"
        )
    own = run.options.framing.resolution
    if settings.resolution != own:
        raise SettingError(f"`resolution={settings.resolution}`: the student {run.path} has {own}")


def _with_ends(
    run: run_folder.Run,
    labels: self_training.PseudoLabels,
    layers: np.ndarray,
    differences: Callable[[], np.ndarray],
    behind: np.ndarray,
    settings: Settings,
    front_share: float,
    unfinished_dir: Path,
    quiet: bool,
) -> self_training.PseudoLabels:
    """The pseudo-labels with the ends learnt anew, where azimuth covers the full circle."""
    how = settings.of_ends
    if _is_limited(run) or not how.rounds:
        return labels
    path = unfinished_dir / _ENDS
    if path.is_file():
        quadrants = np.load(path, allow_pickle=False)
        if quadrants.shape == labels.quadrants.shape:
            return self_training.PseudoLabels(labels.magnitudes, quadrants)
    say = (lambda text: None) if quiet else (lambda text: print(text, flush=True))
    labels = directions.with_directions(differences(), labels, "the teacher", front_share, say)
    try:
        front = ends.learn_ends(
            layers, labels.slant_deg, labels.front, behind, how, settings.seed, say, front_share
        )
    except ValueError as error:
        print(f"warning: front and rear stay as they are known: {error}", flush=True)
        return labels
    labels = labels.with_front(front)
    np.save(path, labels.quadrants, allow_pickle=False)
    return labels


def _start(
    run: run_folder.Run,
    teacher: Any,
    pictures: student_pictures.Pictures,
    differences: Callable[[], np.ndarray],
    behind: np.ndarray,
    settings: Settings,
    front_share: float,
    unfinished_dir: Path,
    quiet: bool,
) -> tuple["StudentNetwork", self_training.PseudoLabels]:
    """A new student and what it learns first."""
    labels = _answers(run, teacher, pictures.squares)
    if _is_even(run):
        labels = own_answers.spread(labels, own_answers.even_slants(len(labels.slant_deg)))
    labels = _with_ends(
        run, labels, pictures.layers, differences, behind, settings, front_share, unfinished_dir,
        quiet,
    )  # fmt: skip
    return _student(teacher, settings), labels


def _front_share(run: run_folder.Run, settings: Settings, scenes_dir: str) -> float:
    """Of the pictures that a teacher answers: V's own; a student's they may be of another kind."""
    if not run.student:
        return run.options.viewpoints.front_share
    return 0.5 if scenes_dir else settings.front_share


def _is_limited(run: run_folder.Run) -> bool:
    """Whether azimuth covers a part of the circle, which shows one end."""
    return calibration.azimuth_kind(run.options) == calibration.LINEAR


def _is_even(run: run_folder.Run) -> bool:
    """Whether the run is V's and its prior has every azimuth as frequent, and keeps that."""
    viewpoints = run.options.viewpoints
    return not run.student and viewpoints.full_circle and not viewpoints.prior_rate


def _unlike_teacher(run: run_folder.Run) -> dict[str, Any]:
    """What of the teacher's calibration does not hold for a student whose labels were changed."""
    changes: dict[str, Any] = {}
    if not _is_limited(run):
        changes["quadrant_bias"] = calibration.NO_BIAS  # the ends were learnt anew
    if _is_even(run):
        changes["azimuth_warp"] = calibration.NO_WARP  # the slants were spread
    return changes


def _student(teacher: "AnalysisNetwork", settings: Settings) -> "StudentNetwork":
    import keras

    from ssv_tf.models.student import StudentNetwork

    keras.utils.set_random_seed(settings.seed)
    student = StudentNetwork(
        resolution=settings.resolution,
        backbone=settings.backbone,
        weights="imagenet",
        centre_rad=teacher.encoding.centre_rad,
        stretch=teacher.encoding.stretch,
    )
    student.build()
    return student


def _distance(
    student: Any, labels: self_training.PseudoLabels, layers: np.ndarray, held_out: np.ndarray
) -> dict:
    """How far the student answers from its pseudo-labels on pictures it did not learn from."""
    from ssv_tf.models import inference

    squares = student_pictures.on_grey(layers[held_out], student.resolution)
    student_deg = inference.decode(inference.predict(student, squares)).degrees
    target_deg = labels.angles_deg(student.encoding)[held_out]
    return student_run.distances(student_deg, target_deg)
