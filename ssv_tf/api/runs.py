"""Where models come from: presets, run folders and trainings by recipe."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from ssv_tf import config
from ssv_tf.base import markdown
from ssv_tf.base import presets as preset_files
from ssv_tf.base import recipes as recipe_files
from ssv_tf.base.errors import FlagError, SettingError, UserError
from ssv_tf.training import run_folder

if TYPE_CHECKING:
    from ssv_tf.api.model import ViewpointModel


def load(name_or_folder: str | os.PathLike) -> "ViewpointModel":
    """A trained model: a preset by its name, or a run by its folder.

        model = ssv_tf.load("cars_photos")
        model = ssv_tf.load("runs/mine")

    Args:
      name_or_folder: a name of `presets`, or what `train`, `distill` and the commands wrote. A run
        folder of a preset's name comes before the preset.

    Raises:
      UserError: neither, or a run that cannot be read.
    """
    from ssv_tf.api.model import ViewpointModel

    return ViewpointModel(run_folder.find(os.fspath(name_or_folder)))


def presets() -> dict[str, str]:
    """Models that come with the package: name -> what each was trained on.

    >>> sorted(ssv_tf.presets())
    ['buses', 'cars', 'cars_cutouts', 'cars_phone', 'cars_photos', 'cars_photos_phone', ...]
    """
    return {
        name: markdown.section(preset_files.card(name), "Training data").split("\n")[0]
        for name in preset_files.names()
    }


def recipes() -> dict[str, str]:
    """Settings that `train` takes by name: name -> what each is for.

    >>> "cars_photos" in ssv_tf.recipes()
    True
    """
    return {name: recipe_files.description(name) for name in recipe_files.names()}


def train(
    data: str | os.PathLike,
    recipe: str | os.PathLike | None = None,
    *,
    steps: int | None = None,
    run_dir: str | os.PathLike | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    **settings: Any,
) -> "ViewpointModel":
    """Trains on unlabelled pictures of one kind of object; an interrupted call goes on.

        run = ssv_tf.train("my_photos", steps=2000)
        run.turntable().sheet().show()      # the object must turn once around
        run.calibrate(labelled_pictures, angles)

    Args:
      data: a folder of pictures, each cropped to its object; also "turntable_cars" (rendered cars
        that need no files), "tfds:NAME" or a glob of record files. No label is read.
      recipe: a name of `recipes`, or the path of a flag file; None: the defaults, which are for
        tight crops of any kind of object.
      steps: training steps; None: the recipe's.
      run_dir: folder of the run; None: runs/ and the name of the data.
      overwrite: remove what the folder holds and start anew. Else training goes on there.
      quiet: no progress bar.
      settings: any other setting of training by its name, such as `resolution=64`
        (docs/reference/settings.md).

    Returns:
      the model, not yet calibrated.

    Raises:
      UserError: pictures that cannot be used, a run folder of other settings, a loss that is no
        number any more.
      ValueError: an unknown recipe or setting, or one out of its range.
      KeyboardInterrupt: it was stopped; all is saved.
    """
    given = {name: _plain(value) for name, value in settings.items()}
    given["data"] = os.fspath(data)
    given["run_dir"] = os.fspath(run_dir or Path("runs", _short_name(os.fspath(data))))
    if steps is not None:
        given["steps"] = steps
    options = _options(recipe, given)
    from ssv_tf.base import backend  # noqa: F401  (before anything else loads Keras)
    from ssv_tf.training import loop

    if loop.train(options, overwrite, quiet):
        raise KeyboardInterrupt(f"training was stopped; {options.run.run_dir} can be gone on with")
    return load(options.run.run_dir)


def _options(recipe: str | os.PathLike | None, given: dict[str, Any]) -> config.Options:
    """The settings of a recipe, with others in their place."""
    unknown = sorted(set(given) - set(config.SETTINGS))
    if unknown:
        raise SettingError(f"unknown setting {', '.join(unknown)}; see docs/reference/settings.md")
    values = flags.FlagValues()
    config.define_flags(values)
    try:
        values(["train", *_recipe_words(recipe)])
        options = config.from_flags(values)
    except (flags.Error, FlagError) as error:
        raise SettingError(f"recipe {recipe}: {error}") from error
    return options.replace(**given)


def _recipe_words(recipe: str | os.PathLike | None) -> list[str]:
    if recipe is None:
        return []
    name = os.fspath(recipe)
    if name not in recipe_files.names() and not os.path.isfile(name):
        raise SettingError(f"no recipe {name!r}; there are {', '.join(recipes())}, or give a file")
    return list(recipe_files.expanded([f"--flagfile={name}"]))


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _short_name(data: str) -> str:
    last = Path(data.removeprefix("tfds:")).name
    name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in last)
    if not name.strip("_"):
        raise UserError(f"{data} has no name to call the run by; give `run_dir`")
    return name
