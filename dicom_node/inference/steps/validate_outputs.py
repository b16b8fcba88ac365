"""Whether the steps after the network and the outputs of the manifest fit what the network gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dicom_node.inference.bundle.inputs_schema import Color, InputKind
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.session import TensorInfo
from dicom_node.inference.steps.postprocess_schema import (
    Activation,
    Argmax,
    Boxes,
    ClassScores,
    Closing,
    Components,
    FillHoles,
    Nms,
    Opening,
    PostprocessStep,
    Rescale,
    Threshold,
    TopK,
    ToSource,
)
from dicom_node.inference.steps.schema import is_segment_quantity
from dicom_node.inference.steps.tensors import InputForm

_UNKNOWN = "unknown"
_OF_MASKS = ("volume_ml", "count", "diameter_mm")


@dataclass(slots=True)
class _State:
    """What is known of an output while the steps go by: scores, masks or labels of an image, or a list; or nothing."""

    kind: str
    count: int | None


def output_faults(manifest: Manifest, form: InputForm, outputs: Mapping[str, TensorInfo]) -> Iterator[str]:
    """Find what does not fit.

    Args:
        manifest: With declared steps.
        form: Of the first network input.
        outputs: The network's; empty if it does not tell.
    """
    check = _Check(manifest, form, outputs)
    yield from check.steps()
    yield from check.results()


class _Check:
    def __init__(self, manifest: Manifest, form: InputForm, outputs: Mapping[str, TensorInfo]) -> None:
        self._manifest = manifest
        self._form = form
        self._frames = manifest.inputs[0].kind is InputKind.FRAMES
        self._colours = self._frames and manifest.inputs[0].color is Color.RGB
        window = manifest.steps.infer.sliding_window
        labels = window is not None and window.keep == "labels"
        self._first = next(iter(outputs), "")
        self._told = bool(outputs)
        self._states = {name: self._state(info, labels=labels) for name, info in outputs.items()}
        self._ranks = {name: None if info.shape is None else len(info.shape) for name, info in outputs.items()}
        self._windows = window is not None
        self._boxes: str | None = None

    def _state(self, info: TensorInfo, *, labels: bool) -> _State:
        if info.shape is None:
            return _State(_UNKNOWN, None)
        if len(info.shape) == len(self._form.layout.value):
            return _State("labels", 1) if labels else _State("scores", info.shape[-1 if self._form.channels_last else 1])
        return _State("list", info.shape[-1] if len(info.shape) > 1 else None)

    def steps(self) -> Iterator[str]:
        """Go through the steps in order."""
        if self._windows:
            for name, state in self._states.items():
                if state.kind == "list":
                    yield f"Output {name} is a list of numbers; sliding_window puts images together, choose infer.whole or slices."
        for number, entry in enumerate(self._manifest.steps.postprocess, 1):
            name, step = f"Step {number} after the network, {entry.name},", entry.step
            if isinstance(step, Nms | TopK):
                if self._boxes is None:
                    yield f"{name} comes before boxes."
                continue
            if isinstance(step, PostprocessStep):
                yield from (f"{name} {reason}." for reason in self._one(step))

    def _one(self, step: PostprocessStep) -> Iterator[str]:
        mentioned = [n for n in (step.of, *((step.scores, step.classes) if isinstance(step, Boxes) else ())) if n]
        unknown = [n for n in mentioned if n not in self._states]
        if unknown and self._told:
            yield f"names output {', '.join(unknown)}; outputs are {', '.join(self._states)}"
            return
        state = self._states.get(step.of or self._first, _State(_UNKNOWN, None))
        if isinstance(step, Boxes):
            yield from self._box_faults(step, state)
            self._boxes = step.of or self._first
        else:
            yield from self._form_faults(step, state)

    def _box_faults(self, step: Boxes, state: _State) -> Iterator[str]:
        if self._boxes is not None:
            yield "is the second boxes step; one output holds the boxes"
        if state.kind not in ("list", _UNKNOWN):
            yield f"reads a list of numbers, the output is an image of {state.kind}"
        axes = 2 if self._form.is_flat else 3
        if len(step.axes) != axes:
            yield f"has axes {step.axes}, the network sees {axes} axes"
        elif state.count is not None and state.kind == "list":
            least = 2 * axes + (0 if step.scores else 1)
            if state.count < least:
                yield f"needs {least} numbers for each box, the output has {state.count}"
        single = self._ranks.get(step.of or self._first) == 2
        if single and (self._form.batch or self._manifest.steps.infer.batch) != 1:
            yield "reads boxes without a batch axis, and the network is given several images at once"

    def _form_faults(self, step: PostprocessStep, state: _State) -> Iterator[str]:  # noqa: C901 - one line a step
        kind = state.kind
        if kind == _UNKNOWN:
            return
        if isinstance(step, ClassScores) and kind != "list":
            yield f"reads a list of scores, the output is an image of {kind}"
        if isinstance(step, Activation | Rescale) and kind not in ("scores", "list"):
            yield f"wants scores, the output holds {kind} there"
        if isinstance(step, Rescale) and step.pool is not None and kind == "scores":
            yield "pools lists of numbers, the output is an image"
        if isinstance(step, Threshold | Argmax):
            if kind != "scores":
                yield f"wants an image of scores, the output is {'a list' if kind == 'list' else 'an image of ' + kind} there"
            if isinstance(step, Argmax) and state.count == 1:
                yield "needs two channels or more, the output has 1: declare threshold"
            state.kind, state.count = ("masks", state.count) if isinstance(step, Threshold) else ("labels", 1)
        if isinstance(step, ToSource) and kind == "list":
            yield "wants an image, the output is a list of numbers"
        if isinstance(step, Components | FillHoles | Opening | Closing) and kind not in ("masks", "labels"):
            yield f"wants masks, the output holds {'a list' if kind == 'list' else kind} there: declare threshold or argmax before"
        if isinstance(step, Components) and step.drop_below_ml and self._frames:
            yield "has drop_below_ml, frames have no volume: give drop_below_pixels"

    def results(self) -> Iterator[str]:
        """Compare what the result wants with what the steps leave."""
        section = self._manifest.outputs
        for list_name, entries in section.entries().items():
            for entry in entries:
                output = getattr(entry, "output", "")
                if output and self._told and output not in self._states:
                    yield f"outputs.{list_name} {entry.id} names output {output}; outputs are {', '.join(self._states)}."
        yield from self._segments()
        yield from self._measurements()
        for mapped in section.maps:
            state = self._known(mapped.output)
            if state.kind not in ("scores", _UNKNOWN):
                yield f"outputs.maps {mapped.id} wants an image of numbers, the output is {_words(state)} after the steps."
            elif state.kind == "scores" and state.count is not None and mapped.channel >= state.count:
                yield f"outputs.maps {mapped.id} is channel {mapped.channel}, the output has {state.count}."
        yield from self._classes()

    def _known(self, output: str) -> _State:
        return self._states.get(output or self._first, _State(_UNKNOWN, None))

    def _segments(self) -> Iterator[str]:
        for entry in self._manifest.outputs.segments:
            state, name = self._known(entry.output), f"outputs.segments {entry.id}"
            if state.kind in ("scores", "list"):
                yield f"{name} wants masks, the output is {_words(state)} after the steps: declare threshold or argmax."
            elif state.kind == "labels" and entry.label_value is None:
                yield f"{name} lies in a label map: say label_value."
            elif state.kind == "masks" and entry.label_value is not None:
                yield f"{name} has label_value, the output holds a mask for each channel: say channel."
            elif state.kind == "masks" and state.count is not None and (entry.channel or 0) >= state.count:
                yield f"{name} is channel {entry.channel}, the output has {state.count}."
            elif state.kind == "masks" and entry.channel is None and state.count not in (None, 1):
                yield f"{name} does not say which of {state.count} channels it is."

    def _measurements(self) -> Iterator[str]:
        segments = {segment.id for segment in self._manifest.outputs.segments}
        for entry in self._manifest.outputs.measurements:
            name = f"outputs.measurements {entry.id}"
            if entry.segment and entry.segment not in segments:
                yield f"{name} describes segment {entry.segment}; segments are {', '.join(sorted(segments)) or 'none'}."
            elif is_segment_quantity(entry.of):
                if entry.of in self._states:
                    yield f"{name} is {entry.of}, which is a quantity of a segment and an output too: rename the output."
                elif not entry.segment:
                    yield f"{name} is {entry.of} of a segment: say which by segment."
                elif self._colours and entry.of not in _OF_MASKS:
                    yield f"{name} is {entry.of} of the source's values, its pixels are red, green and blue."
                elif entry.of == "volume_ml" and self._frames:
                    yield f"{name} is a volume, frames have none."
            elif not entry.of:
                yield f"{name} does not say what it is: give `of`."
            elif self._told and entry.of not in self._states:
                yield f"{name} is of {entry.of}, which is no quantity of a segment and no output; outputs are {', '.join(self._states)}."
            else:
                yield from self._number_faults(name, entry.of, entry.index)

    def _number_faults(self, name: str, output: str, index: int | None) -> Iterator[str]:
        state = self._known(output)
        if state.kind not in ("list", _UNKNOWN):
            yield f"{name} wants a number, output {output} is {_words(state)}."
        elif state.kind == "list" and self._ranks[output] == 2 and state.count is not None:
            if index is None and state.count != 1:
                yield f"{name} does not say which of {state.count} numbers of output {output} it is: give index."
            elif index is not None and index >= state.count:
                yield f"{name} is number {index} of output {output}, which has {state.count}."

    def _classes(self) -> Iterator[str]:
        section = self._manifest.outputs
        for finding in section.findings:
            if (finding.output or self._first) == self._boxes:
                continue
            state, name = self._known(finding.output), f"outputs.findings {finding.id}"
            if state.kind not in ("list", _UNKNOWN):
                yield f"{name} wants boxes or class scores, the output is {_words(state)} after the steps."
            elif self._pooled_count(finding.output) is not None and finding.class_index >= (state.count or 0):
                yield f"{name} is class {finding.class_index}, the output has {state.count}."
        for evaluation in section.evaluations:
            state, name = self._known(evaluation.output), f"outputs.evaluations {evaluation.id}"
            count = self._pooled_count(evaluation.output)
            if state.kind not in ("list", _UNKNOWN):
                yield f"{name} wants class scores, the output is {_words(state)} after the steps."
            elif count is not None and count != len(evaluation.classes) and (count, len(evaluation.classes)) != (1, 2):
                yield f"{name} has {len(evaluation.classes)} classes, the output has {count} scores."

    def _pooled_count(self, output: str) -> int | None:
        name = output or self._first
        return self._known(output).count if self._ranks.get(name) == 2 else None


def _words(state: _State) -> str:
    return "a list of numbers" if state.kind == "list" else f"an image of {state.kind}"
