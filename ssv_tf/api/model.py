"""A trained model as Python users meet it: predict, calibrate, evaluate, draw, export, distill."""

import dataclasses
import functools
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ssv_tf import config, viewpoint
from ssv_tf.api.angles import Angles
from ssv_tf.api.reader import PictureReader
from ssv_tf.api.results import CalibrationResult, Score, Turntable, Views
from ssv_tf.base.errors import UserError, ViewpointWarning
from ssv_tf.data import folder, forms, inputs, read_policy
from ssv_tf.data.collection import PictureSet
from ssv_tf.data.inputs import Item, Ledger, Picture, Pictures, Skip
from ssv_tf.evaluation import calibration as calibrations
from ssv_tf.evaluation import drawing, labelled, overlap, scoring
from ssv_tf.evaluation.calibration import Calibration
from ssv_tf.models import inference
from ssv_tf.training import run_folder

if TYPE_CHECKING:
    from ssv_tf.evaluation import protocols
    from ssv_tf.export.formats import Exported
    from ssv_tf.export.quick import QuickNetwork
    from ssv_tf.models.decoding import RawPrediction
    from ssv_tf.training.student_run import Source


class ViewpointModel:
    """A trained run, or a preset: tells azimuth, elevation and tilt of pictures in degrees.

        model = ssv_tf.load("cars_photos")
        views = model.predict(["a.jpg", image, array])       # views.azimuth_deg: [3]
        model.calibrate(labelled_pictures, angles_deg)        # angles_deg: [n, 3]
        print(model.evaluate(other_pictures, other_angles_deg))
        model.draw("a.jpg").save("a_axes.png")
        model.export("out", formats=["tflite_int8", "saved_model"])

    Pictures are anything `predict` takes. What a person can mend raises `ssv_tf.UserError`, an
    argument of a wrong type or shape ValueError.

    Args:
      run: the run's folder; `ssv_tf.load` finds it by name.

    Attributes:
      run: the run's folder.
    """

    def __init__(self, run: run_folder.Run) -> None:
        self.run = run
        if run.options.pictures.supervised:
            warnings.warn(
                f"the run is {run.options.training}, trained from labels", ViewpointWarning,
                stacklevel=2,
            )  # fmt: skip

    def __repr__(self) -> str:
        fitted = "calibrated" if self.calibration else "not calibrated"
        return f"ViewpointModel({self.name!r}, {self.resolution} px, {fitted})"

    @functools.cached_property
    def calibration(self) -> Calibration | None:
        """From the network's own angles to the convention; None before `calibrate`."""
        return self.run.calibration()

    @property
    def name(self) -> str:
        """Of the preset, or of the run's folder."""
        return self.run.preset or self.run.path.resolve().name

    @property
    def options(self) -> config.Options:
        """What the run was trained with."""
        return self.run.options

    @property
    def resolution(self) -> int:
        """Side of the square that the network sees, pixels; `predict` makes it of any picture."""
        return self.run.options.framing.resolution

    def predict(
        self,
        pictures: Pictures,
        *,
        bad_pictures: str = read_policy.SKIP,
        on_skip: Skip | None = None,
    ) -> Views:
        """Viewpoints of pictures of any sizes.

            views = model.predict(["a.jpg", "photos/", "more/*.png", image, array])

        Args:
          pictures: one or several, mixed as you like: a file, a folder (searched all the way down),
            a glob (`**` too), a PIL.Image, an array, uint8 [H, W, 3] or [n, H, W, 3]. They are
            cropped to the object, as the model's training pictures were.
          bad_pictures: "skip" those that cannot be read, or "stop" at the first.
          on_skip: called with name and reason of each that is left out, as it comes.

        Returns:
          Views of those that could be read, in order; `skipped` names the others.

        Raises:
          UserError: none can be read, or a bad one under "stop".
          ValueError: something that is no picture.
        """
        ledger = Ledger(bad_pictures, on_skip)
        items = inputs.expand(pictures, ledger)
        self._warn_if_uncalibrated()
        fitted = self.calibration or Calibration.identity()
        read: list[Item] = []
        degrees: list[np.ndarray] = []
        confidence: list[np.ndarray] = []
        novelty: list[np.ndarray] = []
        for readable, images in inputs.read_squares(items, self._reader.square, ledger):
            read += readable
            views = inference.decode(self._quick(images), fitted)
            degrees.append(views.degrees)
            confidence += [] if views.confidence is None else [views.confidence]
            novelty += [] if views.novelty is None else [views.novelty]
        if not read:
            raise UserError(ledger.none_read())
        return Views(
            names=[item.name for item in read],
            angles_deg=np.concatenate(degrees),
            confidence=np.concatenate(confidence) if confidence else None,
            skipped=ledger.skipped,
            calibrated=self.calibration is not None,
            paths=[item.source if isinstance(item.source, Path) else None for item in read],
            novelty=np.concatenate(novelty) if novelty else None,
        )

    def calibrate(
        self,
        pictures: Pictures | PictureSet,
        angles: Angles = None,
        *,
        azimuth: str = "auto",
        save: bool = True,
        bad_pictures: str = read_policy.SKIP,
        columns: forms.Columns = None,
        convention: str = "",
        label_tolerance_deg: float | None = None,
    ) -> CalibrationResult:
        """Fits the calibration on pictures with known angles, about 100, and uses it from now on.

            print(model.calibrate("labelled/", "labelled/labels.csv"))
            model.calibrate(arrays, [[90, 10, 0], [-45, 5, 0], ...])
            model.calibrate(arrays, ["front", "rear_left", ...])      # azimuths alone

        Args:
          pictures: as `predict` takes them, or a `data.collection.PictureSet` with angles.
          angles: in degrees; [n, 3], or [n] azimuths, in the order of the pictures, a dictionary of
            names, a CSV file or a table such as a pandas.DataFrame
            (`ssv_tf.api.angles.of_pictures`). NaN, or a picture without an entry: unknown. An angle
            that fewer than 5 pictures know keeps the network's own answer. An azimuth may be a
            class in words, such as front_left.
          azimuth: "circular" (sign and offset), "symmetric" (sign, and offset 0 or 180), "linear"
            (a line, for a limited range); "auto": as the run was trained.
          save: also replace the run folder's calibration.json, which the commands read. A preset's
            own stays as it is.
          bad_pictures: as `predict`.
          columns: other names of a table's columns, "azimuth=yaw,file=image" or a dictionary.
          convention: how the angles count where not as the project's: words of
            `data.conventions.WORDS` separated by commas, such as "radians,nose_right".
          label_tolerance_deg: how far a true azimuth may be from its label without an error, 22.5
            of eight steps; None: half a class of azimuths in words, 0 of numbers.

        Returns:
          the calibration and what speaks against trusting it.

        Raises:
          UserError: fewer than 5 pictures with angles, or angles that fit no picture.
          ValueError: angles or pictures of another form.
        """
        form = forms.parse(columns, convention, label_tolerance_deg)
        known = self._reader.labelled(pictures, angles, bad_pictures, form)
        raw, true_deg = self._raw(known.images), labelled.angles_deg(known)
        kind = calibrations.azimuth_kind(self.options) if azimuth == "auto" else azimuth
        fitted = dataclasses.replace(
            calibrations.fit(raw, true_deg, kind, known.label_tolerance_deg),
            networks=self.run.networks,
            fitted_on=overlap.hashes(known.images),
        )
        self.calibration = fitted
        path = None
        if save and self.run.preset is None:
            path = fitted.save(self.run.path / calibrations.FILE_NAME)
        return CalibrationResult(fitted, fitted.doubts, len(known), known.skipped, path)

    def evaluate(
        self,
        pictures: Pictures | PictureSet,
        angles: Angles = None,
        *,
        calibrate_on: int = 0,
        mirror_average: bool = False,
        seed: int = 0,
        bad_pictures: str = read_policy.SKIP,
        columns: forms.Columns = None,
        convention: str = "",
        label_tolerance_deg: float | None = None,
    ) -> Score:
        """Scores the model on pictures with known angles.

            score = model.evaluate("test/", "test/labels.csv")
            score["azimuth"]["median_error_deg"]; print(score)

        Args:
          pictures, angles: as `calibrate` takes them; others than it was calibrated on.
          calibrate_on: fit a calibration for this score on so many of the pictures, drawn by
            `seed` and left out of the score; 0: use the model's.
          mirror_average: average each prediction with the mirrored picture's.
          seed: of the draw, and of the bootstrap of the intervals.
          bad_pictures: as `predict`.
          columns, convention, label_tolerance_deg: as `calibrate`.

        Returns:
          the score, a dictionary that prints as a table.

        Raises:
          UserError: no calibration, or no picture left to score.
          ValueError: angles or pictures of another form.
        """
        form = forms.parse(columns, convention, label_tolerance_deg)
        known = self._reader.labelled(pictures, angles, bad_pictures, form)
        split = labelled.split_pictures(known, calibrate_on, seed, "the collection")
        outcome = self.score(split, mirror_average=mirror_average, seed=seed)
        return Score(self._described(pictures, seed) | outcome.result)

    def score(
        self, split: labelled.Split, *, mirror_average: bool = False, seed: int = 0
    ) -> scoring.Outcome:
        """What `evaluate` does with pictures that are drawn already; keeps predictions for reports.

        Args:
          split: pictures to score and, if others are to calibrate on, those.
          mirror_average, seed: as `evaluate`.

        Raises:
          UserError: no calibration.
        """
        how = self._how_to_score(split, mirror_average)
        return scoring.evaluate(self._raw, split, **how, seed=seed)

    def score_protocol(
        self,
        name: str,
        truth: "protocols.Truth",
        split: labelled.Split,
        mirror_average: bool = False,
    ) -> dict[str, dict[str, Any]]:
        """The measures of a published test, see `scoring.score_protocol`.

        Raises:
          UserError: no calibration.
        """
        how = self._how_to_score(split, mirror_average)
        return scoring.score_protocol(name, truth, self._raw, split, **how)

    def draw(self, picture: Picture, angles_deg: np.ndarray | None = None) -> Image.Image:
        """A picture with the object's axes drawn over it and its angles in words below.

            model.draw("a.jpg").save("a_axes.png")

        Args:
          picture: one, as `predict` takes it.
          angles_deg: [3]; None: as the model predicts.

        Returns:
          RGB, its longest side 320 to 640 pixels, and the lines of text.

        Raises:
          UserError: it cannot be read.
        """
        item = inputs.one(picture)
        try:
            shown = inputs.read(item.source, shortest=640)
        except folder.BadPicture as error:
            raise UserError(f"{item.name}: {error}") from error
        if angles_deg is None:
            angles_deg = self.predict(picture).angles_deg[0]
        return drawing.draw_viewpoint(shown, np.asarray(angles_deg))

    def turntable(
        self,
        count: int = 4,
        views: int = 12,
        *,
        elevation_deg: float | None = None,
        seed: int = 0,
    ) -> Turntable:
        """Objects that the synthesis network draws, each from azimuths all around.

            model.turntable(count=4, views=12).sheet().show()

        Args:
          count: random objects.
          views: azimuths.
          elevation_deg: of every view; None: the middle of the training's range.
          seed: of the objects.

        Raises:
          UserError: a run without a synthesis network: a student or a supervised one.
          ValueError: fewer than one object or two views.
        """
        if count < 1 or views < 2:
            raise ValueError(f"need at least 1 object and 2 views, got {count} and {views}")
        from ssv_tf.training import turntable

        drawn = turntable.turntable(
            self._synthesis, self.options.viewpoints, count, views, seed, elevation_deg
        )
        azimuth_deg = np.degrees(
            turntable.turntable_angles_rad(self.options.viewpoints, views)[:, 0]
        )
        closed = self.options.viewpoints.full_circle
        return Turntable(drawn, viewpoint.wrap_deg(azimuth_deg), closed)

    def redraw(self, pictures: np.ndarray) -> np.ndarray:
        """What the synthesis network draws from the styles and viewpoints it reads in pictures.

            drawn = model.redraw(squares)    # beside `squares` it shows what the model sees

        Args:
          pictures: uint8 [n, R, R, 3], framed as the model sees them.

        Returns:
          uint8 [n, R, R, 3].

        Raises:
          UserError: a run without a synthesis network: a student or a supervised one.
        """
        from ssv_tf.training import turntable

        return turntable.redrawn(self.run.analysis(), self._synthesis, pictures)

    def viewpoint_grid(self, *, seed: int = 0) -> Image.Image:
        """One drawn object: a column an azimuth, a row an elevation; errors as `turntable`."""
        from ssv_tf.training import turntable

        drawn = turntable.viewpoint_grid(self._synthesis, self.options.viewpoints, seed)
        return Image.fromarray(turntable.tile(drawn))

    def style_grid(self, count: int = 4, *, seed: int = 0) -> Image.Image:
        """Styles mixed: the row's shape with the column's look; errors as `turntable`."""
        from ssv_tf.training import turntable

        drawn = turntable.style_grid(self._synthesis, self.options.viewpoints, count, seed)
        return Image.fromarray(turntable.tile(drawn))

    def export(
        self,
        out: str | os.PathLike,
        formats: Iterable[str] | None = None,
        pictures: Pictures | None = None,
        *,
        overwrite: bool = False,
        details: Mapping[str, str] | None = None,
        **settings: Any,
    ) -> "Exported":
        """Writes the calibrated model for phones, browsers and servers, and measures each file.

            exported = model.export("out", formats=["tflite_int8", "saved_model"])
            exported.files["int8"], print(exported)

        Args:
          out: folder; made where it is missing.
          formats: of tflite_fp32, tflite_fp16, tflite_dynamic, tflite_int8, tflite_int8_full
            (`tflite_` may be left out), saved_model, serving, vectors (files to test an app with);
            None: four of TFLite (not int8_full) and saved_model.
          pictures: at least two, as `predict` takes them; some set the ranges of int8, the others
            are compared on. None: what the run was trained on or, where that is not at hand,
            pictures that its synthesis network draws (a student has none: rendered cars).
          overwrite: replace what an earlier export wrote.
          details: author, licence, data, limits, name, version: sentences for metadata and
            card.
          settings: of `ssv_tf.export.exporter.Settings`: representative and parity_pictures
            (numbers of pictures), input ("uint8" or "float"), batch, serving_name, ...

        Returns:
          the files and their distance from Keras in degrees.

        Raises:
          UserError: a file that exists, a folder that cannot be written, too few pictures.
          ValueError: an unknown format or setting.
        """
        from ssv_tf.export import exporter

        export_settings = exporter.Settings.of(formats, **settings)
        images = (
            None
            if pictures is None
            else self._reader.squares(pictures, export_settings.bad_pictures)
        )
        return exporter.export(self._current_run(), Path(out), export_settings, images=images,
                               details=details, overwrite=overwrite)  # fmt: skip

    def distill(
        self,
        pictures: "Pictures | Source | None" = None,
        out: str | os.PathLike | None = None,
        *,
        backbone: str = "mobilenet_v3_small",
        backgrounds: str | os.PathLike = "",
        scenes: str | os.PathLike = "",
        anchors: str | os.PathLike = "",
        overwrite: bool = False,
        quiet: bool = False,
        **settings: Any,
    ) -> "ViewpointModel":
        """Trains a student on unlabelled pictures; reads no label but that of anchors.

            student = model.distill("photos/", out="runs/phone", steps=4000)
            student.calibrate(labelled_pictures, angles)    # gives it a confidence of its own

        Args:
          pictures: as `predict` takes them, or a `training.student_run.Source`; None: what the run
            was trained on.
          out: run folder of the student; None: runs/NAME_student.
          backbone: "mobilenet_v3_small", for phones, imitates this model and its synthesis
            network's drawings. "efficientnet_lite0" starts from ImageNet features, learns front
            and rear anew and looks at changed backgrounds (`training.imagenet_student`); its
            pictures are a folder or the embedded cars. "efficientnet_lite0_small" does so with its
            first blocks alone, for phones.
          backgrounds: a folder of any pictures to put behind objects that are cut out on black;
            for an EfficientNet.
          scenes: a folder of more unlabelled photos of such objects, in their surroundings, which
            an EfficientNet goes on with; `front_share` says how many of them show the front
            (`training.scenes`).
          anchors: a CSV of the angles of about 100 pictures in its folder, which train an
            EfficientNet too (`training.anchors`). This model may be such a student itself then,
            and goes on.
          overwrite: remove what the folder holds first. Else an interrupted call goes on, and
            one that is finished is an error.
          quiet: no progress bar.
          settings: of `training.student_run.Settings` or `training.imagenet_student.Settings`:
            resolution, steps, batch_size, ...

        Returns:
          the student, with this model's calibration, or with one on the anchors.

        Raises:
          UserError: pictures that cannot be used, or a folder of something else.
          ValueError: an unknown backbone or setting.
        """
        from ssv_tf.api import distilling

        target = Path(out or f"runs/{self.name}_student")
        request = distilling.Request(
            backbone, os.fspath(backgrounds), os.fspath(scenes), os.fspath(anchors), overwrite,
            quiet,
        )  # fmt: skip
        distilling.distill(self._current_run(), target, pictures, request, settings, self._reader)
        return ViewpointModel(run_folder.load(target))

    @functools.cached_property
    def _raw(self) -> labelled.Predict:
        """uint8 [n, R, R, 3] -> the network's own answers."""
        return labelled.predictor(self.run.analysis())

    @functools.cached_property
    def quick_network(self) -> "QuickNetwork | None":
        """The network by LiteRT, which loads no TensorFlow; None where the run has no such file."""
        from ssv_tf.export import quick

        return quick.find(self.run)

    def _quick(self, images: np.ndarray) -> "RawPrediction":
        """As `_raw`, by LiteRT where it can be."""
        return (self.quick_network.predict if self.quick_network else self._raw)(images)

    @functools.cached_property
    def _reader(self) -> PictureReader:
        return PictureReader(self.options.framing)

    @functools.cached_property
    def _synthesis(self) -> Any:
        return self.run.synthesis()

    def _how_to_score(self, split: labelled.Split, mirror_average: bool) -> dict[str, Any]:
        """Calibrated on the split's pictures if it has any for that, else as the model is."""
        if split.calibration is None and self.calibration is None:
            raise UserError(
                f"{self.run.path} has no {calibrations.FILE_NAME}; calibrate it first "
                "(ssv_tf.calibrate), or set `calibrate_on=100`"
            )
        return {
            "stored": self.calibration if split.calibration is None else None,
            "azimuth": calibrations.azimuth_kind(self.options),
            "mirror_average": mirror_average,
        }

    def _described(self, pictures: Any, seed: int) -> dict[str, Any]:
        path = isinstance(pictures, (str, os.PathLike))
        return {
            "run": self.run.preset or self.run.path.name,
            "networks": self.run.networks,
            "training": self.run.training,
            "data": os.fspath(pictures) if path else "pictures in memory",
            "where": "",
            "seed": seed,
        }

    def _current_run(self) -> run_folder.Run:
        """The run with the calibration in memory, saved or not."""
        return dataclasses.replace(self.run, fitted=self.calibration)

    def _warn_if_uncalibrated(self) -> None:
        if self.calibration is None:
            warnings.warn(
                f"{self.run.path} has no {calibrations.FILE_NAME}: these are V's own angles, not "
                "yet in the convention; see ssv_tf.calibrate",
                ViewpointWarning,
                stacklevel=3,
            )
        elif self.calibration.uncalibrated:
            warnings.warn(
                f"{' and '.join(self.calibration.uncalibrated)}: not calibrated, as too few labels "
                "told it; these are V's own answers",
                ViewpointWarning,
                stacklevel=3,
            )
