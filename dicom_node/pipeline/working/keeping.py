"""Which rules keep a result on the node, because nothing was analysed or nothing was found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dicom_node.domain.rules import OnEmpty, Rule
from dicom_node.sr_writer.content import Outcome


def keeping(rules: Iterable[Rule], outcome: Outcome) -> Mapping[str, str]:
    """Name the rules that send no result of an outcome, and the option of each that says so."""
    match outcome:
        case Outcome.NOT_ANALYSED:
            return {rule.name: "on_not_analysed: keep" for rule in rules if rule.on_not_analysed is OnEmpty.KEEP}
        case Outcome.NO_FINDING:
            return {rule.name: "on_no_finding: keep" for rule in rules if rule.on_no_finding is OnEmpty.KEEP}
        case Outcome.FOUND:
            return {}
