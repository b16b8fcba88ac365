from __future__ import annotations

import pytest

from dicom_node.domain.matching import meets
from dicom_node.domain.rules import Condition, Equals
from dicom_node.domain.uids import derive_uid, is_safe_uid


@pytest.mark.parametrize("uid", ["1", "1.2.840.10008.1.2", "2.25." + "9" * 39, "1.02"])
def test_uid_may_name_a_folder(uid: str) -> None:
    assert is_safe_uid(uid)


@pytest.mark.parametrize("uid", ["", ".", "..", "1..2", "1.2.", "../../etc", "1/2", "1.2\0", "1" * 65, "1.a", " 1.2", "1.2\n"])
def test_anything_else_may_not(uid: str) -> None:
    assert not is_safe_uid(uid)


def test_derived_uid_is_the_same_every_time_and_valid() -> None:
    assert derive_uid("a", "b") == derive_uid("a", "b") != derive_uid("ab")
    assert is_safe_uid(derive_uid("a"))


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        (Condition("K", (Equals("CT"),)), ("CT ",), True),
        (Condition("K", (Equals("CT"),)), ("ct",), False),
        (Condition("K", (Equals("1.5"),)), ("1.50",), True),
        (Condition("K", (), (Equals("LOCALIZER"),)), ("A", "LOCALIZER"), False),
        (Condition("K", (), (Equals("LOCALIZER"),)), (), True),
        (Condition("K", (Equals("CT"),)), (), False),
    ],
)
def test_condition_compares_as_documented(condition: Condition, values: tuple[str, ...], expected: bool) -> None:
    assert meets(condition, {"K": values}) is expected
