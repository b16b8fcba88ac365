"""CEL of rules: what is refused where the file is read, and what an expression says of a header or a result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.config import dump_snapshot
from dicom_node.config.expression_faults import ExpressionFault
from dicom_node.config.expressions import compile_after, compile_when
from dicom_node.config.keywords import visible_keywords
from tests.conftest import ROOT
from tests.unit.test_config import RULES, faults, load

CT = {
    "Modality": ("CT",),
    "SliceThickness": (" 1.50",),
    "InstanceNumber": ("7 ",),
    "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
    "PixelSpacing": ("0.7", "0.7"),
    "PatientName": ("Yamada^Tarou=山田^太郎=やまだ^たろう",),
    "StudyDescription": ("CT Thorax\0",),
    "StudyDate": ("20240131",),
    "CallingAET": ("PACS", "GATEWAY"),
    "Rows": ("512",),
    "BodyPartExamined": ("CHEST", "ABDOMEN"),
    "KVP": ("high",),
    "AcquisitionNumber": ("1.5",),
    "PatientAge": ("",),
    "SeriesNumber": ("99999999999999999999",),
    "ReconstructionDiameter": ("1E999",),
}
FALSE = "the expression is false"
RESULT: dict[str, Any] = {
    "model": "chest-ct",
    "version": "1.2",
    "findings": {"Pneumothorax": {"present": True, "confidence": 0.93}, "Nodule": {"present": False, "confidence": None}},
    "measurements": {"laa_950": {"value": 7, "unit": "%"}},
    "segments": {"lungs": {"volume_ml": 5100.0, "label": "Lungs"}},
}


@pytest.mark.parametrize(
    "text",
    [
        'Modality == "CT"',
        "SliceThickness == 1.5 && SliceThickness <= 2.0",
        "InstanceNumber == 7 && Rows >= 512",
        '"AXIAL" in ImageType && !("LOCALIZER" in ImageType)',
        'ImageType.exists(value, value.startsWith("AX"))',
        "size(PixelSpacing) == 2 && PixelSpacing[0] < 1.0",
        'StudyDescription == "CT Thorax"',
        'StudyDescription.matches("(?i)thorax|lung")',
        'PatientName.contains("山田")',
        'StudyDate >= "20240101" && StudyDate < "20250101"',
        '"PACS" in CallingAET',
        'present("Modality") && !present("PatientAge") && !present("SeriesTime")',
        'Modality == "CT" || SliceThickness < 1.0 || SeriesTime == "x"',
        'SeriesTime == "x" || Modality == "CT"',
        "!(present('SeriesTime') && SeriesTime > '12')  // an afternoon",
        "Modality in ['CT', 'MR']",
        "double(InstanceNumber) / 2.0 > 3.0",
        "size(SoftwareVersions) == 0",
        'present("BodyPartExamined")',
    ],
)  # fmt: skip
def test_expression_is_met(text: str) -> None:
    assert compile_when(text).holds(CT) == (True, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('Modality == "MR"', FALSE),
        ('SeriesTime < "12"', "SeriesTime has no value"),
        ('!(SeriesTime < "12")', "SeriesTime has no value"),
        ('PatientAge == "018Y"', "PatientAge has no value"),
        ('Modality == "CT" && SeriesTime < "12"', "SeriesTime has no value"),
        ('Modality == "MR" && SeriesTime < "12"', FALSE),
        ("KVP > 100.0", "KVP is no number"),
        ("AcquisitionNumber > 0", "AcquisitionNumber is no whole number"),
        ("SeriesNumber > 0", "SeriesNumber is no whole number"),
        ("ReconstructionDiameter > 0.0", "ReconstructionDiameter is no number"),
        ('BodyPartExamined == "CHEST"', "BodyPartExamined has 2 values, the dictionary allows one"),
        ("100 / (InstanceNumber - 7) > 1", "divide by zero"),
        ("InstanceNumber * 9223372036854775807 > 1", "overflow"),
        ("PixelSpacing[2] > 1.0", "index"),
        ('int(StudyDescription) > 1', "cannot be computed"),
        ('"FOO" in SoftwareVersions', FALSE),
    ],
)  # fmt: skip
def test_expression_is_not_met_for_a_reason(text: str, reason: str) -> None:
    met, why = compile_when(text).holds(CT)
    assert not met
    assert reason in why


def test_padded_empty_and_missing_are_one() -> None:
    expression = compile_when('Modality != "MR"')
    for values in ((), ("",), (" \0",)):
        assert expression.holds({"Modality": values}) == expression.holds({}) == (False, "Modality has no value")


def test_keywords_are_those_that_the_expression_reads() -> None:
    text = """Modality == "SliceThickness" && present("PatientAge") || StudyDate > '''Rows'''  // Columns
      && ImageType.exists(x, x == r"KVP\\d" || x == 'it\\'s Manufacturer')"""
    assert compile_when(text).keywords == {"Modality", "PatientAge", "StudyDate", "ImageType"}


def test_every_visible_keyword_can_be_read() -> None:
    for keyword in visible_keywords()[::50]:
        assert compile_when(f'present("{keyword}")').keywords == compile_when(f"dyn({keyword}) == 1").keywords == {keyword}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('Modalty == "CT"', "column 1: 'Modalty' is no DICOM keyword, did you mean 'Modality'?"),
        ("Modality == CT", "'CT' is no DICOM keyword; a text stands in quotes"),
        ('Modality == "CT" && PixelData == ""', "it is binary"),
        ('StudyComments == "x"', "it is retired"),
        ("SliceThickness < 3", "write the number with a decimal point"),
        ("InstanceNumber < 3.5", "without a decimal point"),
        ('SliceThickness > "abc"', "without quotes"),
        ("Modality == 1", "in quotes"),
        ('ImageType == "AXIAL"', 'write "VALUE" in KEYWORD'),
        ('"CT" in Modality', "write KEYWORD =="),
        ("Modality", "gives a value of type string, it must be true or false"),
        ("SliceThickness + 1.0", "of type double"),
        ("dyn(Modality)", "of type dyn"),
        ('Modality = "CT"', "equality is written =="),
        ('Modality == "CT" and true', "CEL writes &&"),
        ("Modality ==", "ends too early"),
        ("  ", "ends too early"),
        ('Modality == "CT', "syntax error"),
        ("has(Modality)", 'write present("KEYWORD")'),
        ('present("Modalty")', "did you mean 'Modality'?"),
        ('present("PixelData")', "it is binary"),
        ("present(Modality)", "one keyword in quotes"),
        ('present("Mod" + "ality")', "one keyword in quotes"),
        ("present()", "one keyword in quotes"),
        ('startWith(Modality, "C")', "did you mean 'startsWith'?"),
        ('result.finding("x").present', "`when` sees DICOM keywords"),
        ('StudyDescription.matches("(a")', "missing )"),
        ('matches(StudyDescription, "(?=a)")', "no look-ahead"),
        ("(" * 500 + "true" + ")" * 500, "nested too deeply"),
        ("true" + " || true" * 2000, "characters"),
        ("\ud800", "surrogate"),
        ("Modality == '\0'\0", "syntax error"),
    ],
)  # fmt: skip
def test_bad_expression_is_refused_when_it_is_read(text: str, words: str) -> None:
    with pytest.raises(ExpressionFault) as caught:
        compile_when(text)
    assert words in str(caught.value)


