"""Which rules may take a study, by the headers that have arrived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dicom_node.domain.instances import Attributes
from dicom_node.domain.matching import meets
from dicom_node.domain.rules import Rule

_Values = tuple[tuple[str, ...] | None, ...]
_TITLES = ("CallingAET", "CalledAET")
_MOST_REMEMBERED = 10_000


@dataclass(slots=True)
class Holdings:
    """What has arrived of one study, as far as rules ask for it; grows with every instance.

    Attributes:
        headers: Distinct values of the keywords that rules ask for.
        modalities: Values of Modality (0008,0060).
        titles: Calling and called AE titles.
    """

    headers: set[_Values] = field(default_factory=set)
    modalities: set[str] = field(default_factory=set)
    titles: tuple[set[str], set[str]] = field(default_factory=lambda: (set(), set()))


class Candidates:
    """The rules that have an instance they may take: one that meets all of `match`.

    It must not be narrower than the decision, which asks more: `when`, the inputs, their series. A hold rule and one that comes
    `after` a result wait for no study.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        """Take all rules."""
        self._rules = [rule for rule in rules if not rule.hold and rule.after is None]
        self._keywords = sorted({c.keyword for rule in self._rules for c in rule.match} - set(_TITLES))
        self._remembered: dict[tuple[_Values, frozenset[str], frozenset[str]], frozenset[str]] = {}

    def add(self, holdings: Holdings, attributes: Attributes, calling_ae_title: str, called_ae_title: str) -> None:
        """Take note of an instance."""
        holdings.headers.add(tuple(attributes.get(keyword) for keyword in self._keywords))
        holdings.modalities.update(attributes.get("Modality", ()))
        holdings.titles[0].add(calling_ae_title)
        holdings.titles[1].add(called_ae_title)

    def of(self, holdings: Holdings) -> frozenset[str]:
        """Name the rules that may take the study."""
        calling, called = map(frozenset, holdings.titles)
        return frozenset(name for header in holdings.headers for name in self._taking(header, calling, called))

    def _taking(self, values: _Values, calling: frozenset[str], called: frozenset[str]) -> frozenset[str]:
        key = (values, calling, called)
        if key not in self._remembered:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            header: dict[str, tuple[str, ...]] = {k: v for k, v in zip(self._keywords, values, strict=True) if v is not None}
            header |= {"CallingAET": tuple(sorted(calling)), "CalledAET": tuple(sorted(called))}
            self._remembered[key] = frozenset(rule.name for rule in self._rules if all(meets(c, header) for c in rule.match))
        return self._remembered[key]
