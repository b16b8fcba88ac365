"""YAML with the line of every value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from dicom_node.config.faults import Fault

_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # eight times as fast


@dataclass(frozen=True, slots=True)
class YamlFile:
    """A parsed file and where its values stand."""

    file: str
    content: object
    root: yaml.Node | None
    text: str = ""

    def fault(self, location: Sequence[str | int], message: str, hint: str = "") -> Fault:
        """Place a fault at the deepest part of the location that exists."""
        return Fault(self.file, self._line(location), path_text(location), message, hint)

    def _line(self, location: Sequence[str | int]) -> int:
        node, line = self.root, 1
        for part in location:
            if isinstance(node, yaml.MappingNode):
                found = next(((k, v) for k, v in node.value if k.value == part), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line


def parse_yaml(path: Path, faults: list[Fault]) -> YamlFile | None:
    """Read and parse a file; on failure add the fault and return None."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        faults.append(Fault(str(path), 1, "", f"cannot be read: {error.strerror}"))
        return None
    except UnicodeDecodeError as error:
        faults.append(Fault(str(path), 1, "", f"is no UTF-8 text (byte {error.start})"))
        return None
    return parse_text(text, str(path), faults)


def parse_text(text: str, name: str, faults: list[Fault]) -> YamlFile | None:
    """Parse a file's text; on failure add the fault and return None. Repeated keys are faults too, YAML would keep the last silently."""
    try:
        root, content = _composed(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        faults.append(Fault(name, mark.line + 1 if mark else 1, "", f"is no valid YAML: {error.problem}"))
        return None
    except yaml.YAMLError as error:
        faults.append(Fault(name, 1, "", f"is no valid YAML: {error}"))
        return None
    parsed = YamlFile(name, content, root, text)
    if not isinstance(content, dict):
        faults.append(parsed.fault([], "must hold options as `name: value`", "see the example in config/"))
        return None
    _find_repeated_keys(parsed, root, [], faults)
    return parsed


def _composed(text: str) -> tuple[yaml.Node | None, object]:
    """Parse once: constructing from the nodes that carry the lines costs half of parsing again."""
    loader = _SafeLoader(text)
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _find_repeated_keys(file: YamlFile, node: yaml.Node | None, location: list[str | int], faults: list[Fault]) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            here = [*location, str(key.value)]
            if key.value in seen:
                faults.append(Fault(file.file, key.start_mark.line + 1, path_text(here), "is given twice", "keep one"))
            seen.add(key.value)
            _find_repeated_keys(file, value, here, faults)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            _find_repeated_keys(file, value, [*location, number], faults)


def path_text(location: Sequence[str | int]) -> str:
    """Write a location as faults show it, for example `peers[0].ae_title`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
