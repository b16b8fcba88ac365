"""Coverage-guided fuzzing of the receiver: `make fuzz SECONDS=3600`.

An input's first byte says how its stream is cut; a stream that begins with an A-ASSOCIATE-RQ goes to the negotiation instead.
Everything but `-max_total_time` and other options of libFuzzer is arranged here: a corpus below `build/fuzz/corpus` that begins
with the seeds and is kept between runs, crashes in `build/fuzz/`.
"""

from __future__ import annotations

import logging
import random
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import atheris

with atheris.instrument_imports(
    include=["dicom_node.scp", "dicom_node.domain", "dicom_node.storage", "pynetdicom.pdu", "pynetdicom.pdu_items"]
):
    from dicom_node.scp.accelerator import accelerator
    from tests.fuzz.mutate import mutate_stream
    from tests.fuzz.receiving import Reception, check, negotiate
    from tests.fuzz.seeds import seeds

import structlog

_FOLDER = Path("build/fuzz")


def run_one(receptions: Sequence[Reception], content: bytes) -> None:
    """One execution, on each receive path: any exception is a crash."""
    if len(content) < 2:
        return
    stream = content[1:]
    if stream[0] == 1:
        negotiate(stream)
    else:
        for reception in receptions:
            check(reception, stream, content[0] or len(stream))


def mutate(content: bytes, longest: int, seed: int) -> bytes:
    """Half of the mutations keep the lengths right."""
    chance = random.Random(seed)
    if len(content) < 2 or chance.random() < 0.5:
        return bytes(atheris.Mutate(content, longest))
    changed = mutate_stream(content[1:], lambda part: bytes(atheris.Mutate(part, len(part) + 64)) if part else b"", chance)
    return (content[:1] + changed)[:longest]


def main() -> None:
    corpus = _FOLDER / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for name, stream in seeds():
        for step in (0, 7):
            (corpus / f"seed-{name}-{step}").write_bytes(bytes([step]) + stream)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        ways = (True, False) if accelerator().pump is not None else (False,)
        receptions = [Reception(Path(folder) / str(way), accelerated=way) for way in ways]
        arguments = [
            sys.argv[0],
            str(corpus),
            f"-artifact_prefix={_FOLDER}/",
            "-max_len=4096",
            "-timeout=10",
            "-rss_limit_mb=1024",
            *sys.argv[1:],
        ]
        atheris.Setup(arguments, lambda content: run_one(receptions, content), custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
