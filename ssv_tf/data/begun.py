"""Folders that a stopped command goes on with: only if they were begun with the same settings."""

import json
from pathlib import Path

from ssv_tf.base import files
from ssv_tf.base.errors import SettingError, UserError

SETTINGS = "settings.json"


def begin(folder: Path, settings: dict) -> None:
    """Makes the folder, or sees that it was begun with the same settings.

    Raises:
      SettingError: the folder holds something else, or was begun with other settings.
    """
    path = folder / SETTINGS
    if not path.exists():
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise SettingError(f"{folder} holds something else; name a new or an empty folder")
        files.write_atomically(path, json.dumps(settings, indent=2) + "\n")
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    if stored != settings:
        raise SettingError(
            f"{folder} was begun with {json.dumps(stored)}, not {json.dumps(settings)}; "
            "give the same, or another folder"
        )
