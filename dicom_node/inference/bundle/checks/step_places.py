"""Where in model.yaml a sentence of `steps.validate` belongs."""

from __future__ import annotations

import re

from dicom_node.inference.bundle.checks.repeats import Place
from dicom_node.inference.bundle.manifest import Manifest

_STEP = re.compile(r"Step (\d+)( after the network)?, (\w+),")
_OUTPUT = re.compile(r"outputs\.(\w+) (\w+) ")
_INPUT = re.compile(r"(?:network\.inputs\.|network input |Network input )(\S+?)[ .,;]")
_INFER = re.compile(r"(?:infer\.)?(batch|slices|sliding_window)\b")


def place_of_sentence(sentence: str, manifest: Manifest) -> Place:
    """Read the place off the beginning of a sentence; the section of the steps if it names none."""
    if (step := _STEP.match(sentence)) is not None:
        return ["steps", "postprocess" if step[2] else "preprocess", int(step[1]) - 1, step[3]]
    if (output := _OUTPUT.match(sentence)) is not None and output[1] in manifest.outputs.entries():
        ids = [entry.id for entry in manifest.outputs.entries()[output[1]]]
        return ["outputs", output[1], *([ids.index(output[2])] if output[2] in ids else [])]
    if (name := _INPUT.match(sentence)) is not None:
        return ["network", "inputs", name[1]]
    if sentence.startswith("network.inputs"):
        return ["network", "inputs"]
    if (infer := _INFER.match(sentence)) is not None:
        return ["steps", "infer", infer[1]]
    return ["steps", "infer"] if "infer" in sentence else ["steps"]
