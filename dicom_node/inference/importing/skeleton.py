"""The first model.yaml of an imported network: what its file says is filled in, what a person must decide is asked beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dicom_node.inference.importing.request import ImportFailedError, Task
from dicom_node.inference.session import Signature, TensorInfo

_COLORS = ((230, 60, 50), (60, 140, 220), (80, 180, 90), (240, 170, 60), (150, 90, 200))
_SLOT = "images"
_NO_UNIT = '{value: "1", scheme: UCUM, meaning: no units}'
_Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What is known of a network.

    Attributes:
        file: Name in the bundle.
        format: As in model.yaml.
        activations: By output: `sigmoid` or `softmax` where the network ends in it.
        origin: Where it came from, for the facts; one line.
    """

    file: str
    format: str
    sha256: str
    signature: Signature
    repairs: tuple[str, ...] = ()
    activations: Mapping[str, str] | None = None
    origin: str = ""


def skeleton(name: str, version: str, task: Task, facts: NetworkFacts) -> str:
    """Write a model.yaml that loads.

    Raises:
        ImportFailedError: the network's inputs and outputs do not suit the task.
    """
    inputs = {name: _shape(name, info) for name, info in facts.signature.inputs.items()}
    if not inputs:
        raise ImportFailedError("the network has no input")
    first = next(iter(inputs.values()))
    if len(first) not in (4, 5):
        raise ImportFailedError(
            f"the network's first input has {len(first)} axes; images have 4 (batch, channel, row, column) or 5",
            hint="a model of another kind needs Python steps; see docs/models.md",
        )
    steps, outputs = _TASKS[task](facts)
    parts = [about(name, version, facts.origin), _inputs(inputs), _network(facts, inputs), _steps(first, steps), outputs_section(outputs)]
    if facts.format != "onnx":
        parts.append(_torch_engines(facts.format, inputs))
    return "\n".join([*parts, _verification()])


def about(name: str, version: str, origin: str) -> str:
    """Write what stands before the inputs."""
    return f"""\
# A draft. Every line with a question is for a person to decide; the model stays `research` until they are answered.
schema: 1
name: {name}
title: {_text(name.replace("-", " ").capitalize()[:64])}     # What should people call it? It stands in every result.
version: {_text(version)}
manufacturer: not stated             # Who made it? It stands in every result.
stage: research                      # marks every result
contacts:
  - {{name: not stated, url: "https://example.org/"}}   # Whom should a radiologist ask?
facts:
  does: Not described yet.           # What does it give, in a sentence or two?
  mechanism: {_text(origin or "Not described yet.")}   # Which network, trained how?
  # population:                      # On whom was it trained?
  # performance:                     # How well does it do, measured on what, with the source?
  # warnings: []                     # When does it go wrong? What must its results not be used for?
intended_use:
  text: Research on the imported network. Not for diagnosis.   # For which images and purpose is it?
  # match: {{Modality: CT}}            # Which modality, body part, age? As long as nothing is limited, whatever a rule sends is analysed.
  # geometry: {{slice_spacing_mm: {{max: 3.0}}}}
"""


def outputs_section(lines: str) -> str:
    """Write the outputs below what the result is about."""
    return (
        "outputs:                             # Codes of 99IMPORT are placeholders: which SNOMED CT, RadLex or LOINC codes are right?\n"
        '  finding: {value: "00001", scheme: 99IMPORT, meaning: Not stated}   # What is the result about, for example Lung?\n' + lines
    )


def segments(values: list[tuple[str, str]]) -> str:
    """Write segments.

    Args:
        values: Where the mask is, as `label_value: 1`, and how it is called.
    """
    entries = [
        f"""    - id: segment_{n}
      label: {_text(label[:64])}
      {place}
      category: {{value: "91723000", scheme: SCT, meaning: Anatomical Structure}}   # Or 49755003, an abnormal one?
      property_type: {{value: "1{n:04}", scheme: 99IMPORT, meaning: {_text(label[:64])}}}   # Which code?
      color_rgb: {list(_COLORS[(n - 1) % len(_COLORS)])}
"""
        for n, (place, label) in enumerate(values, 1)
    ]
    volumes = [
        f"""    - {{id: volume_{n}, label: {_text(f"Volume of {label}"[:64])}, of: volume_ml, segment: segment_{n},
       concept: {{value: "118565006", scheme: SCT, meaning: Volume}}, unit: {{value: mL, scheme: UCUM, meaning: milliliter}}}}
"""
        for n, (_, label) in enumerate(values, 1)
    ]
    return (
        "  segments:\n"
        + "".join(entries)
        + "  # measurements:                    # Should the report state volumes?\n"
        + "".join("  #" + line[2:] + "\n" for entry in volumes for line in entry.splitlines())
    )


