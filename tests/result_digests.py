"""Digests of result objects over many requests: what shows whether a change of the writers changes what they write.

`python -m tests.result_digests` compares with `tests/data/result_digests.json`, `--write` stores anew what was meant to change.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from dicom_node.domain.frames import Frame, FrameSet
from dicom_node.domain.jobs import JobKey
from dicom_node.domain.profiles import PRESETS, Charset, ProfileObject, ReportClass, ResultProfile, ScModality, SegType
from dicom_node.domain.results import Highlight, InferenceResult, Measurement, Predecessor, Segment, Stage
from dicom_node.domain.volume import Volume
from dicom_node.sr_writer import (
    BuildRequest,
    ObjectKind,
    ResultForm,
    ResultObject,
    SegKind,
    SrClass,
    build_for_profiles,
    build_results,
    build_self_test,
    encoded,
)
from tests.result_findings import KEY, LUNG, ML, ORGAN, VOLUME, empty_result, full_result, request
from tests.result_sources import NOW, SERIES, SOURCES, STUDY, MadeSource, color, gray, header, stack

STORED = Path(__file__).parent / "data" / "result_digests.json"
EVERYTHING = ResultForm(objects=frozenset(ObjectKind))
OTHER = ResultProfile(
    "other",
    tuple(ProfileObject),
    sr_class=ReportClass.ENHANCED,
    seg_type=SegType.LABELMAP,
    sc_modality=ScModality.SOURCE,
    charset=Charset.UTF8,
    series_number_base=700,
    description_prefix="SITE",
)
PROFILES = (PRESETS["ohif"], PRESETS["legacy-pacs"], PRESETS["research"], OTHER, dataclasses.replace(OTHER, language="ko"))
_OF_THE_CLOCK = ("InstanceCreationDate", "InstanceCreationTime", "PresentationCreationDate", "PresentationCreationTime")
_BY_THE_LIBRARY, _LIBRARY = "ContributionDateTime", "Highdicom open-source contributors"

Builds = Callable[[], Sequence[ResultObject]]


def radiograph(rows: int, columns: int, *, window: bool = True) -> MadeSource:
    """A large CR with a gradient, an edge and noise, values that its window clips and some that are no numbers."""
    ds = header("CR", 1)
    ds.ImageType, ds.PatientOrientation, ds.ImagerPixelSpacing = ["ORIGINAL", "PRIMARY"], ["L", "F"], [0.14, 0.15]
    random = np.random.default_rng(11)
    values = np.add.outer(np.linspace(0, 2600, rows), np.linspace(0, 1500, columns)) + random.integers(0, 60, (rows, columns))
    values[rows // 3 : rows // 2, columns // 4 : columns // 3] = 3900
    gray(ds, values)
    shown = values.astype(np.float32)
    if not window:
        shown[:7, :5] = np.nan
    frame = Frame(shown, ds.SOPInstanceUID, 1, (0.14, 0.15), (2048.0, 3000.5) if window else None)
    return MadeSource("large CR", [ds], FrameSet((frame,)))


def photograph(rows: int, columns: int) -> MadeSource:
    """A large colour picture."""
    ds = header("SC", 1)
    ds.ImageType, ds.PatientOrientation, ds.ConversionType = ["ORIGINAL", "PRIMARY"], "", "WSD"
    pixels = np.random.default_rng(12).integers(0, 256, (rows, columns, 3)).astype(np.uint8)
    color(ds, pixels)
    return MadeSource("large SC", [ds], FrameSet((Frame(pixels, ds.SOPInstanceUID, 1, None),)))


def with_disc(source: MadeSource) -> InferenceResult:
    """Everything at once, the segments being a disc with a hole and two empty ones, drawn with wide edges on a large image."""
    result = full_result(source)
    assert isinstance(source.images, FrameSet)
    shape = source.images.frames[0].values.shape[:2]
    y, x = np.ogrid[: shape[0], : shape[1]]
    distance = np.hypot(y - shape[0] / 2, x - shape[1] / 3)
    disc = ((distance < min(shape) / 4) & (distance > min(shape) / 9))[None]
    first = dataclasses.replace(result.segments[0], mask=disc)
    highlight = Highlight("bright", disc & (x % 64 < 20)[None], (255, 120, 0))
    others = (dataclasses.replace(s, mask=np.zeros_like(disc)) for s in result.segments[1:])
    return dataclasses.replace(result, segments=(first, *others), highlights=(highlight,))


def organs(slices: int, side: int, many: int) -> BuildRequest:
    """Ellipsoids beside each other, in a volume without a window of its own."""
    source = stack(slices=slices, slice_mm=2.0)
    headers = []
    for ds in source.data_sets:
        ds.Rows, ds.Columns = side, side
        del ds.PixelData, ds.WindowCenter, ds.WindowWidth
        headers.append(ds)
    labels = np.zeros((slices, side, side), np.uint8)
    random = np.random.default_rng(4711)
    z, y, x = np.ogrid[:slices, :side, :side]
    for number in range(1, many + 1):
        at, radii = random.random(3) * (slices, side, side), 3 + random.random(3) * (slices / 5, side / 8, side / 8)
        inside = ((z - at[0]) / radii[0]) ** 2 + ((y - at[1]) / radii[1]) ** 2 + ((x - at[2]) / radii[2]) ** 2 < 1
        labels[inside & (labels == 0)] = number
    values = np.where(labels > 0, 60 + labels * 4, -20).astype(np.float32) + random.normal(0, 9, labels.shape).astype(np.float32)
    affine = np.array([[0, 0, 2.0, -39], [0, 2.0, 0, -31], [2.0, 0, 0, 1 - slices], [0, 0, 0, 1]])
    volume = Volume(values, affine, str(headers[0].FrameOfReferenceUID), tuple(str(h.SOPInstanceUID) for h in headers))
    segments = tuple(Segment(f"s{n}", f"Organ {n}", labels == n, ORGAN, LUNG, None, (n * 5, 255 - n * 5, 90)) for n in range(1, many + 1))
    measured = tuple(Measurement(f"v{s.id}", "Volume", VOLUME, float(s.mask.sum()), ML, "", None, s.id) for s in segments)
    made = dataclasses.replace(empty_result(), segments=segments, measurements=measured)
    return BuildRequest(KEY, headers, volume, made, "0.1.0", "AINODE")


def builds() -> Iterator[tuple[str, Builds]]:
    """Name what is built, each when it is called."""
    forms = {
        "comprehensive": ResultForm(sr_class=SrClass.COMPREHENSIVE, seg_kind=SegKind.LABELMAP, rle=True, charset=Charset.UTF8),
        "enhanced": ResultForm(sr_class=SrClass.ENHANCED, seg_kind=SegKind.FRACTIONAL, sc_modality=ScModality.SOURCE),
        "text": ResultForm(objects=frozenset({ObjectKind.SR, ObjectKind.SC}), sr_class=SrClass.BASIC_TEXT, description_prefix="X"),
    }
    for kind, make in SOURCES.items():
        yield f"{kind}, everything", partial(_of_source, make, EVERYTHING)
        for name, form in forms.items():
            yield f"{kind}, {name}", partial(_of_source, make, form)
        yield f"{kind}, nothing found", partial(_nothing_found, make)
    for kind in ("CT", "DX", "Enhanced MR"):
        yield f"{kind}, profiles", partial(_of_kind_for_profiles, kind)
    refused = empty_result(not_analysed=("Slices are missing.", "The protocol is another."))
    yield "CT, not analysed", lambda: build_results(dataclasses.replace(request(stack(), refused), images=None))
    yield "CT, Korean", lambda: build_results(request(stack(), form=EVERYTHING, language="ko"))
    yield "CT, a language that nobody knows", lambda: build_results(request(stack(), language="xx"))
    yield "CR, Latin-1", lambda: build_results(_of_another_patient(["ISO_IR 100"], "Müller^Jörg"))
    yield "CR, Hangul", lambda: build_results(_of_another_patient(["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"))
    yield "CT, cleared, replaces", lambda: build_results(_cleared())
    yield "large CR", lambda: build_results(_request_with_disc(radiograph(2500, 2048)))
    yield "large CR, no window", lambda: build_results(_request_with_disc(radiograph(1801, 2310, window=False)))
    yield "large CR, findings", lambda: _for_profiles(radiograph(2048, 2500), segments=())
    yield "small CR", lambda: build_results(_request_with_disc(radiograph(400, 300)))
    yield "large SC", lambda: build_results(_request_with_disc(photograph(1400, 1100)))
    for name, form in (("binary", ResultForm()), ("label map", ResultForm(seg_kind=SegKind.LABELMAP)), ("everything", EVERYTHING)):
        yield f"organs, {name}", partial(_organs, form)
    yield "fine CT", lambda: build_results(organs(60, 512, 2))
    yield "self-test", lambda: build_self_test(NOW)


def digests(made: Sequence[ResultObject]) -> dict[str, str]:
    """Digest of each object's file, without when it was made."""
    found = {}
    for item in made:
        for data_set in _all(item.data_set):
            for keyword in (*_OF_THE_CLOCK, *([_BY_THE_LIBRARY] if data_set.get("Manufacturer") == _LIBRARY else [])):
                if keyword in data_set:
                    data_set[keyword].value = ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's, about headers that are kept as they are
            content = encoded(item.data_set)
        found[f"{item.kind} {item.number} {item.variant}".strip()] = sha256(content).hexdigest()
    return found


