"""Whether declared steps, inputs, outputs and the network fit together, asked when a model is loaded; every fault is a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dicom_node.inference.bundle.inputs_schema import Color, InputKind
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.session import TensorInfo
from dicom_node.inference.steps.preprocess_schema import Channels, Crop, Orient, Pad, PreprocessStep, Resample, Tensor, Window
from dicom_node.inference.steps.schema import SlidingWindow
from dicom_node.inference.steps.tensors import InputForm, form_of_input
from dicom_node.inference.steps.validate_outputs import output_faults

Infos = Mapping[str, TensorInfo]


def validate_steps(manifest: Manifest, inputs: Infos, outputs: Infos) -> tuple[str, ...]:
    """Find what does not fit.

    Args:
        manifest: With declared steps.
        inputs: The network's, by name.
        outputs: The network's, in its order; empty for a network that does not tell (TorchScript), of which less can be checked.

    Returns:
        A sentence for each fault; none if all fits.
    """
    faults = [*_wiring_faults(manifest, inputs), *_step_faults(manifest)]
    if faults:
        return tuple(faults)
    forms, faults = network_forms(manifest, inputs)
    if faults:
        return tuple(faults)
    return (
        *_infer_faults(manifest, forms),
        *_channel_faults(manifest, forms),
        *output_faults(manifest, next(iter(forms.values())), outputs),
    )


def network_forms(manifest: Manifest, inputs: Infos) -> tuple[dict[str, InputForm], list[str]]:
    """Tell the form of each network input, in the manifest's order, and what speaks against it."""
    forms: dict[str, InputForm] = {}
    faults: list[str] = []
    flat = _is_flat_by_manifest(manifest)
    for name, slot in manifest.network.inputs.items():
        try:
            forms[name] = form_of_input(inputs[name], tensor_step(manifest, slot), flat=flat)
        except ValueError as error:
            faults.append(f"network input {name} {error}.")
    if len({form.is_flat for form in forms.values()}) > 1:
        faults.append("Inputs of the network differ in their number of axes; declared steps take images or volumes, not both.")
    return forms, faults


def tensor_step(manifest: Manifest, slot: str) -> Tensor | None:
    """Find the `tensor` step for an input of the model; the last one that is for it counts."""
    steps = [entry.tensor for entry in manifest.steps.preprocess if entry.tensor is not None]
    return next((step for step in reversed(steps) if not step.inputs or slot in step.inputs), None)


def _is_flat_by_manifest(manifest: Manifest) -> bool:
    window = manifest.steps.infer.sliding_window
    return (
        manifest.inputs[0].kind is InputKind.FRAMES
        or manifest.steps.infer.slices is not None
        or (window is not None and len(window.size) == 2)
    )


def _wiring_faults(manifest: Manifest, inputs: Infos) -> Iterator[str]:
    if manifest.steps.python is not None:
        yield f"The steps are the Python steps {manifest.steps.python}; these are not declared ones."
    wired, slots = manifest.network.inputs, {slot.name: slot for slot in manifest.inputs}
    if wired.keys() != inputs.keys():
        yield f"network.inputs names {', '.join(sorted(wired)) or 'none'}; the network has {', '.join(sorted(inputs))}."
    for name, slot in wired.items():
        if slot not in slots:
            yield f"network.inputs.{name} takes {slot}; inputs are {', '.join(slots)}."
        elif slots[slot].optional and slots[slot].fill is None:
            yield f"network.inputs.{name} takes {slot}, which is optional; declared steps need its `fill`."
    if wired and next(iter(wired.values())) != manifest.inputs[0].name:
        yield (
            f"The first network input takes {next(iter(wired.values()))}; it must take {manifest.inputs[0].name}, the first input, "
            "which results refer to."
        )
    if len({slots[slot].kind for slot in wired.values() if slot in slots}) > 1:
        yield "Network inputs take volumes and frames; declared steps take one or the other."


