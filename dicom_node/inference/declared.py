"""A model that is made from its manifest alone: declared steps around one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter

import numpy as np

from dicom_node.domain.frames import FrameSet
from dicom_node.domain.results import InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.bundle.inputs_schema import InputKind
from dicom_node.inference.model import Inputs, Model, Prepared, StepRecorder
from dicom_node.inference.session import Session, Tensors
from dicom_node.inference.steps.device_choice import CPU, StepsDeviceError
from dicom_node.inference.steps.grid import Geometry, GridImage, images_from_input
from dicom_node.inference.steps.outcome import OutcomeMaker
from dicom_node.inference.steps.postprocess import outputs_from_tensors, postprocess
from dicom_node.inference.steps.preprocess import preprocess
from dicom_node.inference.steps.recording import applied_parameters, chosen_parameters
from dicom_node.inference.steps.schema import InferSection
from dicom_node.inference.steps.slabs import Lengths
from dicom_node.inference.steps.sliding_window import Windows
from dicom_node.inference.steps.strategies import EachImage, NetworkForm, Strategy
from dicom_node.inference.steps.tensors import AnyArray, tensor_from_images
from dicom_node.inference.steps.validate import network_forms, validate_steps

_CALLER_TIMES = "infer"
"""Step in which the caller of `infer` times it; the same time stands in the strategy's own step."""


@dataclass(frozen=True, slots=True, eq=False)
class _WayBack:
    """What `conclude` needs.

    Attributes:
        sources: Images as they came.
        seen: Places of the images that the network saw.
        shape: Of each of these, axis 0 to 2.
        first_step: Where this run's steps begin in the record.
        missing: A sentence about each optional input that was not there.
    """

    sources: Sequence[GridImage]
    seen: Sequence[Geometry]
    shape: Lengths
    first_step: int
    missing: tuple[str, ...]


