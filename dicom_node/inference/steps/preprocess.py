"""The steps before the network, in the order of the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dicom_node.inference.model import StepRecorder
from dicom_node.inference.steps import channels as channel_steps
from dicom_node.inference.steps import geometry, intensity
from dicom_node.inference.steps.device_choice import CPU
from dicom_node.inference.steps.grid import GridImage
from dicom_node.inference.steps.preprocess_schema import (
    Channels,
    Clip,
    Crop,
    FillNan,
    Normalise,
    Orient,
    Pad,
    PercentileClip,
    PreprocessEntry,
    PreprocessStep,
    Resample,
    Resize,
    Window,
)
from dicom_node.inference.steps.recording import applied_parameters
from dicom_node.inference.steps.vocabulary import Order

Images = dict[str, list[GridImage]]


def preprocess(
    inputs: Mapping[str, Sequence[GridImage]], entries: Sequence[PreprocessEntry], recorder: StepRecorder, *, device: str = "cpu"
) -> Images:
    """Do the steps.

    Args:
        inputs: Images by the name of the input; not modified.
        entries: As in the manifest; `tensor` is left to whoever makes the tensors.
        recorder: Gets every step with the parameters that were applied.
        device: Where images are resampled: `cpu`, or a CUDA device that torch can use.

    Returns:
        Images by the name of the input, in their order.

    Raises:
        ModelInputError: the images cannot be brought into that form, with the reason.
    """
    images: Images = {name: list(group) for name, group in inputs.items()}
    for entry in entries:
        step = entry.step
        if entry.name == "tensor" or not isinstance(step, PreprocessStep):
            continue
        place = (f"device={device}",) if device != CPU and _goes_to_a_device(step) else ()
        with recorder.step(entry.name, *applied_parameters(step), *place):
            if isinstance(step, Channels) and step.stack:
                images[step.stack[0]] = channel_steps.stack(images, step.stack)
                continue
            for name in step.inputs or tuple(images):
                images[name] = [_applied(image, step, device) for image in images[name]]
    return images


def _goes_to_a_device(step: PreprocessStep) -> bool:
    return isinstance(step, Resample | Resize) and step.order is not Order.CUBIC


def _applied(image: GridImage, step: PreprocessStep, device: str) -> GridImage:  # noqa: C901, PLR0911 - one line a step
    match step:
        case Orient():
            return geometry.orient(image, step)
        case Resample():
            return geometry.resample_step(image, step, device)
        case Pad():
            return geometry.pad(image, step)
        case Crop():
            return geometry.crop(image, step)
        case Resize():
            return geometry.resize(image, step, device)
        case Window():
            return intensity.window(image, step)
        case Clip():
            return intensity.clip(image, step)
        case PercentileClip():
            return intensity.percentile_clip(image, step)
        case Normalise():
            return intensity.normalise(image, step)
        case FillNan():
            return intensity.fill_nan(image, step)
        case Channels():
            return channel_steps.channels(image, step)
        case _:
            raise TypeError(f"no step: {type(step).__name__}")