def all_digests(*names: str) -> dict[str, dict[str, str]]:
    """Digests by what is built; of everything if no name is given."""
    found = {}
    for name, build in builds():
        if not names or name in names:
            with _same_each_time():
                found[name] = digests(build())
    return found


def libraries() -> dict[str, str]:
    """Versions that decide on pixels and on the form of files."""
    return {name: version(name) for name in ("highdicom", "numpy", "pillow", "pydicom", "scipy")}


def differences(stored: dict[str, dict[str, str]], found: dict[str, dict[str, str]]) -> list[str]:
    """Name every object that is another than stored, or on one side only."""
    return [
        f"{name}: {item}"
        for name in found
        for item in sorted(found[name].keys() | stored.get(name, {}).keys())
        if found[name].get(item) != stored.get(name, {}).get(item)
    ]


def _all(data_set: Dataset) -> Iterator[Dataset]:
    yield data_set
    for element in data_set:
        if element.VR == "SQ":
            for item in element.value:
                yield from _all(item)


@contextmanager
def _same_each_time() -> Iterator[None]:
    """Give UIDs that the library draws in order, and the time of Greenwich."""
    drawn, zone = pydicom.uid.generate_uid, os.environ.get("TZ")
    numbers = count(1)
    pydicom.uid.generate_uid = lambda prefix=None, *_a, **_k: pydicom.uid.UID(f"{prefix or '2.25.'}{next(numbers)}")
    os.environ["TZ"] = "UTC"
    time.tzset()
    try:
        yield
    finally:
        pydicom.uid.generate_uid = drawn
        if zone is None:
            del os.environ["TZ"]
        else:
            os.environ["TZ"] = zone
        time.tzset()


