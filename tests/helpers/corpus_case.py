"""What a file of the corpus is, and what should become of it."""

import dataclasses
from typing import Any

MID_GREY = 127
EITHER = "either"  # read or refused, as the decoder likes; no crash, no hang


@dataclasses.dataclass(frozen=True)
class Case:
    """A file of the corpus.

    Attributes:
      name: below the folder.
      kind: which part of the corpus it belongs to.
      content: its bytes, or a function that makes the file.
      reason: words of why it is refused, EITHER, or "" for a picture that can be read.
      colours: the four quarters [2, 2, 3] as they should be read, or the colour [3] of the middle;
        None: any.
    """

    name: str
    kind: str
    content: Any
    reason: str = ""
    colours: Any = None
