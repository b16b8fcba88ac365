"""YAML with the line of every value."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import yaml

from dicom_node.config.faults import Fault

_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # eight times as fast
_Misread: TypeAlias = tuple[list[str | int], yaml.ScalarNode, tuple[str, str]]

_INT, _FLOAT, _TEXT, _TIMESTAMP = (f"tag:yaml.org,2002:{name}" for name in ("int", "float", "str", "timestamp"))
_ODD_NUMBER = re.compile(r"[-+]?(?:0[0-9_xb][^.]*|.*[:_].*)")
"""Octal, hexadecimal, binary, base 60 (12:30) or with underscores: never what an operator means."""
_OPERATOR = re.compile(r"[:\[,-]\s*[!>|&*%@`]|[~:\[,].*[{}\[\]]")


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
        root, content, found = _composed(text, name)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = _hint(text.splitlines()[mark.line] if mark and mark.line < len(text.splitlines()) else "", str(error.problem))
        faults.append(Fault(name, mark.line + 1 if mark else 1, "", f"is no valid YAML: {error.problem}", hint))
        return None
    except yaml.YAMLError as error:
        faults.append(Fault(name, 1, "", f"is no valid YAML: {error}"))
        return None
    parsed = YamlFile(name, content, root, text)
    faults.extend(found)
    if not isinstance(content, dict):
        faults.append(parsed.fault([], "must hold options as `name: value`", "see the example in config/"))
        return None
    return parsed


def _composed(text: str, name: str) -> tuple[yaml.Node | None, object, list[Fault]]:
    """Parse once: making values of the nodes that carry the lines costs half of parsing again.

    What YAML reads otherwise than it is written is a fault, and stays text, so that reading can go on.
    """
    loader = _SafeLoader(text)
    try:
        root = loader.get_single_node()
        misread = list(_misread(root, [], set()))
        faults = [Fault(name, node.start_mark.line + 1, path_text(location), *words) for location, node, words in misread]
        for _, node, _ in misread:
            node.value = f"{node.tag} {node.value}".strip() if node.tag.startswith("!") else node.value
            node.tag = _TEXT
        faults.extend(_repeated_keys(name, root, [], set()))  # before values are made: that copies merged keys into the nodes
        return root, (None if root is None else loader.construct_document(root)), faults
    finally:
        loader.dispose()


def _misread(node: yaml.Node | None, location: list[str | int], seen: set[int]) -> Iterator[_Misread]:
    if id(node) in seen:
        return  # an alias: said where it is anchored
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.tag == _INT:
                key.tag = _TEXT  # no option is named by a number; as text it can be found again
            yield from _misread(value, [*location, str(key.value)], seen)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _misread(value, [*location, number], seen)
    elif isinstance(node, yaml.ScalarNode) and node.tag.startswith("!"):
        yield location, node, ("YAML takes a word that begins with ! for a tag, not for a value", f'write "{node.tag}" in quotes')
    elif isinstance(node, yaml.ScalarNode) and node.tag in (_INT, _FLOAT) and _ODD_NUMBER.fullmatch(node.value):
        yield (
            location,
            node,
            (f"YAML reads {node.value} as the number {yaml.safe_load(node.value)}", "write it in quotes, or as a plain number"),
        )
    elif isinstance(node, yaml.ScalarNode) and node.tag == _TIMESTAMP:
        node.tag = _TEXT  # options that are dates read them themselves, and say what is wrong with 2024-13-01


def _hint(line: str, problem: str) -> str:
    if "escape character" in problem:
        return "write regular expressions in single quotes"
    if _OPERATOR.search(line):
        return "write values that begin with ! > | & * % @, or hold braces or brackets, in quotes"
    return ""


def _repeated_keys(file: str, node: yaml.Node | None, location: list[str | int], seen: set[int]) -> Iterator[Fault]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            here = [*location, str(key.value)]
            if here[-1] in keys:
                yield Fault(file, key.start_mark.line + 1, path_text(here), "is given twice", "keep one")
            keys.add(str(key.value))
            yield from _repeated_keys(file, value, here, seen)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _repeated_keys(file, value, [*location, number], seen)


def path_text(location: Sequence[str | int]) -> str:
    """Write a location as faults show it, for example `peers[0].ae_title`."""
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
