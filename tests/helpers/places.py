"""Where things lie, for tests that start commands or read the repository's files."""

from pathlib import Path

HELPERS = Path(__file__).resolve().parent
ROOT = HELPERS.parents[1]
