"""A command with short looks at what S draws, which take longer than a few steps.

python -m quickly MODULE FLAGS
"""

import importlib
import sys

import pytest
import tiny

if __name__ == "__main__":
    tiny.with_short_looks(pytest.MonkeyPatch())
    sys.argv.pop(0)
    importlib.import_module(sys.argv[0]).run()
