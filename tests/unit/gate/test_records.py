from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.errors import ModelError, StorageError
from dicom_node.inference.engines.signing import Signer
from dicom_node.inference.gate.agreement import Agreement, ArrayAgreement, MeasurementAgreement, Tolerance
from dicom_node.inference.gate.records import CaseKind, CaseRecord, EngineKey, Record, Records
from tests.conftest import ROOT

KEY = EngineKey("b" * 64, {"network.onnx": "n" * 64}, "tensorrt", "fp16", "Test GPU", {"dicom-node": "1", "tensorrt": "11.4"}, "p" * 64)
WHEN = datetime(2026, 11, 26, 12, tzinfo=UTC)


def record(key: EngineKey = KEY, failed: tuple[str, ...] = ()) -> Record:
    agreement = Agreement(outputs=(ArrayAgreement("y", 0.001, 2.0, 0.9999),), measurements=(MeasurementAgreement("volume", 99.7, 99.8),))
    return Record(key, Tolerance(), (CaseRecord("phantom", CaseKind.REFERENCE, agreement, failed, 0.5),), False, WHEN, 1.5)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records.open(tmp_path)


def test_a_record_comes_back_as_it_was_kept_after_a_restart(records: Records, tmp_path: Path) -> None:
    digest = records.keep(record())
    again = Records.open(tmp_path)
    assert again.find(KEY) == record()
    assert again.find(KEY).digest == digest == record().digest
    assert again.of_bundle("b" * 64) == (record(),)
    assert again.of_bundle("c" * 64) == ()


def test_figures_that_are_not_finite_survive(records: Records) -> None:
    agreement = Agreement(outputs=(ArrayAgreement("y", math.inf, 1.0, None, 3),), measurements=(MeasurementAgreement("m", 1.0, -math.inf),))
    kept = dataclasses.replace(record(), cases=(CaseRecord("c", CaseKind.PARITY, agreement, ("3 values are not finite",), 0.1),))
    records.keep(kept)
    assert records.find(KEY) == kept
    json.loads(records.path(KEY).read_bytes(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize(
    "change",
    [
        {"bundle_digest": "c" * 64},
        {"networks": {"network.onnx": "m" * 64}},
        {"backend": "onnxruntime"},
        {"precision": "bf16"},
        {"device": "Other GPU"},
        {"versions": {"dicom-node": "1", "tensorrt": "11.5"}},
        {"plan": "q" * 64},
    ],
)
def test_a_record_counts_for_its_exact_key_only(records: Records, change: dict[str, object]) -> None:
    records.keep(record())
    assert records.find(dataclasses.replace(KEY, **change)) is None


def test_a_record_under_the_name_of_another_key_is_not_believed(records: Records) -> None:
    records.keep(record())
    other = dataclasses.replace(KEY, precision="bf16")
    records.path(KEY).rename(records.path(other))
    assert records.find(other) is None
    assert records.of_bundle("b" * 64) == ()


def test_a_failed_record_made_to_look_passed_is_not_believed(records: Records) -> None:
    records.keep(record(failed=("y: largest error 1",)))
    path = records.path(KEY)
    text = path.read_text()
    changed = json.loads(text)
    changed["record"]["cases"][0]["failed"] = []
    path.write_text(json.dumps(changed))
    assert records.find(KEY) is None
    path.write_text(text)
    assert records.find(KEY) is not None


def test_a_record_of_another_node_is_not_believed(records: Records, tmp_path: Path) -> None:
    foreign = Records.open(tmp_path / "other")
    foreign.keep(record())
    records.path(KEY).write_bytes(foreign.path(KEY).read_bytes())
    assert records.find(KEY) is None


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"record": 1}', b'{"record": {}, "hmac_sha256": null}', b"\xff\xfe", b"[" * 100_000]
)
def test_whatever_is_no_record_is_none(records: Records, content: bytes) -> None:
    records.path(KEY).write_bytes(content)
    assert records.find(KEY) is None


def test_a_signed_file_of_another_form_is_none(records: Records) -> None:
    content = {"key": 1}
    signature = records.signer.sign("gate record", json.dumps(content, separators=(",", ":")).encode())
    records.path(KEY).write_text(json.dumps({"record": content, "hmac_sha256": signature}))
    assert records.find(KEY) is None


def test_a_record_without_cases_lets_nothing_pass() -> None:
    assert dataclasses.replace(record(), cases=()).failed == ("no case was run",)


def test_a_new_record_takes_the_place_of_the_earlier_one(records: Records) -> None:
    records.keep(record())
    records.keep(record(failed=("y: too far",)))
    assert records.find(KEY).failed == ("phantom: y: too far",)
    assert [path.name for path in records.folder.iterdir()] == [records.path(KEY).name]


_WRITER = """
import os, sys
from pathlib import Path
from tests.unit.gate.test_records import record
from dicom_node.inference.gate.records import Records
records, key = Records.open(Path(sys.argv[1])), record().key
write = os.fsync
def stop(descriptor):
    print("writing", flush=True)
    sys.stdin.read()
os.fsync = stop
with records.alone(key):
    records.keep(record())
"""


def test_a_writer_killed_half_way_leaves_no_record_and_no_lock(records: Records, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with child:
        assert child.stdout.readline() == b"writing\n"
        child.send_signal(signal.SIGKILL)
    assert len(list(records.folder.glob("*.part"))) == 1
    assert records.find(KEY) is None
    assert records.of_bundle("b" * 64) == ()
    with records.alone(KEY):
        assert list(records.folder.glob("*.part")) == []
        records.keep(record())
    assert records.find(KEY) == record()


def test_records_and_engines_are_signed_with_one_key_for_different_purposes(records: Records, tmp_path: Path) -> None:
    records.keep(record())
    whole = json.loads(records.path(KEY).read_bytes())
    content = json.dumps(whole["record"], sort_keys=True, separators=(",", ":")).encode()
    signer = Signer.of_folder(tmp_path / "engines")
    assert whole["hmac_sha256"] == signer.sign("gate record", content) != signer.sign("plan", content)


def test_a_key_that_others_can_read_is_refused(records: Records, tmp_path: Path) -> None:
    (tmp_path / "engines" / "signing.key").chmod(0o640)
    with pytest.raises(ModelError, match="others than the node can read"):
        Records.open(tmp_path)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("in the way")
    with pytest.raises(StorageError, match="records cannot be kept here"):
        Records.open(tmp_path)
