"""64 associations at once, 20,000 instances, a receiver killed in the middle: what was acknowledged is stored, and once."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.scp.accelerator import accelerator
from tests.acceptance.orthanc import Orthanc
from tests.acceptance.receivers import Receivers
from tests.acceptance.storm_sender import AE_TITLES, content_of
from tests.conftest import ROOT

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]
INSTANCES, PROCESSES = 20_000, 4
EACH = INSTANCES // PROCESSES


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[Receivers]:
    running = Receivers(tmp_path / "node", AE_TITLES, durability="group")
    yield running
    running.close()


def stored(receivers: Receivers) -> Counter[str]:
    """How often each SOP Instance UID lies under a final name; every one byte-identical to what its sender made."""
    found: Counter[str] = Counter()
    for path in receivers.files.incoming.glob("*.dcm"):
        content = path.read_bytes()
        [length] = struct.unpack_from("<I", content, 140)
        data_set = content[144 + length :]
        at = data_set.index(b"\x08\0\x18\0UI") + 8
        uid = data_set[at : at + int.from_bytes(data_set[at - 2 : at], "little")].rstrip(b"\0").decode()
        assert data_set == content_of(uid), uid
        found[uid] += 1
    return found


def test_storm_with_a_receiver_killed_loses_nothing_and_keeps_nothing_twice(receivers: Receivers, tmp_path: Path) -> None:
    reports = [tmp_path / f"{number}.json" for number in range(PROCESSES)]
    senders = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.storm_sender", str(receivers.port), str(number), str(EACH), str(report)], cwd=ROOT
        )
        for number, report in enumerate(reports)
    ]
    Orthanc.wait_until(lambda: len(receivers.files.pending()) > INSTANCES // 3, 60, every_s=0.2)
    receivers.kill("receiver-0")
    receivers.start("receiver-0")
    assert [sender.wait(120) for sender in senders] == [0] * PROCESSES
    told = [json.loads(report.read_text()) for report in reports]
    acknowledged = [uid for report in told for uid in report["acknowledged"]]
    unanswered = {uid for report in told for uid in report["unanswered"]}
    assert len(acknowledged) == len(set(acknowledged)) == INSTANCES
    assert 0 < len(unanswered) <= 64
    found = stored(receivers)
    assert set(acknowledged) == set(found)
    assert {uid for uid, times in found.items() if times > 1} <= unanswered
    assert all(times <= 2 for times in found.values())
    log = receivers.log()
    assert log.count(f'accelerator="{accelerator().words}"') + log.count(f"accelerator='{accelerator().words}'") == 3
    assert not [word for word in ("process_crashed", "instance_failed", "association_failed", "level=error") if word in log]
    assert not list(receivers.files.incoming.glob(".*.partial"))
