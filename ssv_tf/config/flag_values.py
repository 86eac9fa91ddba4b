"""Settings as absl flags: one flag for each, named as it."""

import os
from typing import Any

from absl import flags

from ssv_tf.base.errors import SettingError
from ssv_tf.config.options import SETTINGS, Options
from ssv_tf.config.setting import Rule


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
    """Registers one absl flag for each setting in `values`, its unit and range in the help."""
    define: dict[type, Any] = {
        bool: flags.DEFINE_bool,
        int: flags.DEFINE_integer,
        float: flags.DEFINE_float,
        str: flags.DEFINE_string,
    }
    for name, setting in SETTINGS.items():
        rule = setting.rule
        if rule.choices and setting.type is str:
            flags.DEFINE_enum(name, rule.default, list(rule.choices), rule.help, flag_values=values)
        else:
            text = rule.help + _range_text(rule)
            define[setting.type](name, rule.default, text, flag_values=values)


def _range_text(rule: Rule) -> str:
    if rule.choices:
        return f" One of {', '.join(map(str, rule.choices))}."
    if rule.low is None and rule.high is None:
        return ""
    if rule.high is None:
        return f" At least {rule.low}."
    return f" {rule.low} to {rule.high}."


def from_flags(values: flags.FlagValues | None = None) -> Options:
    """The parsed flags as Options.

    Raises:
      SettingError: a value outside its range.
    """
    values = values or flags.FLAGS
    return Options.of(**{name: values[name].value for name in SETTINGS})


def from_flag_file(path: str | os.PathLike, *words: str) -> Options:
    """The settings of a flag file and of flags given after it; the process's own stay untouched.

    Raises:
      SettingError: no such file, or a flag or value that is none; names `path`.
    """
    if not os.path.isfile(path):
        raise SettingError(f"no such flag file: {path}")
    values = flags.FlagValues()
    define_flags(values)
    try:
        values(["train", f"--flagfile={os.fspath(path)}", *words])
        return from_flags(values)
    except (flags.Error, SettingError) as error:
        raise SettingError(f"{path}: {error}") from error
