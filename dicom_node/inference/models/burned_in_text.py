"""Text burned into pixels: where it stands and of which kind, never what it says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import cast

import numpy as np

from dicom_node.domain.frames import Frame, FrameSet
from dicom_node.domain.instances import Attributes
from dicom_node.domain.results import Evaluation, Finding, ImageRegion, InferenceResult, Measurement, RegionKind
from dicom_node.errors import ModelInputError
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.model import Inputs, Model, Prepared, StepRecorder
from dicom_node.inference.models.intended_use import refuse_other_use
from dicom_node.inference.models.pictures import Picture, shown
from dicom_node.inference.models.text_classes import TextClass, text_class
from dicom_node.inference.models.text_detection import Quad, detection_tensor, searched, text_boxes
from dicom_node.inference.models.text_reading import TextReader, characters_of
from dicom_node.inference.session import Session, Tensors

FRAME_STEP = 10
_LEAST_CONFIDENCE = 0.5
_LEAST_CONFIDENCE_OF_ONE_CHARACTER = 0.85
_SMALLEST_SIDE_PX = 16
_PARAMETERS = (
    f"frame_step={FRAME_STEP}",
    "shortest_side_px=736",
    "longest_side_px=2000",
    f"least_confidence={_LEAST_CONFIDENCE}",
    f"least_confidence_of_one_character={_LEAST_CONFIDENCE_OF_ONE_CHARACTER}",
    "text_kept=no",
)
_KINDS = (TextClass.LABEL, TextClass.TEXT, TextClass.IDENTIFYING)
_SAME_PLACE_ABOVE = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class _Examined:
    """A frame that is searched, as 8-bit RGB."""

    frame: Frame
    picture: Picture


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """What `conclude` needs: the frames that were searched, and how many there are; `spent_s` collects the time of the steps."""

    examined: tuple[_Examined, ...]
    total: int
    too_small: int
    attributes: Attributes
    spent_s: list[float]


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """One text: where it stands, how sure it was read, and of which kind it is."""

    examined: int
    corners: Quad
    confidence: float
    kind: TextClass


class BurnedInText(Model):
    """The steps around the three text networks. What is read leaves no method of this class."""

    def __init__(self, bundle: ModelBundle, sessions: Mapping[str, Session]) -> None:
        """Take active sessions: `network` finds text, `direction` says which way up it stands, `recognition` reads it."""
        self._manifest = bundle.manifest
        self._sessions = sessions
        self._identity = bundle.identity(sessions["network"].backend, sessions["network"].precision)
        self._reader = TextReader(sessions["direction"], sessions["recognition"], characters_of(sessions["recognition"].network.path))

    def close(self) -> None:
        """Free the engines."""
        for session in self._sessions.values():
            session.deactivate()

    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        """Choose the frames and bring them to eight bits, as they are shown.

        Raises:
            ModelInputError: outside of the intended use, or no frame is large enough to hold text.
        """
        begin = perf_counter()
        refuse_other_use(self._manifest, inputs)
        given = next(iter(inputs.values()))
        frames = cast("FrameSet", given.images).frames
        chosen = [frame for frame in _chosen(frames) if min(frame.values.shape[:2]) >= _SMALLEST_SIDE_PX]
        if not chosen:
            raise ModelInputError(f"no frame has {_SMALLEST_SIDE_PX} rows and columns or more, none can hold text")
        total = len(frames)
        too_small = sum(min(frame.values.shape[:2]) < _SMALLEST_SIDE_PX for frame in frames)
        with recorder.step("shown", f"frames={len(chosen)} of {total}", _PARAMETERS[0]):
            examined = tuple(_Examined(frame, shown(frame)) for frame in chosen)
        search = _Search(examined, total, too_small, given.attributes, [perf_counter() - begin])
        return Prepared(inputs, {}, search, recorder)

    def infer(self, prepared: Prepared) -> Tensors:
        """Find and read text on each frame; only places, kinds and figures are given back."""
        search = cast("_Search", prepared.memo)
        begin = perf_counter()
        places: list[_Place] = []
        unreadable = 0
        for number, examined in enumerate(search.examined):
            found, dropped = self._texts_on(number, examined, search.attributes)
            places += found
            unreadable += dropped
        search.spent_s.append(perf_counter() - begin)
        return {
            "frame": np.array([p.examined for p in places], np.int64),
            "corners": np.array([p.corners for p in places], np.float64).reshape(-1, 4, 2),
            "confidence": np.array([p.confidence for p in places], np.float64),
            "kind": np.array([_KINDS.index(p.kind) for p in places], np.int64),
            "unreadable": np.array(unreadable),
        }

    def conclude(self, prepared: Prepared, outputs: Tensors, now: datetime) -> InferenceResult:
        """Number the places and answer the questions."""
        search = cast("_Search", prepared.memo)
        places = [
            _Place(int(frame), corners, float(confidence), _KINDS[int(kind)])
            for frame, corners, confidence, kind in zip(*(outputs[n] for n in ("frame", "corners", "confidence", "kind")), strict=True)
        ]
        with prepared.recorder.step("places", "repeated_places=once"):
            once = _without_repetitions(places, search.examined)
        figures = {"text_places": len(once), "unreadable_places": int(outputs["unreadable"]), "frames_examined": len(search.examined)}
        return InferenceResult(
            model=self._identity,
            finding=self._manifest.outputs.finding.to_code(),
            finding_site=None,
            measurements=self._measurements(figures),
            segments=(),
            highlights=(),
            warnings=tuple(_warnings(search, once)),
            parameters=_PARAMETERS,
            started_at=now,
            compute_s=sum(search.spent_s),
            findings=self._findings(once, search.examined),
            evaluations=tuple(self._evaluations(once, search.attributes)),
        )

    def _texts_on(self, number: int, examined: _Examined, attributes: Attributes) -> tuple[list[_Place], int]:
        """Texts of one frame, and how many places look like text but cannot be read."""
        view = searched(examined.picture)
        name = next(iter(self._sessions["network"].inputs))
        answer = self._sessions["network"].infer({name: detection_tensor(view.picture)})
        boxes = text_boxes(np.asarray(next(iter(answer.values())), dtype=np.float32)[0, 0], view.picture.shape)
        readings = self._reader.read(view.picture, [box.corners for box in boxes])
        places = [
            _Place(number, view.to_original(box.corners, examined.picture.shape), reading.confidence, text_class(reading.text, attributes))
            for box, reading in zip(boxes, readings, strict=True)
            if reading.confidence >= (_LEAST_CONFIDENCE if len(reading.text) > 1 else _LEAST_CONFIDENCE_OF_ONE_CHARACTER)
        ]
        return places, len(boxes) - len(places)

    def _findings(self, places: Sequence[_Place], examined: Sequence[_Examined]) -> tuple[Finding, ...]:
        entry = self._manifest.outputs.findings[0]
        by_confidence = sorted(places, key=lambda place: -place.confidence)
        return tuple(
            Finding(
                id=entry.id,
                number=number,
                label=entry.label,
                concept=entry.concept.to_code(),
                score=min(place.confidence, 1.0),
                site=None,
                region=_region(place, examined[place.examined].frame),
                evaluations=(self._evaluation("kind", place.kind),),
            )
            for number, place in enumerate(by_confidence, start=1)
        )

    def _measurements(self, figures: Mapping[str, int]) -> tuple[Measurement, ...]:
        return tuple(
            Measurement(e.id, e.label, e.concept.to_code(), float(figures[e.id]), e.unit.to_code(), e.reference_range)
            for e in self._manifest.outputs.measurements
        )

    def _evaluations(self, places: Sequence[_Place], attributes: Attributes) -> Iterator[Evaluation]:
        yield self._evaluation("text_present", "yes" if places else "no")
        if places:
            yield self._evaluation("kind", most_delicate(place.kind for place in places))
        yield self._evaluation("header", header_says(attributes, [place.kind for place in places]))

    def _evaluation(self, name: str, answer: str) -> Evaluation:
        """Answer one of the manifest's evaluations by the place of the answer among its classes."""
        entry = next(e for e in self._manifest.outputs.evaluations if e.id == name)
        return Evaluation(entry.id, entry.label, entry.concept.to_code(), entry.classes[_ANSWERS[name].index(answer)].to_code())