def test_all_faults_of_an_expression_are_named_with_line_and_column() -> None:
    with pytest.raises(ExpressionFault) as caught:
        compile_when('Modalty == "CT" &&\n  SliceThickness < 3')
    assert [p.partition(":")[0] for p in caught.value.problems] == ["line 1, column 1", "line 2, column 18"]


def test_pathological_pattern_is_linear() -> None:
    expression = compile_when('StudyDescription.matches("(a+)+$")')
    assert expression.holds({"StudyDescription": ("a" * 200_000 + "!",)}) == (False, FALSE)


def test_nested_loops_end() -> None:
    text = "true"
    for name in "abcdefgh":
        text = f"[1,2,3,4,5,6,7,8,9,10].all({name}, {text})"
    met, reason = compile_when(text + ' && Modality == "CT"').holds(CT)
    assert (met, reason) == (False, "the expression takes too many steps")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('result.finding("Pneumothorax").present', (True, "")),
        ('result.finding("Pneumothorax").confidence > 0.9', (True, "")),
        ('result.finding("Nodule").present', (False, FALSE)),
        ('result.finding("Nothing").present', (False, FALSE)),
        ('result.findings["Nothing"].present', (False, 'the result has no "Nothing"')),
        ('result.measurements["laa_950"].value > 5.0', (True, "")),
        ('result.measurements["laa_950"].unit == "%"', (True, "")),
        ('result.measurements["absent"].value > 5.0', (False, 'the result has no "absent"')),
        ("has(result.measurements.laa_950) && !has(result.measurements.absent)", (True, "")),
        ('"lungs" in result.segments && result.segments["lungs"].volume_ml > 5000.0', (True, "")),
        ("result.findings.exists(label, result.findings[label].present)", (True, "")),
        ('result.model == "chest-ct" && result.version.startsWith("1.")', (True, "")),
    ],
)  # fmt: skip
def test_after_sees_what_a_model_found(text: str, expected: tuple[bool, str]) -> None:
    assert compile_after(text).holds(RESULT) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('result.finding("x").presnt', "a finding has no 'presnt', did you mean 'present'?"),
        ("result.measurments", "a result has no 'measurments', did you mean 'measurements'?"),
        ('result.measurements["x"].val > 1.0', "a measurement has no 'val'"),
        ('result.measurements["x"].value > 1', "with a decimal point"),
        ('result.findings["x"]', "must be true or false"),
        ('Modality == "CT"', "`after.when` sees `result`"),
        ("reslt.model == 'x'", "'reslt' is not known; `after.when` sees `result`"),
    ],
)  # fmt: skip
def test_bad_after_is_refused_when_it_is_read(text: str, words: str) -> None:
    with pytest.raises(ExpressionFault) as caught:
        compile_after(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "result", [{}, {"model": 3}, {"findings": 1}, {"findings": {"x": 1}}, {"measurements": {"x": {"value": "much"}}}, {"findings": None}]
)
def test_after_never_raises_whatever_the_result(result: dict[str, Any]) -> None:
    met, reason = compile_after('result.finding("x").present').holds(result)
    assert not met
    assert reason