class DeclaredModel(Model):
    """Steps as declared."""

    def __init__(self, bundle: ModelBundle, session: Session, *, device: str = "cpu") -> None:
        """Take an active session.

        Args:
            bundle: With declared steps.
            session: Of its network.
            device: Where images are resampled and windows summed up: `cpu`, or a CUDA device that torch can use.

        Raises:
            ModelError: steps, inputs, outputs and network do not fit together, with every reason.
        """
        manifest = bundle.manifest
        faults = validate_steps(manifest, session.inputs, session.outputs)
        if faults:
            raise ModelError(f"{bundle.folder / 'model.yaml'}: {' '.join(faults)}")
        forms, _ = network_forms(manifest, session.inputs)
        boxes = next((entry.boxes for entry in manifest.steps.postprocess if entry.boxes is not None), None)
        lists = (boxes.of, *(name for name in (boxes.scores, boxes.classes) if name)) if boxes is not None else ()
        self._bundle = bundle
        self._session = session
        self._device = device
        self._form = NetworkForm(forms, lists)
        self._strategy = strategy_of(manifest.steps.infer, device)

    def close(self) -> None:
        """Free the engine."""
        self._session.deactivate()

    def shrink(self) -> bool:
        """Take half the memory in one call of the network from now on: a smaller batch, then smaller windows.

        Returns:
            Whether that was possible; results of smaller windows differ a little, as far as the network sees.
        """
        smaller = self._strategy.smaller(self._form)
        if smaller is not None:
            self._strategy = smaller
        return smaller is not None

    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        """Do the steps before the network.

        Raises:
            ModelInputError: an input is missing or of another kind, or the images cannot be brought into the network's form.
        """
        manifest, first_step = self._bundle.manifest, len(recorder.steps)
        slots = [slot for slot in manifest.inputs if slot.name in inputs or not slot.optional]
        started = {slot.name: _started(slot.name, slot.kind, inputs) for slot in slots}
        missing = self._filled(started, recorder)
        images = self._preprocessed(started, recorder)
        tensors: dict[str, AnyArray] = {}
        for name, slot in manifest.network.inputs.items():
            form = self._form.inputs[name]
            shape = "x".join(str(n) for n in images[slot][0].values.shape)
            with recorder.step(
                "tensor", f"input={name}", f"layout={form.layout}", f"dtype={form.dtype}", f"shape={len(images[slot])}x{shape}"
            ):
                self._check_size(name, images[slot])
                tensors[name] = tensor_from_images(images[slot], form)
        first = manifest.inputs[0].name
        seen = [image.geometry for image in images[first]]
        return Prepared(inputs, tensors, _WayBack(started[first], seen, images[first][0].shape, first_step, missing), recorder)

    def infer(self, prepared: Prepared) -> Tensors:
        """Run the network over the images.

        Raises:
            ModelError: the engine failed, or gave what cannot be read.
        """
        try:
            return self._over_the_images(prepared)
        except StepsDeviceError as error:
            self._leave_device(prepared.recorder, error)
        return self._over_the_images(prepared)

    def _over_the_images(self, prepared: Prepared) -> Tensors:
        strategy, fixed = self._strategy, self._form.fixed_batch
        written = (*strategy.parameters(), *(() if fixed is None else (f"batch_of_network={fixed}",)))
        with prepared.recorder.step(_way_of(self._bundle.manifest.steps.infer)[0], *written):
            return strategy.run(self._session, self._form, prepared.tensors, prepared.recorder.progress)

    def conclude(self, prepared: Prepared, outputs: Tensors, now: datetime) -> InferenceResult:
        """Do the steps after the network and read what the manifest names.

        Raises:
            ModelError: an output is not what the manifest says.
            ModelInputError: the images cannot give what the manifest wants, for example millimetres without Pixel Spacing.
        """
        memo, manifest, recorder = prepared.memo, self._bundle.manifest, prepared.recorder
        if not isinstance(memo, _WayBack):
            raise TypeError("prepared by another model")
        begin, already = perf_counter(), recorder.steps[memo.first_step :]
        window = manifest.steps.infer.sliding_window
        labels = window is not None and window.keep == "labels"
        sorted_out = outputs_from_tensors(outputs, memo.seen, memo.shape, labels=labels)
        processed = postprocess(sorted_out, manifest.steps.postprocess, memo.shape, recorder)
        with recorder.step("outputs"):
            outcome = OutcomeMaker(manifest.outputs, processed, memo.seen, memo.sources).make()
        if outcome.boxes_outside:
            with recorder.step("boxes_outside", f"count={outcome.boxes_outside}"):
                pass
        earlier_s = sum(step.seconds for step in already if step.name != _CALLER_TIMES)
        section = manifest.outputs
        return InferenceResult(
            model=self._bundle.identity(self._session.backend, self._session.precision),
            finding=section.finding.to_code(),
            finding_site=section.finding_site.to_code() if section.finding_site else None,
            measurements=outcome.measurements,
            segments=outcome.segments,
            highlights=(),
            warnings=(*memo.missing, *outcome.warnings),
            parameters=self._parameters(),
            started_at=now,
            compute_s=earlier_s + perf_counter() - begin,
            findings=outcome.findings,
            evaluations=outcome.evaluations,
            maps=outcome.maps,
        )

    def _preprocessed(self, started: Mapping[str, Sequence[GridImage]], recorder: StepRecorder) -> dict[str, list[GridImage]]:
        entries = self._bundle.manifest.steps.preprocess
        try:
            return preprocess(started, entries, recorder, device=self._device)
        except StepsDeviceError as error:
            self._leave_device(recorder, error)
        return preprocess(started, entries, recorder)

    def _leave_device(self, recorder: StepRecorder, error: StepsDeviceError) -> None:
        """Do the steps in numpy from now on, and note why."""
        with recorder.step("steps_on_cpu", f"instead_of={self._device}", f"reason={error}"):
            self._device = CPU
            if isinstance(self._strategy, Windows):
                self._strategy = replace(self._strategy, device=CPU)

    def _filled(self, started: dict[str, list[GridImage]], recorder: StepRecorder) -> tuple[str, ...]:
        """Put what the manifest says in the place of optional inputs that are missing, on the first input's grid."""
        first, said = started[self._bundle.manifest.inputs[0].name], []
        for slot in self._bundle.manifest.inputs:
            if slot.name in started or slot.fill is None:
                continue
            with recorder.step("fill", f"input={slot.name}", f"fill={slot.fill:g}"):
                started[slot.name] = [GridImage(np.full_like(image.values, slot.fill), image.geometry) for image in first]
            said.append(f"Input {slot.name} was missing: the network got {slot.fill:g} in its place.")
        return tuple(said)

    def _check_size(self, name: str, images: Sequence[GridImage]) -> None:
        """Refuse what the network would refuse, with words for whoever sent the images."""
        form, infer = self._form.inputs[name], self._bundle.manifest.steps.infer
        if not images:
            raise ModelInputError("the input holds no images")
        joined = 2 * infer.slices.neighbours + 1 if infer.slices is not None else 1
        channels = len(images[0].values) * joined
        if form.channels not in (None, channels):
            raise ModelInputError(f"the images have {channels} channels when they reach the network, it takes {form.channels}")
        lengths = images[0].shape[-len(form.lengths) :]
        fits = all(fixed in (None, length) for fixed, length in zip(form.lengths, lengths, strict=True))
        if infer.sliding_window is None and not fits:
            raise ModelInputError(
                f"the images have {list(lengths)} pixels when they reach the network, it takes {list(form.lengths)}",
                hint="model.yaml needs a resize, resample, pad or crop step",
            )

    def _parameters(self) -> tuple[str, ...]:
        steps = self._bundle.manifest.steps
        way, parameters = _way_of(steps.infer)
        return (
            *chosen_parameters(steps.preprocess),
            *(f"{way}.{parameter}" for parameter in parameters),
            *chosen_parameters(steps.postprocess),
        )


def strategy_of(section: InferSection, device: str = "cpu") -> Strategy:
    """Make the strategy that a manifest names."""
    if section.sliding_window is not None:
        return Windows(section.sliding_window, section.batch, device)
    return EachImage(section.batch, section.slices.neighbours if section.slices is not None else 0)


def _way_of(section: InferSection) -> tuple[str, tuple[str, ...]]:
    for name in ("slices", "sliding_window"):
        if (way := getattr(section, name)) is not None:
            return name, applied_parameters(way)
    return "whole", ()


def _started(name: str, kind: InputKind, inputs: Inputs) -> list[GridImage]:
    if name not in inputs:
        raise ModelInputError(f"input {name} is missing")
    images = inputs[name].images
    wanted = Volume if kind is InputKind.VOLUME else FrameSet
    if not isinstance(images, wanted):
        raise ModelInputError(f"input {name} is {'no volume' if wanted is Volume else 'no set of frames'}")
    return images_from_input(images)
