"""Errors that are the user's to mend: shown as one line, never as a traceback; and warnings."""


class ViewpointWarning(UserWarning):
    """Something to know about an answer that is given all the same; a line at the command line."""


class UserError(Exception):
    """A mistake in the data, the run folder or the machine's state.

    Attributes:
      exit_code: what the command exits with.
    """

    exit_code = 1


class SettingError(UserError, ValueError):
    """A setting that is wrong by itself, or does not fit another, the run or the data.

    Its name stands in backquotes, `steps` or `steps=0`; a command shows its flag, --steps=0.
    """

    exit_code = 2


class FlagError(SettingError):
    """A mistake on the command line or in a flag file; for commands only."""


class TrainingDiverged(UserError):
    """A loss or gradient is no longer a number; the last good checkpoint remains."""