def _step_faults(manifest: Manifest) -> Iterator[str]:
    slots = {slot.name: slot for slot in manifest.inputs}
    for number, entry in enumerate(manifest.steps.preprocess, 1):
        step, name = entry.step, f"Step {number}, {entry.name},"
        if not isinstance(step, PreprocessStep):
            continue
        named = (*step.inputs, *(step.stack if isinstance(step, Channels) else ()))
        unknown = [slot for slot in named if slot not in slots]
        if unknown:
            yield f"{name} names {', '.join(unknown)}; inputs are {', '.join(slots)}."
            continue
        kinds = {slots[slot].kind for slot in named or slots}
        if InputKind.FRAMES in kinds and (reason := _frames_reason(step)):
            yield f"{name} {reason}."
        if InputKind.VOLUME in kinds and isinstance(step, Window) and step.from_image:
            yield f"{name} takes each frame's own window, a volume has none: give center and width."


def _frames_reason(step: PreprocessStep) -> str:
    if isinstance(step, Orient):
        return "turns the image in the patient, frames have no place there"
    if isinstance(step, Channels) and step.stack:
        return "joins inputs by their place in the patient, frames have none"
    lengths: tuple[object, ...] = ()
    if isinstance(step, Resample):
        lengths = step.spacing_mm or step.size or ()
    elif isinstance(step, Pad):
        lengths = step.multiple if isinstance(step.multiple, tuple) else step.size or ()
    elif isinstance(step, Crop):
        lengths = step.center or (step.box.start if step.box is not None else ())
    return "has three values, frames have rows and columns: give two" if len(lengths) == 3 else ""


def _infer_faults(manifest: Manifest, forms: Mapping[str, InputForm]) -> Iterator[str]:
    infer, form = manifest.steps.infer, next(iter(forms.values()))
    frames = manifest.inputs[0].kind is InputKind.FRAMES
    network = "images (4 axes)" if form.is_flat else "volumes (5 axes)"
    if frames and not form.is_flat:
        yield f"The network sees {network}, the input is frames; a 2-D network is needed."
    elif infer.slices is not None and (frames or not form.is_flat):
        yield f"infer.slices is for a 2-D network over a volume; the network sees {network}, the input is {manifest.inputs[0].kind}."
    elif infer.whole is not None and not frames and form.is_flat:
        yield f"The network sees {network}, the input is a volume; choose infer.slices, or a sliding_window of two lengths."
    elif infer.sliding_window is not None:
        yield from _window_faults(infer.sliding_window, form)
    batches = {f.batch for f in forms.values() if f.batch is not None}
    if len(batches) > 1:
        yield f"Inputs of the network take different numbers of images at once: {sorted(batches)}."
    elif batches and "batch" in infer.model_fields_set and infer.batch not in batches:
        yield f"infer.batch is {infer.batch}, the network takes exactly {batches.pop()} images at once."


def _window_faults(window: SlidingWindow, form: InputForm) -> Iterator[str]:
    if len(window.size) != len(form.lengths):
        yield f"sliding_window.size has {len(window.size)} lengths, the network sees {len(form.lengths)} axes."
    elif any(fixed not in (None, length) for fixed, length in zip(form.lengths, window.size, strict=True)):
        yield f"sliding_window.size is {list(window.size)}, the network takes {list(form.lengths)} pixels."


def _channel_faults(manifest: Manifest, forms: Mapping[str, InputForm]) -> Iterator[str]:
    counts = {slot.name: 3 if slot.color is Color.RGB and slot.kind is InputKind.FRAMES else 1 for slot in manifest.inputs}
    for number, entry in enumerate(manifest.steps.preprocess, 1):
        step = entry.step
        if not isinstance(step, Channels):
            continue
        if step.stack:
            counts[step.stack[0]] = sum(counts[name] for name in step.stack)
            continue
        for slot in step.inputs or tuple(counts):
            wanted, made = (3, 1) if step.gray else (1, step.repeat or 1)
            if counts[slot] != wanted:
                yield f"Step {number}, channels, wants {wanted} channels, input {slot} has {counts[slot]} there."
            counts[slot] = made
    joined = 2 * manifest.steps.infer.slices.neighbours + 1 if manifest.steps.infer.slices is not None else 1
    for name, slot in manifest.network.inputs.items():
        if forms[name].channels not in (None, counts[slot] * joined):
            yield f"Network input {name} takes {forms[name].channels} channels, the steps make {counts[slot] * joined} of input {slot}."