def _inputs(inputs: Mapping[str, _Shape]) -> str:
    lines = ["inputs:                              # How should uneven or tilted slices be treated: refuse or resample?"]
    for slot, shape in zip(_slots(inputs).values(), inputs.values(), strict=True):
        if len(shape) == 5:
            lines.append(f"  - {{name: {slot}, kind: volume, uneven: refuse, tilted: refuse}}")
        else:
            color = "rgb" if shape[1] == 3 else "gray"
            lines.append(f"  - {{name: {slot}, kind: frames, color: {color}}}   # Or volume, seen slice by slice (steps.infer: slices)?")
    return "\n".join(lines) + "\n"


def _network(facts: NetworkFacts, inputs: Mapping[str, _Shape]) -> str:
    slots = _slots(inputs)
    lines = ["network:", f"  file: {facts.file}", f"  format: {facts.format}", f"  sha256: {facts.sha256}", "  inputs:"]
    lines += [f"    {_text(name)}: {slots[name]}   # shape {_said(shape)}" for name, shape in inputs.items()]
    if facts.format != "onnx":
        lines.append(f"  outputs: [{', '.join(map(_text, facts.signature.outputs))}]")
    if facts.repairs:
        lines.append(f"  repairs: [{', '.join(facts.repairs)}]")
    return "\n".join(lines) + "\n"


def _steps(first: _Shape, postprocess: str) -> str:
    lengths = first[2:]
    lines = [
        "steps:",
        "  # Which orientation, spacing, window and normalisation was the network trained with? Without them its answers mean nothing.",
    ]
    if len(first) == 5:
        lines += [
            "  # preprocess:",
            "  #   - orient: {to: LPS}",
            "  #   - resample: {spacing_mm: [1, 1, 1]}",
            "  #   - window: {center: 40, width: 400}",
        ]
        if None not in lengths:
            lines.append(
                f"  infer: {{sliding_window: {{size: {list(lengths)}, overlap: 0.25}}}}   # Or is the whole image brought to this size?"
            )
        else:
            lines.append("  infer: whole                       # Or windows, of which size?")
    else:
        size = f"[{lengths[0]}, {lengths[1]}]" if None not in lengths else "[224, 224]"
        mark = "" if None not in lengths else "# "
        lines += [
            f"  {mark}preprocess:",
            f"  {mark}  - resize: {{size: {size}, keep_aspect: true}}   # Or stretched, as in training?",
            "  #   - normalise: {kind: zscore}",
            "  infer: whole",
        ]
    return "\n".join(lines) + "\n" + postprocess


def _torch_engines(form: str, inputs: Mapping[str, _Shape]) -> str:
    lines = ["engines:", "  backends: [torch]"]
    if form == "torchscript":  # the file itself does not say the shapes
        lines.append("  profiles:                          # Which shapes may the inputs have?")
        lines += [f"    {_text(n)}: {{min: {list(s)}, opt: {list(s)}, max: {list(s)}}}" for n, s in inputs.items()]
    return "\n".join(lines) + "\n"


def _segmentation(facts: NetworkFacts) -> tuple[str, str]:
    output, shape = _output(facts, (4, 5), "an image")
    channels = _channels(output, shape)
    ends = (facts.activations or {}).get(output, "")
    if channels == 1:
        post = "" if ends == "sigmoid" else "    - activation: {kind: sigmoid}    # Does the network give logits?\n"
        return f"  postprocess:\n{post}    - threshold: {{at: 0.5}}\n", segments([("channel: 0", "Segment 1")])
    values = [(f"label_value: {n}", f"Segment {n}") for n in range(1, channels)]
    return "  postprocess:                       # Is channel 0 the background?\n    - argmax: {}\n", segments(values)


def _classification(facts: NetworkFacts) -> tuple[str, str]:
    output, shape = _output(facts, (2,), "a list of scores")
    classes = _channels(output, shape)
    ends = (facts.activations or {}).get(output, "")
    kind = "sigmoid" if classes == 1 else "softmax"
    post = "" if ends else f"    - activation: {{kind: {kind}}}    # Does the network give logits?\n"
    answers = "".join(
        f'        - {{value: "2{n:04}", scheme: 99IMPORT, meaning: Class {n}}}   # Which answer is this?\n' for n in range(max(classes, 2))
    )
    entry = f"""  evaluations:
    - id: answer
      label: Answer                  # What is asked?
      concept: {{value: "00002", scheme: 99IMPORT, meaning: Not stated}}   # Which code?
      classes:                       # in the order of the network
{answers}"""
    return f"  postprocess:\n{post}    - class_scores: {{}}\n", entry