_ANSWERS: Mapping[str, tuple[str, ...]] = {
    "text_present": ("no", "yes"),
    "kind": _KINDS,
    "header": ("agrees", "otherwise", "silent"),
}
"""In the order of the classes in model.yaml."""


def most_delicate(kinds: Iterable[TextClass]) -> TextClass:
    """Return the kind that counts for the whole."""
    return max(kinds, key=_KINDS.index)


def header_says(attributes: Attributes, kinds: Sequence[TextClass]) -> str:
    """Compare Burned In Annotation (0028,0301) with what was found.

    The attribute tells whether the pixels hold enough annotation to identify the patient and the date: labels alone do not contradict
    NO, any other text does; no text at all contradicts YES.

    Returns:
        `agrees`, `otherwise`, or `silent` where the header has no value.
    Source: PS3.3 C.7.6.1.1.
    """
    value = next((v.strip().upper() for v in attributes.get("BurnedInAnnotation", ()) if v.strip()), "")
    if value == "NO":
        return "otherwise" if any(kind is not TextClass.LABEL for kind in kinds) else "agrees"
    if value == "YES":
        return "agrees" if kinds else "otherwise"
    return "silent"


def _chosen(frames: Sequence[Frame]) -> list[Frame]:
    """Of each instance the first frame, every tenth after it, and the last."""
    last = {frame.sop_instance_uid: frame.frame_number for frame in frames}
    return [f for f in frames if (f.frame_number - 1) % FRAME_STEP == 0 or f.frame_number == last[f.sop_instance_uid]]


