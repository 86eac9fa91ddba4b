"""The Beam pipeline of `data.shard`: match, read, fit, group by file, write, count."""

import json
import os

import apache_beam as beam
from apache_beam.io import fileio
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from ssv_tf.data import folder, records, shard
from ssv_tf.data.folder import BadPicture

_BAD = "bad"


def run(job: "shard.Job", words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Runs the pipeline to its end: (pictures by file name, skipped).

    Args:
      job: what to shard.
      words: options of Beam, its runner among them, as on a command line.
    """
    options = PipelineOptions(words, save_main_session=False)
    if "://" not in job.out:
        os.makedirs(job.out, exist_ok=True)
    with beam.Pipeline(options=options) as pipeline:
        read = (
            pipeline
            | fileio.MatchFiles(f"{job.source}/**")
            | beam.Filter(lambda metadata: _is_picture(job.source, metadata.path))
            | beam.Reshuffle()
            | fileio.ReadMatches()
            | beam.FlatMap(_encode, job).with_outputs(_BAD, main="good")
        )
        counts = read["good"] | beam.GroupByKey() | beam.Map(_write_shard, job)
        listed = beam.pvalue.AsList(counts), beam.pvalue.AsList(read[_BAD])
        _ = pipeline | beam.Create([job]) | beam.Map(_write_index, *listed)
    with FileSystems.open(f"{job.out}/counts.json") as stream:
        counts, skipped = json.loads(stream.read())
    FileSystems.delete([f"{job.out}/counts.json"])
    return counts, [tuple(pair) for pair in skipped]


def _is_picture(source, path):
    below = path[len(source) :].strip("/").split("/")
    return not any(part.startswith(".") for part in below) and folder.is_picture_name(below[-1])


def _encode(readable_file, job):
    """(file number, (name, PNG)) of a picture, or (name, reason) tagged as bad."""
    name = readable_file.metadata.path[len(job.source) :].lstrip("/")
    try:
        yield job.shard_of(name), (name, job.encoded(readable_file.read()))
    except BadPicture as error:
        yield beam.pvalue.TaggedOutput(_BAD, (name, str(error)))
    except OSError as error:
        yield beam.pvalue.TaggedOutput(_BAD, (name, f"cannot be read: {error.strerror or error}"))


def _write_shard(numbered, job):
    number, pictures = numbered
    count, content = job.shard_content(pictures)
    _write(f"{job.out}/{job.file_name(number)}", content)
    return job.file_name(number), count


def _write_index(job, counts, skipped):
    counts, skipped = dict(counts), sorted(skipped)
    _write(f"{job.out}/skipped.csv", shard.skipped_table(skipped).encode())
    _write(f"{job.out}/counts.json", json.dumps([counts, skipped]).encode())
    if counts:
        _write(f"{job.out}/{records.INDEX}", job.index(counts, skipped).encode())


def _write(path, content):
    """By way of a temporary name: a file system shows no half of it, and a retry replaces it."""
    temporary = f"{path}.part-{os.getpid()}"
    with FileSystems.create(temporary) as stream:
        stream.write(content)
    FileSystems.rename([temporary], [path])
