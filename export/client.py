"""Asks a model server for the viewpoint of pictures: a CSV or JSON table.

  python -m ssv_tf.export.client --host=grpc://127.0.0.1:8500 photos/ extra.jpg "more/*.png"
  python -m ssv_tf.export.client --host=127.0.0.1:8501 photos/ --out=angles.csv

The server is TensorFlow's, with what `ssv_tf.export --formats=serving` wrote. Pictures that cannot
be used are named on stderr, skipped and counted, as in ssv_tf.predict.
"""

import csv
import io
import json
import re
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from absl import flags
from PIL import Image

from ssv_tf.base import cli, files
from ssv_tf.base.errors import FlagError, UserError
from ssv_tf.data import folder, reading
from ssv_tf.data.inputs import Ledger, expand
from ssv_tf.export.names import MAX_PIXELS
from ssv_tf.export.serving import calls
from ssv_tf.export.serving.names import DEFAULT_MODEL

COLUMNS = ("filename", "azimuth_deg", "elevation_deg", "tilt_deg")
# Scheme -> what speaks it, the port of TensorFlow's server, TLS.
SCHEMES: dict[str, tuple[type[calls.GrpcCaller | calls.RestCaller], int, bool]] = {
    "grpc": (calls.GrpcCaller, 8500, False),
    "grpcs": (calls.GrpcCaller, 8500, True),
    "http": (calls.RestCaller, 8501, False),
    "https": (calls.RestCaller, 8501, True),
}
_PLACE = re.compile(r"([\w.-]+|\[[0-9a-fA-F:]+\])(?::(\d{1,5}))?/?")
MAX_BYTES = 24 << 20
_ORIENTATION = 0x0112
# What the graph decodes to the pixels that ssv_tf.predict reads.
_SENT_AS_IS = {"JPEG": {"L", "RGB"}, "PNG": {"L", "LA", "RGB", "RGBA", "P"}}
# The server refuses pictures above MAX_PIXELS: larger ones are averaged as long as both sides keep
# this many pixels, which is several times what any network looks at.
_SHORTEST = 2000
Answer = tuple[list[float], dict[str, float]]  # degrees [3], confidence and novelty where told


def define_flags() -> None:
    """Registers this command's flags."""
    flags.DEFINE_string(
        "host",
        "",
        "The server: grpc://HOST:PORT, grpcs:// (gRPC over TLS), http:// or https://; HOST:PORT "
        "alone is http. Without a port: 8500 for gRPC, 8501 for REST.",
    )
    flags.DEFINE_string("model", DEFAULT_MODEL, "What the server calls the model.")
    flags.DEFINE_float(
        "deadline_s", 10.0, "Seconds for one picture, retries included.", lower_bound=0.01
    )
    flags.DEFINE_integer("concurrency", 4, "Pictures asked for at a time.", 1, 256)
    flags.DEFINE_string("out", "", "Table to write, .csv or .json; empty: CSV on stdout.")
    flags.DEFINE_bool("overwrite", False, "Replace a table that exists.")


def main(argv: Sequence[str]) -> None:
    """Asks, writes the table; UserError where the server or every picture fails."""
    values = flags.FLAGS
    kind, host, tls = server_of(values.host)
    if not re.fullmatch(r"[\w.-]+", values.model):
        raise FlagError(f"--model={values.model}: not the name of a model")
    if len(argv) < 2:
        raise FlagError("name at least one picture, folder or glob")
    if values.out and Path(values.out).suffix.lower() not in (".csv", ".json"):
        raise FlagError(f"--out={values.out} must end in .csv or .json")
    if values.out:
        files.refuse_existing(values.out, values.overwrite)

    ledger = Ledger(on_skip=_show_skipped)
    paths = [Path(item.source) for item in expand(argv[1:], ledger)]  # type: ignore[arg-type]
    skipped = len(ledger.skipped)
    caller = kind(host, values.model, tls)
    patience = calls.Patience(values.deadline_s)
    rows = []
    for path, answer in ask(paths, caller, patience, host, values.concurrency):
        if isinstance(answer, str):
            skipped += 1
            _show_skipped(files.printable(path), answer)
        else:
            rows.append(_row(path, *answer))
    if not rows:
        raise UserError(f"none of the {skipped} pictures could be answered")
    _write(rows, values.out)
    if skipped:
        print(f"{skipped} skipped, {len(rows)} answered", file=sys.stderr)


def _show_skipped(name: str, reason: str) -> None:
    print(f"skipped {files.one_line(name)}: {reason}", file=sys.stderr)


