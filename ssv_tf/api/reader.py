"""Reads pictures of any kind as a run's training pictures were read, with their angles."""

import dataclasses
from pathlib import Path

import numpy as np

from ssv_tf.api import angles as angles_of
from ssv_tf.api.angles import Angles
from ssv_tf.base.errors import UserError
from ssv_tf.data import inputs, read_policy
from ssv_tf.data.collection import PictureSet
from ssv_tf.data.forms import PLAIN, Form
from ssv_tf.data.framing import Framing
from ssv_tf.data.inputs import Item, Ledger, Pictures


@dataclasses.dataclass(frozen=True)
class PictureReader:
    """Squares of pictures, cropped and padded as in training.

    Attributes:
      framing: of the run; R is its resolution.
    """

    framing: Framing

    def square(self, item: Item) -> np.ndarray:
        """One picture, uint8 [R, R, 3]; `reading.BadPicture` where it cannot be read."""
        if isinstance(item.source, Path):
            return self.framing.read(item.source)
        return self.framing.fit(inputs.read(item.source, self.framing.shortest))

    def squares(self, pictures: Pictures, bad_pictures: str = read_policy.SKIP) -> np.ndarray:
        """All pictures, uint8 [n, R, R, 3].

        Raises:
          UserError: none can be read, or a bad one under "stop".
          ValueError: something that is no picture.
        """
        ledger = Ledger(bad_pictures)
        items = inputs.expand(pictures, ledger)
        parts = [part for _, part in inputs.read_squares(items, self.square, ledger)]
        if not parts:
            raise UserError(ledger.none_read())
        return np.concatenate(parts)

    def labelled(
        self,
        pictures: Pictures | PictureSet,
        angles: Angles,
        bad_pictures: str = read_policy.SKIP,
        form: Form = PLAIN,
    ) -> PictureSet:
        """The pictures whose angles are known.

        Args:
          pictures: as `squares` takes them, or a PictureSet that brings its own angles.
          angles: as `angles.of_pictures` takes them.
          bad_pictures: "skip" or "stop".
          form: of the angles. A PictureSet is in the project's; its tolerance may be given here.

        Raises:
          UserError: none can be read and has angles, or a bad one under "stop".
          ValueError: angles or pictures of another form.
        """
        if isinstance(pictures, PictureSet):
            if angles is not None:
                raise ValueError("a PictureSet brings its own angles")
            if form.columns or form.convention.words:
                raise ValueError("a PictureSet is in the project's convention")
            if form.tolerance_deg is not None:
                tolerance = float(form.tolerance_deg)
                pictures = dataclasses.replace(pictures, label_tolerance_deg=tolerance)
            return pictures.labelled()
        if angles is None:
            raise ValueError("angles are missing; " + angles_of.FORMS)
        ledger = Ledger(bad_pictures)
        items = inputs.expand(pictures, ledger)
        names = [item.name for item in items]
        degrees, tolerance_deg = angles_of.with_tolerance(angles, names, form)
        known = dict(zip(names, degrees, strict=True))
        labelled_items = [item for item in items if np.isfinite(known[item.name]).any()]
        readable: list[Item] = []
        parts = []
        for read, images in inputs.read_squares(labelled_items, self.square, ledger):
            readable += read
            parts.append(images)
        if not parts:
            raise UserError(f"none of the {len(items)} pictures can be read and has an angle")
        names = [item.name for item in readable]
        rows = np.stack([known[name] for name in names]).astype(np.float32)
        images = np.concatenate(parts)
        return PictureSet(names, images, rows, ledger.skipped, tolerance_deg).labelled()

    def at(self, resolution: int) -> "PictureReader":
        """The same for squares of another side, pixels."""
        return PictureReader(dataclasses.replace(self.framing, resolution=resolution))
