"""Errors that are the user's to mend: shown as one line, never as a traceback."""


class UserError(Exception):
    """A mistake in the data, the run folder or the machine's state.

    Attributes:
      exit_code: what the command exits with.
    """

    exit_code = 1


class FlagError(UserError):
    """A mistake on the command line or in a flag file."""

    exit_code = 2


class TrainingDiverged(UserError):
    """A loss or gradient is no longer a number; the last good checkpoint remains."""
