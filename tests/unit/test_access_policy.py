"""Who is admitted, under which title, with what limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext

from dicom_node.config import CalledAeTitle, Peer
from dicom_node.domain.instances import AssociationPeer
from dicom_node.scp.negotiation import Accepted, is_storage, prepare_negotiation
from dicom_node.scp.places import Places
from dicom_node.scp.policy import (
    CALLED_AE_UNKNOWN,
    CALLING_AE_UNKNOWN,
    IDENTITY_REFUSED,
    AccessPolicy,
    Admission,
    Credentials,
    Rejection,
)
from dicom_node.scp.rate import RateLimit

CT, MG = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.2"
IMPLICIT, EXPLICIT, J2K = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"
PACS = Peer(name="pacs", ae_title="PACS", host="10.0.0.0/8", max_instance="1GiB", max_associations=4)
MAMMO = Peer(name="mammo", ae_title="MAMMO", host="10.1.2.3")
TITLE = CalledAeTitle(
    name="mg", ae_title="NODE_MG", peers=["mammo"], sop_classes=["DigitalMammographyXRayImageStorageForPresentation"], max_associations=2
)
POLICY = AccessPolicy("NODE", [PACS, MAMMO], 10, [TITLE])


def decide(calling: str, called: str, address: str = "10.1.2.3", policy: AccessPolicy = POLICY, **shown: object) -> Admission | Rejection:
    return policy.check(AssociationPeer(calling, called, address), Credentials(**shown))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("calling", "called", "address", "expected"),
    [
        ("PACS", "NODE", "10.9.9.9", "pacs"),
        ("PACS", "NODE", "::ffff:10.9.9.9", "pacs"),
        ("PACS", "NODE", "192.168.1.1", CALLING_AE_UNKNOWN),
        ("pacs", "NODE", "10.9.9.9", CALLING_AE_UNKNOWN),
        ("PACS", "ELSE", "10.9.9.9", CALLED_AE_UNKNOWN),
        ("STRANGER", "ELSE", "10.9.9.9", CALLED_AE_UNKNOWN),
        ("MAMMO", "NODE_MG", "10.1.2.3", "mammo"),
        ("PACS", "NODE_MG", "10.9.9.9", CALLING_AE_UNKNOWN),
        ("MAMMO", "NODE", "10.1.2.3", "mammo"),
        ("PACS", "NODE", "not an address", CALLING_AE_UNKNOWN),
    ],
)
def test_titles_and_addresses_decide(calling: str, called: str, address: str, expected: object) -> None:
    verdict = decide(calling, called, address)
    assert (verdict.peer if isinstance(verdict, Admission) else verdict) == expected


def test_nobody_is_admitted_without_peers() -> None:
    assert decide("PACS", "NODE", policy=AccessPolicy("NODE", [], 10)) is CALLING_AE_UNKNOWN


def test_the_narrower_of_peer_and_title_holds_and_each_counts_its_places() -> None:
    admission = decide("MAMMO", "NODE_MG")
    assert isinstance(admission, Admission)
    assert admission.places == (("node", 10), ("title-mg", 2))
    assert admission.accepted.takes(MG)
    assert not admission.accepted.takes(CT)
    other = decide("PACS", "NODE")
    assert isinstance(other, Admission)
    assert other.limits.max_instance_bytes == 1 << 30
    assert other.places == (("node", 10), ("peer-pacs", 4))


def test_user_identity_is_checked_where_it_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "passcode").write_text("s3cret\n")
    peer = Peer(name="ct", ae_title="CT", host="localhost", username="ct", passcode_file=tmp_path / "passcode")
    policy = AccessPolicy("NODE", [peer], 10)

    def shown(**credentials: object) -> object:
        verdict = decide("CT", "NODE", "127.0.0.1", policy, **credentials)
        return verdict.peer if isinstance(verdict, Admission) else verdict

    assert shown(username="ct", passcode=b"s3cret") == "ct"
    for wrong in ({}, {"username": "ct"}, {"username": "ct", "passcode": b"S3cret"}, {"username": "mr", "passcode": b"s3cret"}):
        assert shown(**wrong) is IDENTITY_REFUSED


def contexts(*proposals: tuple[int, str, list[str]]) -> list[PresentationContext]:
    built = []
    for number, sop_class, syntaxes in proposals:
        context = build_context(sop_class, syntaxes)
        context.context_id = number
        built.append(context)
    return built


def test_each_context_gets_the_first_syntax_of_its_own_order() -> None:
    requested = contexts((1, CT, [J2K, IMPLICIT]), (3, CT, [IMPLICIT, EXPLICIT]), (5, CT, ["1.2.3.4", EXPLICIT]))
    [supported] = prepare_negotiation(requested, [], Accepted())
    assert [c.transfer_syntax for c in requested] == [[J2K], [IMPLICIT], [EXPLICIT]]
    assert supported.transfer_syntax == [J2K, IMPLICIT, EXPLICIT]


def test_what_is_not_allowed_is_not_taken() -> None:
    accepted = Accepted(frozenset({CT}), frozenset({EXPLICIT}))
    requested = contexts((1, CT, [J2K, EXPLICIT]), (3, MG, [EXPLICIT]))
    [supported] = prepare_negotiation(requested, [], accepted)
    assert (supported.abstract_syntax, supported.transfer_syntax) == (CT, [EXPLICIT])
    [none] = prepare_negotiation(contexts((1, CT, [J2K])), [], accepted)
    assert J2K not in none.transfer_syntax


@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        (CT, True),
        ("1.3.12.2.1107.5.9.1", True),
        ("1.2.840.10008.5.1.4.1.1.999", True),
        ("1.2.840.10008.1.1", False),
        ("1.2.840.10008.1.20.1", False),
    ],
)
def test_private_and_future_classes_are_storage_other_services_are_not(uid: str, expected: bool) -> None:
    assert is_storage(uid) is expected


def test_two_policies_with_nothing_in_common_accept_nothing() -> None:
    both = Accepted(frozenset({CT})).both(Accepted(frozenset({MG})))
    assert not both.takes(CT)
    assert not both.takes(MG)


def test_places_are_counted_over_processes_and_come_back(tmp_path: Path) -> None:
    one, other = Places(tmp_path), Places(tmp_path)
    held = [one.take([("node", 2)]), other.take([("node", 2)])]
    assert None not in held
    assert one.take([("node", 2)]) is None
    held[0].give_back()  # type: ignore[union-attr]
    held[0].give_back()  # type: ignore[union-attr]
    again = other.take([("node", 2), ("peer-pacs", 1)])
    assert again is not None
    again.give_back()
    assert other.take([("peer-pacs", 0)]) is None


def test_full_counter_gives_back_what_the_others_gave(tmp_path: Path) -> None:
    places = Places(tmp_path)
    assert places.take([("node", 1), ("peer-pacs", 0)]) is None
    assert places.take([("node", 1)]) is not None


def test_rate_limit_waits_once_its_bucket_is_empty() -> None:
    rate = RateLimit(1000)
    assert rate.may_read(0)
    rate.spend(10_000)
    assert not rate.may_read(0.01)
    assert rate.holds_back
