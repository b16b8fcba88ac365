from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.delivery.fallbacks import CHAINS, Form, form_of, next_stand_in, stand_ins
from dicom_node.domain.jobs import StoredResult

CLASSES = {
    Form.SEG_LABEL_MAP: "1.2.840.10008.5.1.4.1.1.66.7",
    Form.SEG_BINARY: "1.2.840.10008.5.1.4.1.1.66.4",
    Form.SR_COMPREHENSIVE_3D: "1.2.840.10008.5.1.4.1.1.88.34",
    Form.SR_COMPREHENSIVE: "1.2.840.10008.5.1.4.1.1.88.33",
    Form.SR_ENHANCED: "1.2.840.10008.5.1.4.1.1.88.22",
    Form.SR_TEXT: "1.2.840.10008.5.1.4.1.1.88.11",
    Form.PDF: "1.2.840.10008.5.1.4.1.1.104.1",
    Form.CAPTURE: "1.2.840.10008.5.1.4.1.1.7",
}


def result(form: Form, number: int = 1) -> StoredResult:
    return StoredResult(form.name, number, CLASSES[form], f"1.2.{form.name}.{number}", "1.3", Path("p"))


@pytest.mark.parametrize("chain", CHAINS)
def test_chain_is_walked_in_its_order_to_its_end(chain: tuple[Form, ...]) -> None:
    left = [result(form) for form in reversed(chain[1:])]
    refused, went = result(chain[0]), []
    while (stand_in := next_stand_in(refused, left)) is not None:
        left.remove(stand_in)
        went.append(form_of(stand_in.sop_class_uid))
        refused = stand_in
    assert tuple(went) == chain[1:]
    assert left == []


def test_missing_links_are_skipped() -> None:
    assert next_stand_in(result(Form.SR_COMPREHENSIVE_3D), [result(Form.CAPTURE), result(Form.SR_TEXT)]) == result(Form.SR_TEXT)


def test_nothing_better_goes_instead_and_nothing_of_another_chain() -> None:
    assert next_stand_in(result(Form.SR_TEXT), [result(Form.SR_COMPREHENSIVE_3D), result(Form.SEG_BINARY)]) is None
    assert stand_ins(Form.CAPTURE) == stand_ins(None) == ()


def test_object_of_the_same_number_is_preferred() -> None:
    available = [result(Form.SEG_BINARY, 1), result(Form.SEG_BINARY, 2)]
    assert next_stand_in(result(Form.SEG_LABEL_MAP, 2), available) == available[1]
