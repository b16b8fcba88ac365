"""Headers that hospitals really send: one fault each, and which sources can have it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

Change = Callable[[Sequence[Dataset]], None]

HAS_NONE = "has none"
ONE_INSTANCE = "one instance"
"""Reasons why a source cannot have a fault."""


@dataclass(frozen=True)
class Header:
    """A fault.

    Attributes:
        change: What it does to the instances of a series, in their order.
        said: Keywords that the report must name, since no object may hold the value or it is against the standard.
        differs: Keywords in which dcentvfy finds results and source to differ; it passes over those that results leave out.
        flawed: Keywords that dciodvfy finds fault with in results as in the source, since they are kept as they are.
        needs: Keyword that the source must hold somewhere for the fault to mean anything.
        several: Whether it takes several instances.
        as_frames: The series is no volume for a reason that its model accepts: it takes slices.
    """

    change: Change
    said: tuple[str, ...] = ()
    differs: tuple[str, ...] = ()
    flawed: tuple[str, ...] = ()
    needs: str = ""
    several: bool = False
    as_frames: bool = False

    def reason_against(self, data_sets: Sequence[Dataset]) -> str:
        """Why a source cannot have it; empty if it can."""
        if self.several and len(data_sets) < 2:
            return ONE_INSTANCE
        if self.needs and not any(element.keyword == self.needs for element in data_sets[0].iterall()):
            return HAS_NONE
        return ""


def raw(tag: int, vr: str, value: bytes) -> Callable[[Dataset], None]:
    """An element with exactly these bytes."""

    def change(ds: Dataset) -> None:
        padded = value + (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
        ds[tag] = RawDataElement(Tag(tag), vr, len(padded), padded, 0, is_implicit_VR=False, is_little_endian=True)

    return change


def each(*changes: Callable[[Dataset], None]) -> Change:
    def change(data_sets: Sequence[Dataset]) -> None:
        for ds in data_sets:
            for one in changes:
                one(ds)

    return change


def elements(**values: object) -> Callable[[Dataset], None]:
    """Elements by keyword; None takes one out, at every depth."""

    def change(ds: Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                without(ds, keyword)
            else:
                setattr(ds, keyword, value)

    return change


def without(ds: Dataset, keyword: str) -> None:
    ds.pop(keyword, None)
    for element in ds:
        if element.VR == "SQ":
            for item in element.value:
                without(item, keyword)


def no(*keywords: str, **options: object) -> Header:
    """A header without elements."""
    return Header(each(elements(**dict.fromkeys(keywords))), needs=keywords[0], **options)  # type: ignore[arg-type]


def second(**values: object) -> Change:
    """The second instance is another's."""

    def change(data_sets: Sequence[Dataset]) -> None:
        elements(**values)(data_sets[1])

    return change


def at_one_place(data_sets: Sequence[Dataset]) -> None:
    data_sets[1].ImagePositionPatient = data_sets[0].ImagePositionPatient


def reversed_order(data_sets: Sequence[Dataset]) -> None:
    assert isinstance(data_sets, list)
    data_sets.reverse()
    for number, ds in enumerate(data_sets, start=1):
        ds.InstanceNumber = number


def two_sets(data_sets: Sequence[Dataset]) -> None:
    """One name in two character sets, as a workstation between scanner and archive makes them; dcentvfy compares bytes."""
    for number, ds in enumerate(data_sets):
        ds.SpecificCharacterSet = ("ISO_IR 100", "ISO_IR 192")[number % 2]
        ds.PatientName = "Müller^Jörg"


NAME, PATIENT_ID, ISSUER, DESCRIPTION, REFERRING = 0x00100010, 0x00100020, 0x00100021, 0x00081030, 0x00080090


