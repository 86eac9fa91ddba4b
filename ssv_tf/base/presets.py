"""Presets, the runs that come with the package: their names, folders and model cards."""

from pathlib import Path

from ssv_tf.base.errors import SettingError

FOLDER = Path(__file__).resolve().parents[1] / "presets"


def names() -> list[str]:
    """Names of the presets, sorted."""
    if not FOLDER.is_dir():
        return []
    return sorted(path.name for path in FOLDER.iterdir() if path.is_dir())


def folder(name: str) -> Path:
    """The run folder of a preset; SettingError where there is none of that name."""
    if name not in names():
        raise SettingError(f"`preset={name}`: known presets: {', '.join(names()) or 'none yet'}")
    return FOLDER / name


def card(name: str) -> str:
    """The model card of a preset, Markdown; SettingError as `folder`."""
    return (folder(name) / "README.md").read_text(encoding="utf-8")
