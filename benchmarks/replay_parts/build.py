"""An index of many studies, written in bulk: as the intake writes it, but for the instance files."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from dicom_node.domain.studies import ClosedBecause, Series, Study, StudyInstance
from dicom_node.storage import Database
from dicom_node.storage.study_headers import pack
from replay_parts.protocols import Header, choose, headers

TEMPLATES = 400
_BATCH = 1000
_ROOT = "1.2.826.0.1.3680043.8.498"
_SHA256 = "0" * 64


@dataclass(frozen=True)
class Template:
    """A study as text in which `@...@` stands for what differs from study to study.

    Attributes:
        headers: Packed by the index, then decompressed.
        series: Header of each series as the index keeps it, and what differs in each of its instances; JSON.
    """

    headers: str
    series: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def instances(self) -> int:
        """How many the study has."""
        return sum(len(members) for _, members in self.series)


@dataclass(frozen=True)
class Built:
    """What lies in the index."""

    studies: int
    series: int
    instances: int
    instance_rows: int
    size_bytes: int


def build(path: Path, studies: int, rules_digest: str, now: datetime, *, instance_rows_of: int) -> Built:
    """Write the index.

    Args:
        path: Database file.
        studies: How many; they closed in the last 30 days.
        rules_digest: Of the rules that decided.
        now: End of the window.
        instance_rows_of: How many of the studies get the rows of their instances, which a replay does not read.
    """
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    chance = Random(4711)
    templates = [_template(chance) for _ in range(TEMPLATES)]
    chosen = [chance.randrange(TEMPLATES) for _ in range(studies)]
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    for start in range(0, studies, _BATCH):
        batch = range(start, min(start + _BATCH, studies))
        with connection:
            _insert(connection, [(number, templates[chosen[number]], _filling(number, studies, now)) for number in batch], rules_digest)
            _insert_instances(connection, [(n, templates[chosen[n]], _filling(n, studies, now)) for n in batch if n < instance_rows_of])
    connection.close()
    rows = sum(templates[chosen[number]].instances for number in range(min(instance_rows_of, studies)))
    series = sum(len(templates[number].series) for number in chosen)
    return Built(studies, series, sum(templates[number].instances for number in chosen), rows, path.stat().st_size)


def _template(chance: Random) -> Template:
    protocol = choose(chance)
    made = [list(headers(protocol, number, chance)) for number in range(len(protocol.series))]
    series = tuple(
        Series(f"@STUDY@.{number}", tuple(StudyInstance("", "", Path(), header) for header in members))
        for number, members in enumerate(made, start=1)
    )
    study = Study("", 1, datetime.now(UTC), ClosedBecause.QUIET, ("MODALITY",), series, ("AINODE",))
    return Template(zlib.decompress(pack(study)).decode(), tuple(_rows(members) for members in made))


def _rows(members: list[Header]) -> tuple[str, tuple[str, ...]]:
    first = members[0]
    different = ({k: list(v) for k, v in member.items() if v != first[k]} for member in members)
    return json.dumps({k: list(v) for k, v in first.items()}), tuple(map(json.dumps, different))


def _filling(number: int, studies: int, now: datetime) -> dict[str, str]:
    at = now - timedelta(days=30 * (studies - number) / (studies + 1))
    patient = "QA-1" if number % 500 == 0 else f"P{number * 7919 % 1_000_003:07d}"
    return {
        "@STUDY@": f"{_ROOT}.{number + 1}",
        "@PATIENT@": patient,
        "@NAME@": f"Name{number}^Given",
        "@BORN@": f"19{30 + number % 70:02d}0101",
        "@AGE@": f"{number % 90:03d}Y",
        "@DATE@": f"{at:%Y%m%d}",
        "@TIME@": f"{at:%H%M%S}",
        "@ACCESSION@": f"A{number:08d}",
        "@REFERRER@": f"Referrer{number % 97}",
        "#closed": at.replace(tzinfo=None).isoformat(" "),
    }


def _filled(text: str, filling: dict[str, str]) -> str:
    for name, value in filling.items():
        text = text.replace(name, value)
    return text


def _insert(connection: sqlite3.Connection, batch: list[tuple[int, Template, dict[str, str]]], rules_digest: str) -> None:
    connection.executemany(
        "INSERT INTO study (id, study_instance_uid, revision, state, reason, waits) VALUES (?, ?, 1, 'CLOSED', '', '[]')",
        [(number + 1, filling["@STUDY@"]) for number, _, filling in batch],
    )
    connection.executemany(
        "INSERT INTO revision (study_id, revision, closed_at, closed_because, rules_digest, traces) VALUES (?, 1, ?, 'quiet', ?, '[]')",
        [(number + 1, filling["#closed"], rules_digest) for number, _, filling in batch],
    )
    connection.executemany(
        "INSERT INTO study_headers (study_id, revision, closed_at, closed_because, content) VALUES (?, 1, ?, 'quiet', ?)",
        [(n + 1, filling["#closed"], zlib.compress(_filled(t.headers, filling).encode(), 3)) for n, t, filling in batch],
    )
    connection.executemany(
        "INSERT INTO series (id, study_id, series_instance_uid, attributes) VALUES (?, ?, ?, ?)",
        [
            ((n + 1) * 10 + number, n + 1, f"{filling['@STUDY@']}.{number}", _filled(header, filling))
            for n, t, filling in batch
            for number, (header, _) in enumerate(t.series, start=1)
        ],
    )


def _insert_instances(connection: sqlite3.Connection, batch: list[tuple[int, Template, dict[str, str]]]) -> None:
    connection.executemany(
        "INSERT INTO instance (series_id, sop_instance_uid, sop_class_uid, transfer_syntax_uid, variant, own_result, revision, path,"
        " size_bytes, sha256, received_at, calling_ae_title, called_ae_title, address, attributes)"
        f" VALUES (?, ?, '1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.1.2.1', 0, 0, 1, ?, 526000, '{_SHA256}', ?, 'MODALITY', 'AINODE',"
        " '10.0.0.1', ?)",
        _instance_values(batch),
    )


def _instance_values(batch: list[tuple[int, Template, dict[str, str]]]) -> Iterator[tuple[object, ...]]:
    for n, template, filling in batch:
        for number, (_, members) in enumerate(template.series, start=1):
            series = f"{filling['@STUDY@']}.{number}"
            for position, different in enumerate(members):
                uid = f"{series}.{position}"
                place = f"/var/lib/dicom-node/studies/{filling['@STUDY@']}/{series}/{uid}.dcm"
                yield (n + 1) * 10 + number, uid, place, filling["#closed"], different.replace("@STUDY@", filling["@STUDY@"])
