"""How long a worker takes to claim its next job while 100,000 are queued; prints one line a mixture. Run: python benchmarks/claim.py"""

from __future__ import annotations

import statistics
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

from sqlalchemy import insert

from dicom_node.domain.jobs import JobState
from dicom_node.domain.queue_order import QueueOrder, hours_from_text
from dicom_node.domain.rules import Priority
from dicom_node.jobs import queue
from dicom_node.storage.database import Database
from dicom_node.storage.tables import JobRow

QUEUED, CLAIMS = 100_000, 200
NOON = datetime(2024, 1, 2, 12, tzinfo=UTC)
ORDER = QueueOrder((hours_from_text("20:00-06:00"),), UTC)
MIXTURES: dict[str, tuple[Priority, ...]] = {
    "stat, normal and off-peak alike": tuple(Priority),
    "normal only": (Priority.NORMAL,),
    "off-peak only, by day": (Priority.OFF_PEAK,),
}


def row(number: int, priorities: tuple[Priority, ...]) -> dict[str, Any]:
    """Every second job takes the place of the one before it."""
    return {
        "study_instance_uid": f"1.2.{number // 2}",
        "revision": 1 + number % 2,
        "rule": "rule",
        "model_digest": "digest",
        "model": "model",
        "model_version": "1",
        "state": JobState.QUEUED,
        "attempt": 0,
        "max_attempts": 12,
        "inputs": [],
        "send_to": [],
        "next_attempt_at": NOON - timedelta(milliseconds=QUEUED - number),
        "reason": "",
        "timings": {},
        "priority": priorities[number % len(priorities)],
        "shadow": False,
        "replaces": bool(number % 2),
        "findings": {},
        "created_at": NOON,
    }


def measure(folder: Path, priorities: tuple[Priority, ...]) -> list[float]:
    """Return the duration of each claim, milliseconds; the commit is part of it."""
    database = Database(f"sqlite:///{folder / 'node.db'}")
    database.migrate()
    with database.transaction() as session:
        session.connection().execute(insert(JobRow), [row(number, priorities) for number in range(QUEUED)])
    durations = []
    for number in range(CLAIMS):
        begin = perf_counter()
        with database.transaction() as session:
            queue.claim(session, f"worker-{number}", NOON, timedelta(seconds=60), ORDER)
        durations.append((perf_counter() - begin) * 1000)
    database.close()
    return durations


def main() -> None:
    """Measure each mixture on a database of its own."""
    for name, priorities in MIXTURES.items():
        with tempfile.TemporaryDirectory() as folder:
            durations = sorted(measure(Path(folder), priorities))
        print(f"{QUEUED:,} queued, {name}: median {statistics.median(durations):.1f} ms, longest of {CLAIMS} {durations[-1]:.1f} ms")


if __name__ == "__main__":
    main()