def written(declared: str | list[str] | None, name: bytes, text: bytes = b"") -> Header:
    """A name, and a text in the elements that hold one, in bytes of a character set."""
    changes = [elements(SpecificCharacterSet=declared), raw(NAME, "PN", name), raw(REFERRING, "PN", name)]
    if text:
        changes += [raw(DESCRIPTION, "LO", text), raw(ISSUER, "LO", text)]
    return Header(each(*changes))


def coded(declared: str | list[str], codec: str, name: str, text: str) -> Header:
    return written(declared, name.encode(codec), text.encode(codec))


WRITTEN = ("PatientName", "ReferringPhysicianName", "StudyDescription", "IssuerOfPatientID")


KANJI = (
    b"Yamada^Tarou=\033$B;3ED\033(B^\033$BB@O:\033(B=\033$B$d$^$@\033(B^\033$B$?$m$&\033(B",
    b"\033$B;3ED\033(B",
)
HALF_WIDTH = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\033$B;3ED\033(J^\033$BB@O:\033(J=\033$B$d$^$@\033(J^\033$B$?$m$&\033(J"
HANGUL = (
    b"Hong^Gildong=\033$)C\xfb\xf3^\033$)C\xd1\xce\xd4\xd7=\033$)C\xc8\xab^\033$)C\xb1\xe6\xb5\xbf",
    b"\033$)C\xb1\xe6\xb5\xbf",
)
HANZI = b"Zhang^XiaoDong=\033$)A\xd5\xc5^\033$)A\xd0\xa1\xb6\xab"
"""Bytes of the standard's own examples. Source: PS3.5 H.3, I.2, K.2."""

CHARACTERS: dict[str, Header] = {
    "ISO_IR 6": Header(each(elements(SpecificCharacterSet="ISO_IR 6"))),
    "ISO_IR 100": coded("ISO_IR 100", "latin-1", "Müller^Jörg", "Städtisches Klinikum"),
    "ISO_IR 101": coded("ISO_IR 101", "iso8859-2", "Wałęsa^Łukasz", "Szpital Łódź"),
    "ISO_IR 144": coded("ISO_IR 144", "iso8859-5", "Люкceмбypг", "Больница"),  # noqa: RUF001 - the standard's own example
    "ISO_IR 127": coded("ISO_IR 127", "iso8859-6", "قباني^لنزار", "مستشفى"),
    "ISO_IR 166": coded("ISO_IR 166", "tis-620", "สมชาย^ใจดี", "โรงพยาบาล"),
    "ISO 2022 IR 13 and 87": written(["ISO 2022 IR 13", "ISO 2022 IR 87"], HALF_WIDTH),
    "ISO 2022 IR 87": written(["", "ISO 2022 IR 87"], *KANJI),
    "ISO 2022 IR 87 and 159": written(["", "ISO 2022 IR 87", "ISO 2022 IR 159"], *KANJI),
    "ISO 2022 IR 149": written(["", "ISO 2022 IR 149"], *HANGUL),
    "ISO 2022 IR 58": written(["", "ISO 2022 IR 58"], HANZI),
    "GB18030": coded("GB18030", "gb18030", "Wang^XiaoDong=王^小东", "人民医院"),
    "GBK": replace(coded("GBK", "gbk", "Wang^XiaoDong=王^小东", "人民医院"), flawed=WRITTEN),  # a set that dciodvfy does not know
    "ISO_IR 192": coded("ISO_IR 192", "utf-8", "Wang^XiaoDong=王^小东=홍^길동", "Ünïcode 山田"),
    "undeclared Latin-1": written(None, "Müller^Jörg".encode("latin-1"), "Städtisches Klinikum".encode("latin-1")),
    "undeclared UTF-8": written(None, "Müller^Jörg".encode(), "Städtisches Klinikum".encode()),
    "undeclared Shift JIS": replace(
        written(None, "山田^太郎".encode("shift_jis"), "病院".encode("shift_jis")), said=("PatientName", "StudyDescription"), flawed=WRITTEN
    ),
    "undeclared Latin-1 in the issuer alone": Header(each(raw(ISSUER, "LO", "Köln".encode("latin-1")))),
    "a set that nobody knows": Header(each(elements(SpecificCharacterSet="ISO_IR 999")), said=("SpecificCharacterSet",)),
    "two sets in one series": Header(two_sets, several=True, differs=("PatientName",)),
}
"""Specific Character Set, and names in it."""

DIRTY: dict[str, Header] = {
    "empty patient and study fields": Header(
        each(elements(PatientName="", PatientBirthDate="", PatientSex="", StudyID="", AccessionNumber="", IssuerOfPatientID=""))
    ),
    "no Patient's Name": no("PatientName"),
    "no Patient ID": no("PatientID", "IssuerOfPatientID"),
    "no Patient's Birth Date and Sex": no("PatientBirthDate", "PatientSex"),
    "no Study ID": no("StudyID"),
    "no Accession Number": no("AccessionNumber"),
    "no Study Date and Time": no("StudyDate", "StudyTime"),
    "no Referring Physician's Name": no("ReferringPhysicianName"),
    "no Manufacturer": no("Manufacturer"),
    "no Manufacturer's Model Name": no("ManufacturerModelName"),
    "no Modality": no("Modality", said=("Modality",)),
    "no Body Part Examined": no("BodyPartExamined"),
    "no Frame of Reference UID": no("FrameOfReferenceUID", "PositionReferenceIndicator"),
    "no Slice Thickness": no("SliceThickness"),
    "no Pixel Spacing": no("PixelSpacing"),
    "no position and orientation": no(
        "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "SliceThickness", "PlanePositionSequence", as_frames=True
    ),
    "no Image Orientation": no("ImageOrientationPatient"),
    "no Instance Number": no("InstanceNumber"),
    "lossy without ratio": Header(each(elements(LossyImageCompression="01"))),
    "Patient's Sex U": Header(each(elements(PatientSex="U")), said=("PatientSex",)),
    "Patient's Sex with a blank": Header(each(raw(0x00100040, "CS", b"M "))),
    "Patient's Age 64": Header(each(elements(PatientAge="64")), said=("PatientAge",)),
    "Patient's Weight 80 kg": Header(each(raw(0x00101030, "DS", b"80 kg")), said=("PatientWeight",)),
    "Patient's Weight empty": Header(each(raw(0x00101030, "DS", b""))),
    "name of six parts": Header(each(raw(NAME, "PN", b"A^B^C^D^E^F")), said=("PatientName",), flawed=("PatientName",)),
    "Study Description of 80 characters": Header(
        each(raw(DESCRIPTION, "LO", b"x" * 80)), said=("StudyDescription",), differs=("StudyDescription",)
    ),
    "Accession Number of 20 characters": Header(
        each(raw(0x00080050, "SH", b"A" * 20)), said=("AccessionNumber",), flawed=("AccessionNumber",)
    ),
    "Study Date with dots": Header(each(raw(0x00080020, "DA", b"2024.01.02")), said=("StudyDate",), flawed=("StudyDate",)),
    "Study Instance UID with a leading zero": Header(
        each(raw(0x0020000D, "UI", b"1.2.03.4")), said=("StudyInstanceUID",), flawed=("StudyInstanceUID", "RTReferencedStudySequence")
    ),
    "instances in reversed order": Header(reversed_order, several=True),
    "two slices at one place": Header(at_one_place, needs="ImagePositionPatient", several=True),
    "two Patient IDs": Header(second(PatientID="X"), several=True),
    "two Study Instance UIDs": Header(second(StudyInstanceUID="1.2.826.0.1.3680043.8.498.99"), several=True),
    "two Series Instance UIDs": Header(second(SeriesInstanceUID="1.2.826.0.1.3680043.8.498.98"), several=True),
}
"""Each case in which the object library or a validator fails by itself, and what is like it."""

HEADERS: dict[str, Header] = {"clean": Header(each()), **DIRTY, **CHARACTERS}
