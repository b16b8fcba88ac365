"""Profiles in node.yaml, and the presets as the documentation has them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian, JPEGLSLossless

from dicom_node.config import dump_snapshot, load_snapshot
from dicom_node.delivery.fallbacks import Form
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.jobs import CommitPolicy
from dicom_node.domain.profiles import PRESETS, Fallback, ProfileObject, ReportClass, SegType
from dicom_node.pipeline.results.forms import profile_for
from dicom_node.sr_writer import wanted_variants
from tests.conftest import ROOT
from tests.unit.test_config import NODE, faults, load

OWN = NODE.replace("port: 4242}", "port: 4242, profile: ward}").replace(
    "models_dir", "profiles:\n  - {name: ward, objects: [sr, pdf], sr_class: text, language: ko}\nmodels_dir"
)


def test_destination_has_the_profile_that_it_names(tmp_path: Path) -> None:
    configuration = load_snapshot(dump_snapshot(load(tmp_path, OWN)))
    profile = configuration.profile_of("pacs")
    assert profile is not None
    assert (profile.objects, profile.sr_class) == ((ProfileObject.SR, ProfileObject.PDF), ReportClass.BASIC_TEXT)
    assert wanted_variants(profile) == {"SR": "sr:text:ko", "DOC": "doc:ko"}
    assert configuration.profile_of("nobody") is None


def test_destination_without_a_profile_gets_report_segmentation_and_pictures(tmp_path: Path) -> None:
    assert load(tmp_path).profile_of("pacs") is PRESETS["orthanc"]


def test_faults_name_line_and_what_was_meant(tmp_path: Path) -> None:
    [fault] = faults(tmp_path, NODE.replace("port: 4242}", "port: 4242, profile: legacy-pac}"))
    assert "node.yaml:8: destinations[0].profile: no result profile is named 'legacy-pac' (did you mean 'legacy-pacs'?)" in fault
    wrong = OWN.replace("name: ward, objects", "name: ohif, objects").replace("language: ko", "language: kr")
    found = faults(tmp_path, wrong)
    assert [re.sub(r".*node.yaml:(\d+): ", r"\1 ", f) for f in found] == [
        "8 destinations[0].profile: no result profile is named 'ward' (known: generic-pacs, ohif, orthanc, sr-sc, legacy-pacs, research)",
        "10 profiles[0].language: no catalogue of language 'kr' (known: en, ko)",
        "10 profiles[0].name: 'ohif' is the name of a preset (give your own profile another name)",
    ]


def test_misspelt_option_and_word_of_a_profile_are_faults(tmp_path: Path) -> None:
    found = faults(tmp_path, OWN.replace("sr_class: text", "sr_clas: text").replace("[sr, pdf]", "[sr, pfd]"))
    assert any("profiles[0].sr_clas: unknown option (did you mean 'sr_class'?)" in f for f in found)
    assert any("node.yaml:10: profiles[0].objects[1]" in f for f in found)


def test_presets_are_documented_as_they_are() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| (.*) \| `(\w+)` \| (.*)\|$", (ROOT / "docs" / "profiles.md").read_text("utf-8"), re.MULTILINE)
    found = {name: (objects, report, seg.strip()) for name, objects, report, seg in rows}
    assert found == {
        p.name: (", ".join(f"`{o}`" for o in p.objects), p.sr_class, f"`{p.seg_type}`" if ProfileObject.SEG in p.objects else "")
        for p in PRESETS.values()
    }


def with_profile(options: str, destination: str = "") -> str:
    node = NODE.replace("port: 4242}", f"port: 4242, profile: ward{destination}}}")
    return node.replace("models_dir", f"profiles:\n  - {{name: ward, objects: [sr, sc]{options}}}\nmodels_dir")


@pytest.mark.parametrize(
    ("profile", "destination", "commit"),
    [
        ("", "", CommitPolicy.OFF),
        (", commit: require", "", CommitPolicy.REQUIRE),
        (", commit: require", ", commit: wait", CommitPolicy.WAIT),
        (", commit: require", ", commit: off", CommitPolicy.OFF),
        (", commit: off", ", commit: require", CommitPolicy.REQUIRE),
    ],
)
def test_destination_says_what_is_committed_before_its_profile(
    tmp_path: Path, profile: str, destination: str, commit: CommitPolicy
) -> None:
    loaded = load_snapshot(dump_snapshot(load(tmp_path, with_profile(profile, destination))))
    pacs = loaded.destinations["pacs"]
    assert isinstance(pacs, StorageScp)
    assert pacs.commit is commit


def test_syntaxes_and_chain_of_a_profile(tmp_path: Path) -> None:
    loaded = load_snapshot(dump_snapshot(load(tmp_path, with_profile(", transfer_syntaxes: [jpeg-ls, implicit], fallback: [text]"))))
    pacs, profile = loaded.destinations["pacs"], loaded.profile_of("pacs")
    assert isinstance(pacs, StorageScp)
    assert pacs.transfer_syntaxes == (JPEGLSLossless, ImplicitVRLittleEndian)
    assert profile is not None
    assert profile.fallback == (Fallback.BASIC_TEXT,)
    empty = load(tmp_path, with_profile(", fallback: []")).profile_of("pacs")
    assert empty is not None
    assert empty.fallback == ()
    [fault] = faults(tmp_path, with_profile(", transfer_syntaxes: [rle]"))
    assert "name implicit or explicit too: reports cannot be compressed" in fault


def test_presets_send_implicit_vr_alone_to_old_archives_and_report_with_pictures_alone_by_name(tmp_path: Path) -> None:
    pacs = load(tmp_path, NODE.replace("port: 4242}", "port: 4242, profile: legacy-pacs}")).destinations["pacs"]
    assert isinstance(pacs, StorageScp)
    assert pacs.transfer_syntaxes == (ImplicitVRLittleEndian,)
    assert PRESETS["sr-sc"].objects == (ProfileObject.SR, ProfileObject.SC)
    assert ProfileObject.SEG in PRESETS["generic-pacs"].objects


@pytest.mark.parametrize("preset", ["ohif", "sr-sc", "research", "legacy-pacs"])
@pytest.mark.parametrize(
    ("form", "kind", "options"),
    [
        (Form.SR_COMPREHENSIVE, "SR", {"sr_class": ReportClass.COMPREHENSIVE}),
        (Form.SR_ENHANCED, "SR", {"sr_class": ReportClass.ENHANCED}),
        (Form.SR_TEXT, "SR", {"sr_class": ReportClass.BASIC_TEXT}),
        (Form.SEG_BINARY, "SEG", {"seg_type": SegType.BINARY}),
        (Form.PDF, "DOC", {}),
        (Form.CAPTURE, "SC", {}),
    ],
)
def test_what_goes_instead_is_named_as_a_profile_that_has_it_would(preset: str, form: Form, kind: str, options: dict[str, object]) -> None:
    """So that an object that exists is found, and not built under the name of another form."""
    profile = PRESETS[preset]
    more = {"SR": ProfileObject.SR, "SEG": ProfileObject.SEG, "DOC": ProfileObject.PDF, "SC": ProfileObject.SC}[kind]
    objects = profile.objects if more in profile.objects else (*profile.objects, more)
    native = wanted_variants(replace(profile, objects=objects, **options))  # type: ignore[arg-type]
    assert wanted_variants(profile_for(form, profile))[kind] == native[kind]