WORDS = st.sampled_from(
    [
        "Modality",
        "ImageType",
        "SliceThickness",
        '"CT"',
        "3",
        "3.0",
        "==",
        "<",
        "in",
        "&&",
        "||",
        "!",
        "(",
        ")",
        "[",
        "]",
        "matches",
        ".",
        "'",
    ]
)
HEADERS = st.dictionaries(
    st.sampled_from(["Modality", "SliceThickness", "InstanceNumber", "ImageType"]),
    st.lists(st.text(max_size=6) | st.sampled_from(["1.5", "7", "1e400", "CT"]), max_size=3).map(tuple),
)


@given(st.text(max_size=20) | st.lists(WORDS, max_size=8).map(" ".join), HEADERS)
def test_reading_and_evaluating_raise_nothing_else(text: str, header: dict[str, tuple[str, ...]]) -> None:
    for compiler in (compile_when, compile_after):
        try:
            expression = compiler(text)
        except ExpressionFault as error:
            if not error.problems:
                raise AssertionError("a fault without a word") from error
        else:
            met, reason = expression.holds(header)
            assert met is not bool(reason)


@given(HEADERS)
def test_an_expression_and_its_negation_never_both_hold(header: dict[str, tuple[str, ...]]) -> None:
    for text in ('Modality == "CT"', "SliceThickness < 2.0", "InstanceNumber > 3", '"CT" in ImageType'):
        assert not (compile_when(text).holds(header)[0] and compile_when(f"!({text})").holds(header)[0])


