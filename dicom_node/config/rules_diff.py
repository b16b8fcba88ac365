"""What differs between two rules files, option by option."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from pydantic import BaseModel

from dicom_node.config.rules_schema import RuleSection, RulesFile

_UNITS = ((31557600, "y"), (604800, "w"), (86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_ORDER = tuple(RuleSection.model_fields)
NOT_SET = "not set"


@dataclass(frozen=True, slots=True)
class OptionChange:
    """One option of a rule that says something else.

    Attributes:
        option: For example `complete_when.quiet` or `match.Modality`.
        old: As an operator writes it; `NOT_SET` where it was absent or empty.
        new: The same.
    """

    option: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.option}: {self.old} -> {self.new}"


@dataclass(frozen=True, slots=True)
class RuleChange:
    """A rule that both files have and that differs."""

    rule: str
    options: tuple[OptionChange, ...]


@dataclass(frozen=True, slots=True)
class RulesDiff:
    """The difference between two rules files; false if they say the same.

    Attributes:
        others: Options beside the rules.
        reordered: The rules that both have stand in another order; it changes lists and nothing else.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[RuleChange, ...]
    others: tuple[OptionChange, ...]
    reordered: bool

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.others or self.reordered)

    def lines(self) -> Iterator[str]:
        """Write it in words."""
        for name in self.removed:
            yield f"rule {name} is gone"
        for name in self.added:
            yield f"rule {name} is new"
        for change in self.changed:
            yield f"rule {change.rule} is changed"
            yield from (f"  {option}" for option in change.options)
        yield from (str(option) for option in self.others)
        if self.reordered:
            yield "the rules stand in another order"


def compare_rules(old: RulesFile, new: RulesFile) -> RulesDiff:
    """Compare what two files say; comments and layout do not count."""
    before, after = ({rule.name: rule for rule in file.rules} for file in (old, new))
    common = [name for name in before if name in after]
    changes = (RuleChange(name, _changes(before[name], after[name])) for name in common)
    rest_before, rest_after = ({name: getattr(file, name) for name in RulesFile.model_fields if name != "rules"} for file in (old, new))
    return RulesDiff(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=tuple(change for change in changes if change.options),
        others=_changes(rest_before, rest_after),
        reordered=common != [name for name in after if name in before],
    )


def _changes(old: object, new: object) -> tuple[OptionChange, ...]:
    before, after = dict(_options(old)), dict(_options(new))
    names = sorted({**before, **after}, key=_place)
    pairs = ((name, before.get(name, NOT_SET), after.get(name, NOT_SET)) for name in names)
    return tuple(OptionChange(name, was, now) for name, was, now in pairs if was != now)


def _place(option: str) -> int:
    """Order options as the configuration reference lists them; those of one section stay as they stand in the files."""
    section = option.partition(".")[0]
    return _ORDER.index(section) if section in _ORDER else len(_ORDER)


def _options(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """List the options below a value, each with its text; the order of named inputs counts as one."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    if not isinstance(value, Mapping):
        yield path, _text(value)
        return
    for name, inner in value.items():
        yield from _options(inner, f"{path}.{name}" if path else str(name))
    if path == "inputs" and len(value) > 1:
        yield "order of inputs", ", ".join(value)


def _text(value: object) -> str:
    if value is None or value in ("", (), []):
        return NOT_SET
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, timedelta):
        return duration_text(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list | tuple):
        return f"[{', '.join(_section_text(item) if isinstance(item, BaseModel) else _text(item) for item in value)}]"
    return str(value.value if isinstance(value, Enum) else value)


def _section_text(section: BaseModel) -> str:
    shown = {name: _text(getattr(section, name)) for name in type(section).model_fields}
    return f"{{{', '.join(f'{name}: {text}' for name, text in shown.items() if text != NOT_SET)}}}"


def duration_text(value: timedelta) -> str:
    """Write a duration as operators do, in the largest unit that leaves no fraction."""
    milliseconds = round(value.total_seconds() * 1000)
    for seconds, unit in _UNITS:
        if milliseconds and milliseconds % (seconds * 1000) == 0:
            return f"{milliseconds // (seconds * 1000)}{unit}"
    return f"{milliseconds}ms"