def _without_repetitions(places: Sequence[_Place], examined: Sequence[_Examined]) -> list[_Place]:
    """Keep a place that several frames of an instance show once: as the most delicate kind of all, on the first frame that shows that."""
    kept: list[_Place] = []
    for place in places:
        uid = examined[place.examined].frame.sop_instance_uid
        for index, earlier in enumerate(kept):
            same_instance = examined[earlier.examined].frame.sop_instance_uid == uid and earlier.examined != place.examined
            if same_instance and _overlap(earlier.corners, place.corners) > _SAME_PLACE_ABOVE:
                if _KINDS.index(place.kind) > _KINDS.index(earlier.kind):
                    kept[index] = place
                break
        else:
            kept.append(place)
    return kept


def _overlap(a: Quad, b: Quad) -> float:
    """Intersection over union of the upright boxes around two places."""
    common = np.clip(np.minimum(a.max(axis=0), b.max(axis=0)) - np.maximum(a.min(axis=0), b.min(axis=0)), 0, None).prod()
    both = np.ptp(a, axis=0).prod() + np.ptp(b, axis=0).prod() - common
    return float(common / both) if both > 0 else 0.0


def _region(place: _Place, frame: Frame) -> ImageRegion:
    corners = [(float(x) + 0.5, float(y) + 0.5) for x, y in np.minimum(place.corners, np.array(frame.values.shape[1::-1]) - 0.5)]
    return ImageRegion(frame.sop_instance_uid, frame.frame_number, RegionKind.POLYLINE, (*corners, corners[0]))


def _warnings(search: _Search, places: Sequence[_Place]) -> Iterator[str]:
    counts = Counter(place.kind for place in places)
    if counts[TextClass.IDENTIFYING]:
        number = counts[TextClass.IDENTIFYING]
        yield f"{number} of {len(places)} places hold text that may identify a person: do not share these images as they are."
    if header_says(search.attributes, [place.kind for place in places]) == "otherwise":
        said = search.attributes["BurnedInAnnotation"][0].strip().upper()
        yield f"The header says Burned In Annotation {said}, the pixels say otherwise."
    if len(search.examined) + search.too_small < search.total:
        yield (
            f"{len(search.examined)} of {search.total} frames were examined: the first, the last and every {FRAME_STEP}th of an instance. "
            "Text on the others is not seen."
        )
    if search.too_small:
        yield f"{search.too_small} frames are smaller than {_SMALLEST_SIDE_PX} pixels and were not examined."
