"""ORU^R01 as hl7apy validates and python-hl7 reads it."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence

import hl7
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.domain.results import Measurement, Predecessor
from dicom_node.errors import PatientMismatchError
from dicom_node.sr_writer import BuildRequest, ResultObject, build_results
from dicom_node.sr_writer.messages import Hl7Form, build_messages
from dicom_node.sr_writer.messages.hl7_encoding import components, header_segment, message, segment
from tests.result_findings import ML, VOLUME, empty_result, full_result, request
from tests.result_sources import STUDY, MadeSource, stack
from tests.unit.messages.parsed import Obx, observations, oru

FORM = Hl7Form("en", "RIS", "HOSPITAL")
OUTCOME = ("111017", "CAD Processing and Findings Summary", "DCM")


@pytest.fixture(scope="module")
def source() -> MadeSource:
    return stack()


@pytest.fixture(scope="module")
def objects(source: MadeSource) -> tuple[ResultObject, ...]:
    return build_results(request(source))


def sent(made: BuildRequest, objects: Sequence[ResultObject] = (), form: Hl7Form = FORM) -> bytes:
    [one] = build_messages(made, objects, [form])
    return one.content


def with_header(source: MadeSource, **elements: object) -> MadeSource:
    changed = copy.deepcopy(source.data_sets)
    for one in changed:
        for keyword, value in elements.items():
            setattr(one, keyword, value)
    return MadeSource(source.name, changed, source.images)


texts = st.text(st.characters(blacklist_categories=["Cs"]), max_size=40)


@settings(deadline=None, max_examples=400)
@given(st.lists(texts, min_size=1, max_size=5))
def test_any_text_comes_back_and_ends_no_segment(values: list[str]) -> None:
    content = message([header_segment({9: "ORU"}), segment("OBX", {5: components(*values), 6: "end"})])
    assert content.count(b"\r") == 2
    assert not {0x0B, 0x1C, 0x0A} & set(content)
    read = hl7.parse(content.decode())
    row = read.segment("OBX")
    assert str(row[6]) == "end"
    parts = str(row[5]).split("^") if str(row[5]) else []
    back = [bytes_back(read, part) for part in parts]
    while values and not values[-1]:
        values.pop()
    assert back + [""] * (len(values) - len(back)) == values


def bytes_back(read: hl7.Message, part: str) -> str:
    r"""python-hl7 reads `\Xhh\` as a character each byte; as UTF-8 they are what was written."""
    pieces, at = [], 0
    while (begin := part.find("\\X", at)) >= 0:
        end = part.index("\\", begin + 2)
        pieces += [read.unescape(part[at:begin]), bytes.fromhex(part[begin + 2 : end]).decode()]
        at = end + 1
    return "".join([*pieces, read.unescape(part[at:])])


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    assert message([segment("NTE", {3: components("a\ud800b")})]).decode() == "NTE|||a\ufffdb\r"


def test_two_quotes_are_no_order_to_delete() -> None:
    assert components('""') == "\\X2222\\"


def test_header_names_receiver_character_set_and_one_control_id_for_every_attempt(
    source: MadeSource, objects: tuple[ResultObject, ...]
) -> None:
    first, again = oru(sent(request(source), objects)), oru(sent(request(source), objects))
    header = first.segment("MSH")
    assert [str(header[n]) for n in (3, 5, 6, 11, 12, 18, 19)] == ["AINODE", "RIS", "HOSPITAL", "P", "2.5.1", "UNICODE UTF-8", "en"]
    assert str(header[9]) == "ORU^R01^ORU_R01"
    assert str(again.segment("MSH")[10]) == str(header[10])
    assert len(str(header[10])) == 20
    later = dataclasses.replace(request(source), key=dataclasses.replace(request(source).key, revision=2))
    assert str(oru(sent(later, objects)).segment("MSH")[10]) != str(header[10])


def test_attempts_of_one_job_make_the_same_bytes(source: MadeSource, objects: tuple[ResultObject, ...]) -> None:
    assert sent(request(source), objects) == sent(request(source), objects)


def test_patient_and_order_are_verbatim(source: MadeSource) -> None:
    item = Dataset()
    item.UniversalEntityID, item.UniversalEntityIDType, item.IdentifierTypeCode = "1.2.840.99", "ISO", "PI"
    asked, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "CTCHEST", "99RIS", "CT|Chest"
    asked.RequestedProcedureID, asked.ScheduledProcedureStepID, asked.RequestedProcedureCodeSequence = "RP7", "SPS9", [code]
    changed = with_header(
        source,
        PatientName="M\xfcller^J\xf6rg^Q^Dr.^jr",
        SpecificCharacterSet="ISO_IR 100",
        PatientID="A|1&2",
        IssuerOfPatientIDQualifiersSequence=[item],
        RequestAttributesSequence=[asked],
        PlacerOrderNumberImagingServiceRequest="PL^1",
        ReferringPhysicianName="House^G",
        TimezoneOffsetFromUTC="+0900",
    )
    read = oru(sent(request(changed)))
    assert read.unescape(str(read["PID.F3.R1.C1"])) == "A|1&2"
    assert str(read.segment("PID")[3]) == "A\\F\\1\\T\\2^^^HOSPITAL&1.2.840.99&ISO^PI"
    assert str(read.segment("PID")[5]) == "M\xfcller^J\xf6rg^Q^jr^Dr.^^L^A"
    assert [str(read.segment("PID")[n]) for n in (7, 8)] == ["19600229", "O"]
    assert str(read.segment("PV1")[8]) == "^House^G^^^^^^^L^^^^^A"
    order = read.segment("OBR")
    assert str(order[4]) == "CTCHEST^CT\\F\\Chest^99RIS"
    assert [str(order[n]) for n in (2, 18, 19, 20, 24, 25)] == ["PL\\S\\1", "ACC-0816", "RP7", "SPS9", "CT", "P"]
    assert str(order[7]) == "20240102101500+0900"
    assert [str(read.segment("ORC")[n]) for n in (1, 2, 3)] == ["RE", "PL\\S\\1", "ACC-0816"]


@pytest.mark.parametrize(
    ("charset", "raw", "components"),
    [
        (
            ["", "ISO 2022 IR 87"],
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "\u5c71\u7530^\u592a\u90ce",
        ),
        (
            ["", "ISO 2022 IR 149"],
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "\u6d2a^\u5409\u6d1e",
        ),
        ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "\u738b^\u5c0f\u4e1c"),
    ],
)
def test_names_of_every_character_set_come_in_all_representations(source: MadeSource, charset: object, raw: bytes, components: str) -> None:
    changed = with_header(source, SpecificCharacterSet=charset)
    for one in changed.data_sets:
        one._dict[Tag(0x0010, 0x0010)] = RawDataElement(Tag(0x0010, 0x0010), "PN", len(raw), raw, 0, False, True)
    names = [str(name) for name in oru(sent(request(changed))).segment("PID")[5]]
    assert names[0].split("^")[:2] == raw.split(b"=")[0].decode("ascii").split("^")
    assert [name.rpartition("^")[2] for name in names] == ["A", "I", "P"][: len(names)]
    assert names[1].startswith(components)


def test_no_value_can_bring_a_segment_in(source: MadeSource) -> None:
    evil = with_header(source, StudyDescription="x\rOBX|1|NM|1^evil^L||7||||||F", PatientID="1\x0b\x1c\r", AccessionNumber="A~B")
    content = sent(request(evil))
    assert b"|7||||||F" not in content.replace(b"\\F\\", b"#")
    assert not {0x0B, 0x1C, 0x0A} & set(content)
    read = oru(content)
    assert {str(s[0]) for s in read} == {"MSH", "SFT", "PID", "PV1", "ORC", "OBR", "OBX"}
    assert len(read.segments("OBR")) == 1


def test_without_any_order_number_the_study_is_the_fillers(source: MadeSource) -> None:
    read = oru(sent(request(with_header(source, AccessionNumber=""))))
    assert str(read.segment("OBR")[3]) == STUDY


def numbers(found: list[Obx]) -> list[Obx]:
    return [one for one in found if one.type == "NM"]


def test_each_group_has_its_finding_site_tracking_and_figures(source: MadeSource, objects: tuple[ResultObject, ...]) -> None:
    found = observations(oru(sent(request(source), objects)))
    assert next(one.sub_id for one in found if one.type == "TX" and one.group == "0") == "0.1"
    assert any("Not for diagnosis" in one.value for one in found if one.group == "0")
    assert ("113014", "DICOM Study", "DCM") in [one.code for one in found]
    [nodule] = [one for one in found if one.code[0] == "112039" and one.value == "nodule-1"]
    group = [one for one in found if one.group == nodule.group]
    assert [(one.type, one.code[0], one.value, one.unit) for one in group if one.type in ("CWE", "NM")] == [
        ("CWE", "121071", "27925004^Nodule^SCT^^Nodule 1^L", ""),
        ("CWE", "363698007", "39607008^Lung^SCT", ""),
        ("NM", "103339001", "12.5", "mm"),
        ("NM", "111012", "91.0", "%"),
        ("CWE", "129737002", "129742005^Spiculated lesion^SCT", ""),
    ]
    assert len({one.sub_id for one in found if one.group.isdecimal()}) == len([one for one in found if one.group.isdecimal()])
    assert {one.status for one in found} == {"P"}


def test_objects_of_the_run_are_named_by_study_series_instance_and_class(source: MadeSource, objects: tuple[ResultObject, ...]) -> None:
    found = observations(oru(sent(request(source), objects)))
    report = next(o.data_set for o in objects if o.kind == "SR")
    [named] = [one for one in found if one.code[1] == "SR Instance UID"]
    assert [one.value for one in found if one.sub_id == named.sub_id] == [
        STUDY,
        report.SeriesInstanceUID,
        report.SOPInstanceUID,
        report.SOPClassUID,
    ]


def test_value_that_could_not_be_measured_has_none(source: MadeSource) -> None:
    result = full_result(source)
    lost = dataclasses.replace(result, measurements=(Measurement("total", "Marked volume", VOLUME, math.nan, ML, ""),))
    [one] = [o for o in numbers(observations(oru(sent(request(source, lost))))) if o.code[0] == VOLUME.value]
    assert (one.value, one.status) == ("", "X")


def test_tiny_and_large_values_are_written_without_exponent(source: MadeSource) -> None:
    values = (0.0001, -0.00004, 123456789012.25, 1e-9)
    measured = tuple(Measurement(f"m{n}", f"m{n}", VOLUME, v, ML, "") for n, v in enumerate(values))
    result = dataclasses.replace(full_result(source), measurements=measured)
    found = [o for o in numbers(observations(oru(sent(request(source, result))))) if o.code[0] == VOLUME.value]
    assert [float(one.value) for one in found] == [round(v, 4) for v in values]
    assert all("e" not in one.value.lower() for one in found)


def test_what_replaces_earlier_results_corrects_them(source: MadeSource) -> None:
    earlier = Predecessor(STUDY, "1.2.3", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.3.4", 1)
    read = oru(sent(dataclasses.replace(request(source), predecessors=(earlier,))))
    assert str(read.segment("OBR")[25]) == "C"
    found = observations(read)
    assert [one.value for one in found if one.code[1] == "Replaced SR Instance UID"] == ["1.2.3.4"]
    assert {one.status for one in found} == {"C"}


def test_nothing_found_and_not_analysed_are_results(source: MadeSource) -> None:
    none = observations(oru(sent(request(source, empty_result()))))
    assert [one.value for one in none if one.code == OUTCOME] == ["111241^All algorithms succeeded; without findings^DCM"]
    lost = BuildRequest(request(source).key, source.data_sets, None, empty_result(not_analysed=("Slices are missing.",)), "0.1.0", "AINODE")
    found = observations(oru(sent(lost)))
    assert [one.value for one in found if one.code == OUTCOME] == ["111245^No algorithms succeeded; without findings^DCM"]
    assert any("Slices are missing." in one.value for one in found)
    assert not numbers(found)


def test_korean_texts_whatever_the_sources_character_set(source: MadeSource) -> None:
    read = oru(sent(request(with_header(source, SpecificCharacterSet="ISO_IR 100")), form=Hl7Form("ko")))
    assert str(read.segment("MSH")[19]) == "ko"
    assert any("\uc9c4\ub2e8\uc6a9\uc774 \uc544\ub2d9\ub2c8\ub2e4" in one.value for one in observations(read))


def test_source_of_two_patients_gives_no_message(source: MadeSource) -> None:
    mixed = with_header(source)
    mixed.data_sets[3].PatientID = "OTHER"
    with pytest.raises(PatientMismatchError, match="PatientID"):
        sent(request(mixed))


def test_forms_for_other_receivers_are_other_messages(source: MadeSource) -> None:
    made = build_messages(request(source), (), [FORM, Hl7Form("en", "PACS", ""), FORM])
    assert [one.form.application for one in made if isinstance(one.form, Hl7Form)] == ["RIS", "PACS"]
    assert len({one.uid for one in made}) == 2