def _detection(facts: NetworkFacts) -> tuple[str, str]:
    outputs = facts.signature.outputs
    axes = "xyz" if len(_shape("", next(iter(facts.signature.inputs.values())))) == 5 else "xy"
    numbers = 2 * len(axes)
    boxes = next((n for n, i in outputs.items() if i.shape is not None and i.shape and (i.shape[-1] or 0) >= numbers), None)
    if boxes is None:
        raise ImportFailedError(f"no output holds boxes of {numbers} numbers; outputs are {_all(outputs)}")
    others = [name for name in outputs if name != boxes]
    scores = next((n for n in others if "scor" in n.lower()), others[0] if len(others) == 1 else "")
    classes = next((n for n in others if n != scores and ("label" in n.lower() or "class" in n.lower())), "")
    named = "".join(f", {key}: {_text(value)}" for key, value in (("scores", scores), ("classes", classes)) if value)
    post = f"""  postprocess:
    - boxes: {{of: {_text(boxes)}, format: corners, axes: {axes}{named}}}   # Corners or center_size? In which order, in pixels or shares?
    - nms: {{iou: 0.5}}                # Does the network do this itself?
"""
    last = (outputs[boxes].shape or ())[-1] or 0
    count = max(1, last - numbers) if not scores else 1
    entries = "".join(
        f"    - {{id: finding_{n}, label: Finding {n}, output: {_text(boxes)}, class_index: {n}, threshold: 0.5,   # From which score on?\n"
        f'       concept: {{value: "3{n:04}", scheme: 99IMPORT, meaning: Finding {n}}}}}   # Which code?\n'
        for n in range(count)
    )
    return post, "  findings:\n" + entries


def _regression(facts: NetworkFacts) -> tuple[str, str]:
    output, shape = _output(facts, (2,), "a list of numbers")
    entries = "".join(
        f"    - {{id: number_{n}, label: Number {n}, of: {_text(output)}, index: {n},   # What is measured, in which unit?\n"
        f'       concept: {{value: "4{n:04}", scheme: 99IMPORT, meaning: Number {n}}}, unit: {_NO_UNIT}}}\n'
        for n in range(_channels(output, shape))
    )
    return (
        "  postprocess:\n    - rescale: {scale: 1.0, offset: 0.0}   # Were targets normalised in training?\n",
        "  measurements:\n" + entries,
    )


def _map(facts: NetworkFacts) -> tuple[str, str]:
    output, shape = _output(facts, (4, 5), "an image")
    entries = "".join(
        f"    - {{id: map_{n}, label: Map {n}, output: {_text(output)}, channel: {n},   # What is mapped, in which unit?\n"
        f'       quantity: {{value: "5{n:04}", scheme: 99IMPORT, meaning: Map {n}}}, unit: {_NO_UNIT}}}\n'
        for n in range(_channels(output, shape))
    )
    return "", "  maps:\n" + entries


_TASKS: Mapping[Task, Callable[[NetworkFacts], tuple[str, str]]] = {
    Task.SEGMENTATION: _segmentation,
    Task.CLASSIFICATION: _classification,
    Task.DETECTION: _detection,
    Task.REGRESSION: _regression,
    Task.PARAMETRIC_MAP: _map,
}


def _output(facts: NetworkFacts, ranks: tuple[int, ...], what: str) -> tuple[str, _Shape]:
    for name, info in facts.signature.outputs.items():
        if info.shape is not None and len(info.shape) in ranks:
            return name, info.shape
    raise ImportFailedError(f"the task wants {what}; the outputs are {_all(facts.signature.outputs)}", hint="give another --task")


def _channels(output: str, shape: _Shape) -> int:
    if shape[1] is None:
        raise ImportFailedError(
            f"the network does not say how many channels its output {output} has", hint="export it with this length fixed"
        )
    return shape[1]


def _shape(name: str, info: TensorInfo) -> _Shape:
    if info.shape is None:
        raise ImportFailedError(f"the network does not say the shape of {name}", hint="export it with shapes")
    return info.shape


def _slots(inputs: Mapping[str, _Shape]) -> dict[str, str]:
    return {name: _SLOT if n == 0 else f"{_SLOT}-{n + 1}" for n, name in enumerate(inputs)}


def _verification() -> str:
    return (
        "# verification:                      # Which images must give what? Without cases engines are compared on generated images only.\n"
    )


def _all(infos: Mapping[str, TensorInfo]) -> str:
    return ", ".join(f"{name} {_said(info.shape)}" for name, info in infos.items())


def _said(shape: _Shape | None) -> str:
    return "unknown" if shape is None else "x".join("?" if n is None else str(n) for n in shape)


def _text(text: str) -> str:
    """A YAML scalar that is a text whatever it looks like."""
    return json.dumps(text, ensure_ascii=False)
