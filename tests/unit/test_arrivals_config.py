"""Senders of STOW-RS and watched folders: faults are named with their place, and nobody is admitted by chance."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from dicom_node.config import ConfigurationFaults, StowSender, dump_snapshot, load_configuration, load_snapshot
from dicom_node.errors import ConfigError
from dicom_node.web.access import Access, NotAdmittedError, calling_ae_title
from tests.arrivals import TOKEN, write_config

DIGEST = hashlib.sha256(TOKEN.encode()).hexdigest()
ON = {"enabled": True}


def sender(name: str = "gateway", host: str = "localhost", **token: str) -> dict[str, str]:
    return {"name": name, "host": host, **(token or {"token_sha256": DIGEST})}


def faults(folder: Path, **sections: object) -> list[str]:
    config = write_config(folder, **sections)
    try:
        load_configuration(config)
    except ConfigurationFaults as found:
        return [f"{f.path}: {f.message}" for f in found.faults]
    return []


@pytest.mark.parametrize(
    ("senders", "fault"),
    [
        ([sender(host="pacs.example")], "stow.senders[0].host: 'pacs.example' is no address, CIDR or `localhost`"),
        ([{"name": "a", "host": "localhost"}], "stow.senders[0]: give either token_sha256 or token_file"),
        ([sender(token_sha256=DIGEST, token_file="t")], "stow.senders[0]: give either token_sha256 or token_file"),
        ([sender(token_sha256="abc")], "stow.senders[0].token_sha256: String should match pattern"),
        ([sender(token_file="nowhere")], "stow.senders[0].token_file: token_file "),
        ([sender(token_file="short")], "stow.senders[0].token_file: token of sender gateway has 5 characters, at least 16 are needed"),
        ([sender(), sender("other")], "stow.senders[1]: has the token of sender 'gateway'"),
        ([sender(), sender()], "stow.senders[1].name: name 'gateway' is used twice"),
    ],
)
def test_a_sender_that_cannot_be_told_apart_is_a_fault(tmp_path: Path, senders: list[dict[str, str]], fault: str) -> None:
    (tmp_path / "short").write_text("token\n")
    (found,) = faults(tmp_path, web=ON, stow={"senders": senders})
    assert found.startswith(fault)


def test_senders_without_a_listener_are_a_fault(tmp_path: Path) -> None:
    assert faults(tmp_path, stow={"senders": [sender()]}) == ["stow.senders: nothing listens for them"]


def test_folders_that_cannot_be_watched_are_faults(tmp_path: Path) -> None:
    (tmp_path / "drop" / "in").mkdir(parents=True)
    (tmp_path / "data").mkdir()
    folders = ["drop", "drop/in", "nowhere", "data", "."]
    found = faults(tmp_path, watch=[{"name": f"w{n}", "folder": folder} for n, folder in enumerate(folders)])
    assert [f.partition(": ")[0] for f in found] == [f"watch[{n}].folder" for n in range(1, 5)]
    assert found[0].endswith("lies in another watched folder, or that one in it")
    assert found[2].endswith("lies in data_dir, or data_dir in it")


def test_the_snapshot_keeps_senders_and_folders_with_absolute_paths(tmp_path: Path) -> None:
    (tmp_path / "drop").mkdir()
    (tmp_path / "token").write_text(TOKEN)
    config = write_config(tmp_path, web=ON, stow={"senders": [sender(token_file="token")]}, watch=[{"name": "w", "folder": "drop"}])
    read = load_configuration(config)
    assert load_snapshot(dump_snapshot(read)) == read
    assert read.node.watch[0].folder == tmp_path / "drop"
    assert read.node.stow.senders[0].token_digest() == DIGEST


@pytest.mark.parametrize(
    ("authorization", "address", "status"),
    [
        (f"Bearer {TOKEN}", "127.0.0.1", None),
        (f"bearer  {TOKEN} ", "::ffff:127.0.0.1", None),
        (f"Bearer {TOKEN}", "10.0.0.1", 403),
        (f"Bearer {TOKEN}", "", 403),
        (f"Bearer {TOKEN}x", "127.0.0.1", 401),
        (TOKEN, "127.0.0.1", 401),
        ("Bearer", "127.0.0.1", 401),
        ("Bearer \udcff", "127.0.0.1", 401),
        ("", "127.0.0.1", 401),
    ],
)
def test_only_the_right_token_from_the_right_address_is_admitted(authorization: str, address: str, status: int | None) -> None:
    access = Access([StowSender(name="gateway", token_sha256=DIGEST, host="localhost")])
    if status is None:
        assert access.admit(authorization, address).name == "gateway"
        return
    with pytest.raises(NotAdmittedError) as refused:
        access.admit(authorization, address)
    assert refused.value.http_status == status


def test_without_senders_nobody_is_admitted() -> None:
    with pytest.raises(NotAdmittedError):
        Access([]).admit(f"Bearer {TOKEN}", "127.0.0.1")


def test_a_token_file_that_vanishes_is_a_fault_and_no_open_door(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Access([StowSender(name="gateway", token_file=tmp_path / "gone", host="localhost")])


def test_a_name_too_long_for_an_ae_title_becomes_stow() -> None:
    assert calling_ae_title(StowSender(name="x" * 16, token_sha256=DIGEST, host="localhost")) == "x" * 16
    assert calling_ae_title(StowSender(name="x" * 17, token_sha256=DIGEST, host="localhost")) == "STOW"
