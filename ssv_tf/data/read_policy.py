"""Pictures and table rows that cannot be used: named, counted, and skipped or the end."""

import collections
import os
from collections.abc import Sequence

from absl import flags, logging

from ssv_tf.base import files
from ssv_tf.base.errors import UserError

SKIP, STOP = "skip", "stop"
POLICIES = (SKIP, STOP)
PICTURES_HELP = (
    "A picture that cannot be read, or that a table names and the folder lacks: skip (named, "
    "counted) or stop."
)
ROWS_HELP = (
    "A row of a table with a wrong angle or filename, or one that is there twice: stop, or skip "
    "(named, counted)."
)


def define_flags(rows: bool = True) -> None:
    """Registers --bad_pictures, and --bad_rows for a command that reads a table."""
    flags.DEFINE_enum("bad_pictures", SKIP, POLICIES, PICTURES_HELP)
    if rows:
        flags.DEFINE_enum("bad_rows", STOP, POLICIES, ROWS_HELP)


def check_policy(policy: str) -> None:
    """Raises ValueError where `policy` is none of POLICIES."""
    if policy not in POLICIES:
        raise ValueError(f"{policy!r} is none of {POLICIES}")


def stop_at(name: str, reason: str) -> None:
    """Raises the UserError that ends a command with --bad_pictures=stop."""
    raise UserError(f"{name}: {reason}; `bad_pictures=skip` goes on without such pictures")


def report_skipped(
    skipped: Sequence[tuple[str, str]], source: str | os.PathLike, usable: int
) -> None:
    """Names each bad picture in the log, then counts them; UserError where all are bad.

    Args:
      skipped: (name, reason) of each.
      source: where they are from.
      usable: how many others can be used.
    """
    for name, reason in skipped:
        logging.warning("skipped %s: %s", files.one_line(name), reason)
    if skipped:
        total = len(skipped) + usable
        logging.warning("skipped %d of %d pictures: %s", len(skipped), total, counts(skipped))
    if not usable:
        name, reason = skipped[0] if skipped else ("it", "no pictures")
        raise UserError(
            f"none of the {len(skipped)} pictures of {source} can be used; {name}: {reason}"
        )


def counts(skipped: Sequence[tuple[str, str]]) -> str:
    """How many were skipped for what reason (less what stands in brackets), commonest first."""
    kinds = collections.Counter(reason.split(" (")[0] for _, reason in skipped)
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