def test_every_fault_of_the_rules_is_reported_at_once_with_its_line(tmp_path: Path) -> None:
    rules = """\
rules:
  - name: first
    match:
      Modality: !CT
      Modalty: CT
      PatientID: 0012
      StudyTime: 12:30
      00100010: x
      SliceThickness: [thin, 1, "3..1"]
      SeriesDescription: "~(a"
      StudyDescription: yes
    when: |
      Modality == "CT" &&
      SliceThickness < 3
    inputs:
      venous:
        match: {PatientName: ">=A"}
        prior: {within: 1y, same: [Modality, BodyPart]}
    model: chest-ct-densitometri
    send_to: [pasc]
  - name: second
    match: {Modality: []}
    bogus: 1
    after: {model: chest-ct-densitometry, when: result.typo}
    model: chest-ct-densitometry
"""
    found = [f.partition("rules.yaml:")[2] for f in faults(tmp_path, rules=rules)]
    expected = [
        "4: rules[0].match.Modality: YAML takes a word that begins with ! for a tag",
        "5: rules[0].match.Modalty: 'Modalty' is no DICOM keyword, did you mean 'Modality'?",
        "6: rules[0].match.PatientID: YAML reads 0012 as the number 10",
        "7: rules[0].match.StudyTime: YAML reads 12:30 as the number 750",
        "8: rules[0].match.00100010: '00100010' is a tag number, elements are named by keyword: write 'PatientName'",
        "9: rules[0].match.SliceThickness[0]: 'thin' is no number",
        "9: rules[0].match.SliceThickness[2]: the range '3..1' is empty",
        "10: rules[0].match.SeriesDescription: '(a' is no regular expression of RE2",
        "11: rules[0].match.StudyDescription: YAML reads yes, no",
        "12: rules[0].when: line 2, column 16: '<' cannot be applied to double, int",
        "17: rules[0].inputs.venous.match.PatientName: a range makes no sense for PatientName",
        "18: rules[0].inputs.venous.prior.same[1]: 'BodyPart' is no DICOM keyword",
        "19: rules[0].model: no model bundle",
        "20: rules[0].send_to[0]: no destination is named 'pasc'",
        "22: rules[1].match.Modality: an empty list",
        "23: rules[1].bogus: unknown option",
        "24: rules[1].after.when: column 7: a result has no 'typo'",
    ]
    assert len(found) == len(expected), "\n".join(found)
    for one, beginning in zip(found, expected, strict=True):
        assert one.startswith(beginning)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("Modality: >=1.5", "in quotes"),
        ("SliceThickness: *x", "in quotes"),
        (r'StudyDescription: "~\d"', "single quotes"),
        ("StudyDescription: ~", "write absent"),
        ("StudyDescription: >3", "quote it"),
        ("StudyDate: 2024-13-01", "is no date"),
    ],
)
def test_what_yaml_makes_of_operators_is_explained(tmp_path: Path, value: str, words: str) -> None:
    [found] = faults(tmp_path, rules=RULES.replace("match: {Modality: CT}", f"match:\n      {value}"))
    assert words in found


def test_a_snapshot_is_read_without_the_engines(tmp_path: Path) -> None:
    rules = RULES.replace("{Modality: CT}", "{StudyDescription: '~(?i)chest', SliceThickness: '<3', StudyDate: 2024-01-31}")
    rules = rules.replace("    model:", "    when: 'Modality == \"CT\"'\n    model:")
    configuration = load(tmp_path, rules=rules)
    (tmp_path / "snapshot.json").write_text(dump_snapshot(configuration))
    program = (
        "import sys; from pathlib import Path; from dicom_node.config import load_snapshot\n"
        "rules = load_snapshot(Path(sys.argv[1]).read_text()).rules\n"
        "print(len(rules[0].match), rules[0].when, sorted({'re2', 'cel_expr_python', 'google.protobuf'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", program, tmp_path / "snapshot.json"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == '3 Modality == "CT" []'
