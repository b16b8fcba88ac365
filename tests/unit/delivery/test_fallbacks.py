from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.delivery.fallbacks import CHAINS, Form, allowed_stand_ins, best_in_form, classes_of, form_of, stand_ins
from dicom_node.domain.jobs import StoredResult
from dicom_node.domain.profiles import Fallback

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


def result(form: Form, number: int = 1, variant: str = "") -> StoredResult:
    return StoredResult(form.name, number, CLASSES[form], f"1.2.{form.name}.{number}.{variant}", "1.3", Path("p"), variant)


@pytest.mark.parametrize("chain", CHAINS)
def test_each_link_is_followed_by_the_rest_of_its_chain(chain: tuple[Form, ...]) -> None:
    for number, form in enumerate(chain):
        assert form_of(CLASSES[form]) is form
        assert CLASSES[form] in classes_of(form)
        assert stand_ins(form) == chain[number + 1 :]
        assert allowed_stand_ins(CLASSES[form], tuple(Fallback)) == chain[number + 1 :]
        assert allowed_stand_ins(CLASSES[form], ()) == ()


def test_a_profile_shortens_the_chain() -> None:
    allowed = (Fallback.PDF, Fallback.ENHANCED)
    assert allowed_stand_ins(CLASSES[Form.SR_COMPREHENSIVE_3D], allowed) == (Form.SR_ENHANCED, Form.PDF)
    assert allowed_stand_ins(CLASSES[Form.SEG_BINARY], allowed) == ()


def test_nothing_stands_in_for_pictures_and_for_what_no_chain_names() -> None:
    assert stand_ins(Form.CAPTURE) == stand_ins(None) == ()


def test_object_of_the_same_number_is_preferred_and_of_pictures_all_go() -> None:
    available = [result(Form.SEG_BINARY, 1), result(Form.SEG_BINARY, 2)]
    assert best_in_form(result(Form.SEG_LABEL_MAP, 2), available, "") == (available[1],)
    assert best_in_form(result(Form.SEG_LABEL_MAP, 3), available, "") == (available[0],)
    pages = [result(Form.CAPTURE, 1), result(Form.CAPTURE, 2)]
    assert best_in_form(result(Form.SEG_LABEL_MAP), pages, "") == tuple(pages)
    assert best_in_form(result(Form.SEG_LABEL_MAP), [], "") == ()


def test_own_variant_goes_before_another_profiles() -> None:
    available = [result(Form.SR_TEXT, 1, "sr:text:en"), result(Form.SR_TEXT, 1, "sr:text:ko")]
    assert best_in_form(result(Form.SR_ENHANCED), available, "sr:text:ko") == (available[1],)
    assert best_in_form(result(Form.SR_ENHANCED), available, "sr:text:ja") == (available[0],)