def _of_source(make: Callable[[], MadeSource], form: ResultForm) -> tuple[ResultObject, ...]:
    return build_results(request(make(), form=form))


def _nothing_found(make: Callable[[], MadeSource]) -> tuple[ResultObject, ...]:
    return build_results(request(make(), empty_result()))


def _organs(form: ResultForm) -> tuple[ResultObject, ...]:
    return build_results(dataclasses.replace(organs(40, 96, 12), form=form))


def _of_kind_for_profiles(kind: str) -> tuple[ResultObject, ...]:
    return _for_profiles(SOURCES[kind]())


def _for_profiles(source: MadeSource, **changed: Any) -> tuple[ResultObject, ...]:
    return build_for_profiles(request(source, dataclasses.replace(full_result(source), **changed)), PROFILES)


def _request_with_disc(source: MadeSource) -> BuildRequest:
    result = with_disc(source)
    shown = np.linspace(-1, 2, result.segments[0].mask.size, dtype=np.float32).reshape(result.segments[0].mask.shape)
    return request(source, dataclasses.replace(result, maps=(dataclasses.replace(result.maps[0], values=shown),)))


def _of_another_patient(charset: list[str], name: str) -> BuildRequest:
    source = SOURCES["CR"]()
    for ds in source.data_sets:
        ds.SpecificCharacterSet, ds.PatientName = charset, name
    return request(source, language="ko")


def _cleared() -> BuildRequest:
    source = stack()
    result = full_result(source)
    result = dataclasses.replace(result, model=dataclasses.replace(result.model, stage=Stage.CLEARED))
    earlier = Predecessor(STUDY, f"{SERIES}.77", "1.2.840.10008.5.1.4.1.1.88.34", f"{SERIES}.78", 1)
    key = JobKey(STUDY, 2, "rule", "d" * 64)
    return dataclasses.replace(request(source, result), key=key, predecessors=(earlier,))


def main() -> int:
    """Compare or write."""
    found = all_digests()
    if "--write" in sys.argv:
        STORED.write_text(json.dumps({"libraries": libraries(), "digests": found}, indent=1, sort_keys=True) + "\n", "utf-8")
        return 0
    stored = json.loads(STORED.read_text("utf-8"))
    if stored["libraries"] != libraries():
        sys.stdout.write(f"written with {stored['libraries']}, compared with {libraries()}\n")
    different = differences(stored["digests"], found)
    sys.stdout.write("\n".join([*different, f"{len(different)} of {sum(map(len, found.values()))} objects differ", ""]))
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