def ask(
    paths: Sequence[Path],
    caller: calls.Caller,
    patience: calls.Patience,
    host: str,
    concurrency: int,
) -> Iterator[tuple[Path, Answer | str]]:
    """Answers in the order of `paths`, a bounded number of pictures in memory.

    Yields:
      (path, (degrees [3], what else it tells)), or (path, why the picture cannot be used).

    Raises:
      UserError: the server fails otherwise than over a picture.
    """

    def one(path: Path) -> Answer | str:
        try:
            content = sendable(path)
            return calls.viewpoint_of(calls.with_retries(caller, content, patience))
        except folder.BadPicture as error:
            return str(error)
        except calls.CallError as error:
            if error.code == calls.INVALID_ARGUMENT:
                return f"refused by the server: {error.message}"
            raise UserError(f"{host}: {_explained(error, patience)} ({path})") from None

    with ThreadPoolExecutor(concurrency) as executor:
        for start in range(0, len(paths), 8 * concurrency):
            part = paths[start : start + 8 * concurrency]
            try:
                yield from zip(part, executor.map(one, part), strict=True)
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise


def sendable(path: Path) -> bytes:
    """A picture file as the server can read it.

    The graph refuses what it would not read as ssv_tf.predict does, such as WebP, CMYK or a
    palette BMP: such a picture is sent as PNG, upright.

    Raises:
      BadPicture: no picture, or a file too large to send.
    """
    content = reading.read_bytes(path)
    if not _is_sent_as_is(content):
        picture = folder.read_picture(content, shortest=_SHORTEST if _is_large(content) else None)
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG", compress_level=1)
        content = stream.getvalue()
    if len(content) > MAX_BYTES:
        raise folder.BadPicture(f"too large to send ({len(content) >> 20} MB)")
    return content


def _is_sent_as_is(content: bytes) -> bool:
    """Whether the server reads it, or is to say what is wrong with it."""
    try:
        with Image.open(io.BytesIO(content), formats=folder.FORMATS) as image:
            known = image.mode in _SENT_AS_IS.get(image.format or "", ())
            keyed = image.mode != "P" and image.info.get("transparency") is not None
            return known and not keyed and _is_upright(image) and not _is_large(content)
    except Image.UnidentifiedImageError:
        return False
    except Exception:  # damaged in its header: what the server says of it is said
        return True


def _is_upright(image: Image.Image) -> bool:
    try:
        return image.getexif().get(_ORIENTATION, 1) in (0, 1)
    except Exception:  # unreadable EXIF turns nothing
        return True


def _is_large(content: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(content), formats=folder.FORMATS) as image:
            return image.width * image.height > MAX_PIXELS
    except Exception:  # said elsewhere
        return False


def server_of(url: str) -> tuple[type[calls.GrpcCaller | calls.RestCaller], str, bool]:
    """(what speaks its protocol, HOST:PORT, whether over TLS) of --host.

    Raises:
      FlagError: none of `SCHEMES`, a path, no host, or a port that is none.
    """
    if not url:
        raise FlagError("--host=HOST:PORT is missing")
    scheme, _, place = url.partition("://") if "://" in url else ("http", "", url)
    if scheme.lower() not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise FlagError(f"--host={url}: {scheme}:// is none of {known}")
    kind, port, tls = SCHEMES[scheme.lower()]
    match = _PLACE.fullmatch(place)
    if match and match[2]:
        port = int(match[2])
    if not match or not 0 < port < 65536:
        raise FlagError(
            f"--host={url}: write HOST, HOST:PORT or SCHEME://HOST:PORT, without a path"
        )
    return kind, f"{match[1]}:{port}", tls


def _explained(error: calls.CallError, patience: calls.Patience) -> str:
    if error.code == "UNAVAILABLE":
        return f"no server answers, after {patience.retries} retries: {error.message}"
    if error.code == "DEADLINE_EXCEEDED":
        return f"no answer within {patience.deadline_s:g} s"
    if error.code in ("NOT_FOUND", "FAILED_PRECONDITION"):
        return f"the model is not served: {error.message}"
    if error.code == "RESOURCE_EXHAUSTED":
        return f"too busy, after {patience.retries} retries: {error.message}"
    return str(error)


def _row(path: Path, degrees: list[float], further: dict[str, float]) -> dict[str, str | float]:
    name = str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    row: dict[str, str | float] = {COLUMNS[0]: name}
    row |= {key: round(angle, 2) + 0.0 for key, angle in zip(COLUMNS[1:], degrees, strict=True)}
    return row | {name: round(value, 4) for name, value in further.items()}


def _write(rows: list[dict[str, str | float]], out: str) -> None:
    if out.lower().endswith(".json"):
        print(files.write_atomically(out, json.dumps(rows, indent=1) + "\n"))
        return
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        degrees = {key: f"{row[key]:.2f}" for key in COLUMNS[1:]}
        writer.writerow(row | degrees)
    if out:
        print(files.write_atomically(out, stream.getvalue()))
    else:
        print(stream.getvalue(), end="")


def run() -> None:
    """Console entry point."""
    cli.run(main, define_flags)


if __name__ == "__main__":
    run()
