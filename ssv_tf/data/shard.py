r"""Turns a folder or bucket of pictures into sharded TFRecord files to train from.

python -m ssv_tf.data.shard photos records --shards=64 --resolution=64
python -m ssv_tf.data.shard gs://bucket/photos gs://bucket/records --shards=10000 \
    --beam_options='--runner=DataflowRunner --project=p --region=r --temp_location=gs://bucket/tmp'

Without --beam_options the pictures of a local folder are read by this process's threads; every
runner of Apache Beam (extra `beam`) writes the same bytes. Bad pictures are named in skipped.csv.
"""

import csv
import dataclasses
import io
import json
import os
import shlex
import sys
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence

from absl import flags
from PIL import Image

from ssv_tf.base import files
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.data import folder, records
from ssv_tf.data.folder import BadPicture
from ssv_tf.data.framing import Framing

_NAMED_SKIPS = 20


def define_flags() -> None:
    """Registers what this command knows."""
    flags.DEFINE_integer("shards", 16, "Files to write.", lower_bound=1, upper_bound=99_999)
    flags.DEFINE_integer("resolution", 32, "Picture side in pixels.", lower_bound=1)
    flags.DEFINE_enum("crop", "height", folder.CROPS, "As in training.")
    flags.DEFINE_float("canvas_heights", 2.4, "As in training.")
    flags.DEFINE_enum("padding", "blur", folder.PADDINGS, "As in training.")
    flags.DEFINE_string(
        "beam_options",
        "",
        "Shard by Apache Beam with these options, as on its command line: --runner=DirectRunner.",
    )


def main(argv: Sequence[str]) -> None:
    """Parses the flags, writes the records, says how many."""
    if len(argv) != 3:
        raise FlagError(f"give the pictures' folder and an empty one, got {' '.join(argv[1:])}")
    given = flags.FLAGS
    names = (field.name for field in dataclasses.fields(Framing))
    framing = Framing.from_dict({name: given[name].value for name in names})
    job = Job(argv[1].rstrip("/"), argv[2].rstrip("/"), given.shards, framing)
    began = time.monotonic()
    words = shlex.split(given.beam_options)
    counts, skipped = job.run_beam(words) if words else job.run()
    seconds, total = time.monotonic() - began, sum(counts.values())
    for name, reason in skipped[:_NAMED_SKIPS]:
        print(f"skipped {name}: {reason}", file=sys.stderr)
    if not total:
        raise UserError(f"none of the {len(skipped)} pictures of {job.source} can be used")
    rate = (total + len(skipped)) / max(seconds, 1e-9)
    print(
        f"{total} pictures in {len(counts)} files, {len(skipped)} skipped (skipped.csv), "
        f"{seconds:.1f} s, {rate:.0f} pictures/s; train with --data='{job.out}/*{records.SUFFIX}'"
    )


class Job:
    """What is to be sharded, how and where to.

    Args:
      source: folder of pictures, or for Beam any file system it knows.
      out: an empty folder.
      shards: files to write.
      framing: how a picture becomes a square.
    """

    def __init__(self, source: str, out: str, shards: int, framing: Framing) -> None:
        self.source, self.out, self.shards = source, out, shards
        self.framing = framing

    def encoded(self, content: str | os.PathLike | bytes) -> bytes:
        """PNG of the fitted picture.

        Raises:
          BadPicture: with a short reason.
        """
        stream = io.BytesIO()
        Image.fromarray(self.framing.read(content)).save(stream, "PNG")
        return stream.getvalue()

    def shard_of(self, name: str) -> int:
        return zlib.crc32(name.encode("utf-8", "surrogateescape")) % self.shards

    def file_name(self, shard: int) -> str:
        return f"pictures-{shard:05d}-of-{self.shards:05d}{records.SUFFIX}"

    def shard_content(self, pictures: Iterable[tuple[str, bytes]]) -> tuple[int, bytes]:
        """(count, content) of a file, in the order of the names whatever order they came in."""
        ordered = sorted(pictures)
        return len(ordered), b"".join(records.framed(records.example(p, n) for n, p in ordered))

    def index(self, counts: Mapping[str, int], skipped: Sequence[tuple[str, str]]) -> str:
        """The text of index.json."""
        about = self.framing.to_dict()
        about |= {"pictures": sum(counts.values()), "skipped": len(skipped)}
        return json.dumps(about | {"files": dict(sorted(counts.items()))}, indent=1) + "\n"

    def run(self) -> tuple[dict[str, int], list[tuple[str, str]]]:
        """By this process's threads; one file's pictures are in memory at a time."""
        paths = folder.find_pictures(self.source)
        self._check_empty()
        named, skipped = folder.named(paths, self.source)
        by_shard: dict[int, list[str]] = {}
        for name in named:
            by_shard.setdefault(self.shard_of(name), []).append(name)
        counts: dict[str, int] = {}

        def encode(name):
            try:
                return self.encoded(named[name])
            except BadPicture as error:
                return error

        for shard, names in sorted(by_shard.items()):
            good = []
            for name, made in zip(names, folder.in_threads(encode, names, None), strict=True):
                if isinstance(made, BadPicture):
                    skipped.append((name, str(made)))
                else:
                    good.append((name, made))
            if good:
                count, content = self.shard_content(good)
                files.write_atomically(f"{self.out}/{self.file_name(shard)}", content)
                counts[self.file_name(shard)] = count
        skipped.sort()
        files.write_atomically(f"{self.out}/skipped.csv", skipped_table(skipped))
        if counts:  # last: without it nobody takes the records for complete
            files.write_atomically(f"{self.out}/{records.INDEX}", self.index(counts, skipped))
        return counts, skipped

    def run_beam(self, words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
        """By Apache Beam, on machines that need neither TensorFlow nor Keras."""
        try:
            from ssv_tf.data import shard_beam
        except ImportError as error:
            raise UserError(
                f"--beam_options needs Apache Beam ({error}): pip install 'ssv-tf[beam]', in a "
                "virtual environment of its own"
            ) from error
        if "://" not in self.source:
            folder.find_pictures(self.source)  # says what is wrong with it
        if "://" not in self.out:
            self._check_empty()
        return shard_beam.run(self, words)

    def _check_empty(self):
        from pathlib import Path

        out = Path(self.out)
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise FlagError(f"{out} exists; give a new folder")


def skipped_table(skipped: list[tuple[str, str]]) -> str:
    """The text of skipped.csv."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows([("filename", "reason"), *skipped])
    return stream.getvalue()


def run() -> None:
    """Console entry point."""
    from ssv_tf.base import (
        cli,
    )  # loads Keras where there is one, and the pipeline's workers need none

    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
